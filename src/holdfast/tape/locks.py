# SPDX-License-Identifier: Apache-2.0
"""Exclusive tapes and drives across processes, by flock: the kernel gives them back when a process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import Busy

_POLL: Final = 0.02  # seconds; flock has no timeout


class Lock:
    """One held lock file."""

    def __init__(self, path: Path, fd: int) -> None:
        """Wrap a locked descriptor; use `try_lock`."""
        self.name = path.name
        self._fd = fd

    def note(self, text: str) -> None:
        """Write who or what has it, for others to read."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def release(self) -> None:
        """Give it back; idempotent."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        os.ftruncate(fd, 0)
        # Said explicitly: a forked child may have the descriptor too, and closing ours would not unlock then.
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def try_lock(path: Path) -> Lock | None:
    """Take a lock, or return None when somebody has it."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return Lock(path, fd)


class Deadline:
    """How long one may wait; None is for ever."""

    def __init__(self, timeout: float | None) -> None:
        """Begin to count, in seconds."""
        self._end = None if timeout is None else time.monotonic() + timeout

    def wait(self, what: str) -> None:
        """Wait a moment. Raises Busy when the time is over."""
        if self._end is not None and time.monotonic() >= self._end:
            raise Busy(what=f"{what} in use.")
        time.sleep(_POLL)


def take_tapes(folder: Path, serials: Sequence[str], deadline: Deadline) -> dict[str, Lock]:
    """Take all tapes, in the order of their serials so that two callers never wait for each other. Raises Busy."""
    held: dict[str, Lock] = {}
    try:
        for serial in sorted(serials):
            while (lock := try_lock(folder / f"tape-{serial}")) is None:
                deadline.wait(f"Tape {serial} is")
            held[serial] = lock
    except BaseException:
        release(held.values())
        raise
    return held


def take_drives(folder: Path, drives: Sequence[str], count: int, deadline: Deadline) -> list[Lock]:
    """Take any `count` drives at once, or wait without holding any. Raises Busy."""
    while True:
        with _drive_table(folder):
            held: list[Lock] = []
            for drive in drives:
                if len(held) < count and (lock := try_lock(folder / f"drive-{drive}")) is not None:
                    held.append(lock)
            if len(held) == count:
                return held
            release(held)
        deadline.wait("The drives are")


def loaded_drives(folder: Path, drives: Sequence[str]) -> Mapping[str, str | None]:
    """Return what is in each drive; a note that a dead process left does not count."""
    found: dict[str, str | None] = {}
    with _drive_table(folder):
        for drive in drives:
            path = folder / f"drive-{drive}"
            lock = try_lock(path)
            found[drive] = (path.read_text() or None) if lock is None else None
            if lock is not None:
                lock.release()
    return found


def release(locks: Iterable[Lock]) -> None:
    """Give all of them back."""
    for lock in locks:
        lock.release()


@contextlib.contextmanager
def _drive_table(folder: Path) -> Iterator[None]:
    # Held for microseconds only: whoever tries the drives must see them all in one state.
    with (folder / "drives").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
