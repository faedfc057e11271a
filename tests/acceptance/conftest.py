# SPDX-License-Identifier: Apache-2.0
"""The installed program, run as its users run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.testing.program import Up


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One archive for all tests of a module."""
    with Up(tmp_path_factory.mktemp("archive")) as running:
        yield running


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Up]:
    """An archive that a test may treat badly."""
    with Up(tmp_path) as running:
        yield running
