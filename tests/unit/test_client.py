# SPDX-License-Identifier: Apache-2.0
"""What the library and the commands above it do without a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from holdfast.cli.download import _in_parallel
from holdfast.client import Client
from holdfast.errors import SettingsError
from holdfast.wire.datasets import File

FILE = File(path="a", kind="file", size=1)


def test_certificates_are_looked_at_however_https_is_written() -> None:
    with pytest.raises(SettingsError, match="authorities in /nothing"):
        Client("HTTPS://archive.example.org", ca="/nothing")


def test_no_file_is_left_out_in_silence() -> None:
    def work(_: File) -> None:
        raise RuntimeError("nobody expected this")

    with pytest.raises(RuntimeError, match="nobody expected"):
        _in_parallel(iter([FILE]), work, 1)


def test_ctrl_c_waits_for_no_file_of_a_download() -> None:
    begun, free = threading.Event(), threading.Event()
    ended: list[File] = []

    def work(file: File) -> None:
        begun.set()
        free.wait(20)
        ended.append(file)

    def files() -> Iterator[File]:
        yield from [FILE] * 10
        begun.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _in_parallel(files(), work, 1)
    assert ended == []
    free.set()
