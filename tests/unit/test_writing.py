# SPDX-License-Identifier: Apache-2.0
"""Writing through the page cache: all of it, where it belongs, in pieces."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.writing import write_all

LARGE = os.urandom((1 << 20) + 7)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """Open a new file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["none", "one", "many pieces"])
def test_all_is_written_where_the_file_stands(tmp_path: Path, content: bytes) -> None:
    with opened(tmp_path / "file") as descriptor:
        write_all(descriptor, b"before")
        write_all(descriptor, memoryview(content))
        write_all(descriptor, b"after")
    assert (tmp_path / "file").read_bytes() == b"before" + content + b"after"


def test_all_is_written_at_its_place(tmp_path: Path) -> None:
    with opened(tmp_path / "file") as descriptor:
        write_all(descriptor, LARGE, 5)
        write_all(descriptor, b"first", 0)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) == 0
    assert (tmp_path / "file").read_bytes() == b"first" + LARGE


def test_what_finds_no_room_is_an_error_and_not_forgotten(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path / "file") as descriptor:
        resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, hard))
        try:
            with pytest.raises(OSError, match="File too large") as caught:
                write_all(descriptor, LARGE)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "file").read_bytes() == LARGE[:700_000]
