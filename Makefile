# SPDX-License-Identifier: Apache-2.0
# Every target sets up what it needs by itself; the second time that takes no time.

BIN := .venv/bin

.PHONY: help setup demo up test lint bench docs crash campaign lock

help:
	@echo 'make demo    show the archive at work, with the sample data in examples/'
	@echo 'make up      run an archive in the folder archive/'
	@echo 'make test    run all tests (on Debian, as root, it installs zstd and PostgreSQL)'
	@echo 'make lint    check style, types and layers'
	@echo 'make crash   kill the archive at every crash point and see that nothing is lost'
	@echo 'make campaign  have a million faults happen to tapes, packages and archives (hours)'
	@echo 'make bench   measure'
	@echo 'make docs    make the generated reference pages'
	@echo 'make lock    choose new versions of the packages it depends on'

setup:
	@scripts/setup

demo: setup
	@scripts/demo

up: setup
	@$(BIN)/holdfast up --data archive --root $(HOME)

test: setup
	@scripts/test-packages
	@$(BIN)/pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	@for program in bench/*.py; do $(BIN)/python "$$program" || exit 1; done

docs: setup
	$(BIN)/python scripts/generate_docs.py

crash: setup
	@scripts/test-packages
	HOLDFAST_TEST_INSTANTS=200 $(BIN)/pytest tests/crash

campaign: setup
	@scripts/test-packages
	HOLDFAST_TEST_FAULTS=1000000 $(BIN)/pytest -s tests/faults

lock: setup
	@command -v uv >/dev/null || $(BIN)/python -m pip install --quiet uv
	@PATH="$$PWD/$(BIN):$$PATH" uv pip compile --generate-hashes --extra dev --upgrade pyproject.toml \
	    -o requirements.lock --python-version 3.11 --quiet
