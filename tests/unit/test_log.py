# SPDX-License-Identifier: Apache-2.0
"""Log lines carry the ids of the work, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from holdfast import log


@pytest.fixture(autouse=True)
def _root_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_the_bound_ids() -> None:
    stream = io.StringIO()
    log.set_up(form="json", stream=stream)
    with log.bind(site="main", dataset=7):
        with log.bind(job=3):
            logging.getLogger("holdfast.test").info("packed %s", "ä")
        logging.getLogger("holdfast.test").info("next")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["site"], first["dataset"], first["job"], first["message"]) == ("main", "7", "3", "packed ä")
    assert "job" not in second


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked(form: str) -> None:
    stream = io.StringIO()
    log.set_up(form=form, stream=stream)
    try:
        int("host=x password='a b' postgresql://me:hush@host/db Authorization: Bearer abc.def")
    except ValueError:
        logging.getLogger("holdfast.test").exception("token=xyz failed")
    told = stream.getvalue()
    assert "failed" in told
    assert [secret for secret in ("a b", "hush", "abc.def", "xyz") if secret in told] == []


def test_less_important_lines_are_left_out() -> None:
    stream = io.StringIO()
    log.set_up(level="warning", stream=stream)
    logging.getLogger("holdfast.test").info("quiet")
    assert stream.getvalue() == ""
