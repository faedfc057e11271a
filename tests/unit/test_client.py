# SPDX-License-Identifier: Apache-2.0
"""What the library and the commands above it do without a server."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from itertools import count

import pytest

from holdfast.client import Client
from holdfast.client.parallel import in_parallel
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
        in_parallel(iter([FILE]), work, 1)


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
        in_parallel(files(), work, 1)
    assert ended == []
    free.set()


def test_ctrl_c_ends_a_wait_also_when_it_came_before_that() -> None:
    free = threading.Event()

    def work(_: int) -> None:
        # Given to this thread, it wakes nobody who waits, as one that comes in the moment before a wait begins.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        free.wait(60)

    try:
        with pytest.raises(KeyboardInterrupt):
            in_parallel([1], work, 1)
    finally:
        free.set()


def test_an_error_ends_all_and_waits_for_nobody() -> None:
    free = threading.Event()
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise RuntimeError("number 1")
        free.wait(60)

    try:
        with pytest.raises(RuntimeError, match="number 1"):
            in_parallel(count(), work, 2)  # of which there is no end
    finally:
        free.set()
    assert set(begun) <= {0, 1, 2}, "begun after the error, or before its turn"


def test_what_waits_for_its_turn_is_bounded() -> None:
    taken, most = 0, 0
    ended: list[int] = []

    def things() -> Iterator[int]:
        nonlocal taken, most
        for taken in range(5000):
            most = max(most, taken - len(ended))
            yield taken

    in_parallel(things(), ended.append, 4)
    assert sorted(ended) == list(range(5000))
    assert most <= 1010
