# SPDX-License-Identifier: Apache-2.0
"""Removing files of a source: only those that were compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from holdfast.packaging.sources import SourceFolder, opened_root


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceFolder]:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_bytes(b"one")
    with opened_root(tmp_path) as root, closing(SourceFolder(root)) as folder:
        yield folder


def test_what_was_compared_is_removed(tmp_path: Path, source: SourceFolder) -> None:
    known = os.stat(tmp_path / "sub/a")
    assert source.unlink(b"sub/a", known)
    assert not (tmp_path / "sub/a").exists()
    assert source.unlink(b"sub/a", known)  # somebody else was faster


def renamed_over(file: Path) -> None:
    file.with_name("b").write_bytes(b"two")
    file.with_name("b").rename(file)


def written_in_the_same_time(file: Path) -> None:
    before = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def became_a_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("elsewhere")


@pytest.mark.parametrize("change", [renamed_over, written_in_the_same_time, became_a_link])
def test_p3_what_is_not_what_was_compared_stays(
    tmp_path: Path, source: SourceFolder, change: Callable[[Path], None]
) -> None:
    file = tmp_path / "sub/a"
    known = file.stat()
    change(file)
    assert not source.unlink(b"sub/a", known)
    assert os.path.lexists(file)
