# SPDX-License-Identifier: Apache-2.0
"""Exclusive tapes and drives across processes, by flock: the kernel gives them back when a process dies.

What hangs, or what an operator does not want to be used, is locked out: a file beside its lock says why, and nobody gets
it until it is put back. What is in use then stays so until it is given back.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from holdfast.errors import Busy, LibraryUnavailable, MediumFailed
from holdfast.tape.media import assign

_POLL: Final = 0.02  # seconds; flock has no timeout
OUT: Final = "out of use: "  # before the reason where a drive's tape is shown; no serial has a blank


class Lock:
    """One held lock file."""

    def __init__(self, path: Path, fd: int) -> None:
        """Wrap a locked descriptor; use `try_lock`."""
        self._path = path
        self._fd = fd

    @property
    def thing(self) -> str:
        """The drive or tape that it locks."""
        return self._path.name.partition("-")[2]

    def note(self, text: str) -> None:
        """Write who or what has it, for others to read."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    def fileno(self) -> int:
        """Return the descriptor; a process that inherits it keeps the lock for as long as it lives."""
        return self._fd

    def lock_out(self, why: str) -> None:
        """Let nobody have it until `put_back`; whoever inherited the descriptor keeps the lock too."""
        lock_out(self._path, why)
        self.note("")  # nothing is in it that anybody could use
        fd, self._fd = self._fd, -1
        os.close(fd)

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
    """Take a lock, or return None when somebody has it or it is locked out."""
    lock = _flock(path)
    # Looked at when the lock is held: whoever locks it out later finds it in use.
    if lock is not None and _out(path).exists():
        lock.release()
        return None
    return lock


def _flock(path: Path) -> Lock | None:
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return Lock(path, fd)


def lock_out(path: Path, why: str) -> None:
    """Have nobody get the lock at `path` until it is put back; the first reason stays."""
    if why_out(path):
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    temporary.write_text(why, "utf-8")
    temporary.replace(_out(path))


def why_out(path: Path) -> str:
    """Return why something is locked out; empty when it is not."""
    with contextlib.suppress(FileNotFoundError):
        return _out(path).read_text("utf-8") or "nobody said why"
    return ""


def _out(path: Path) -> Path:
    return path.with_name(f"{path.name}.out")


def drives_out(folder: Path, drives: Iterable[str]) -> Mapping[str, str]:
    """Return why each of the drives is out of use that is, or will be when it is given back."""
    return {drive: why for drive in drives if (why := why_out(folder / f"drive-{drive}"))}


def put_back(folder: Path, name: str) -> bool:
    """Let a tape or drive be used again that was locked out; False when none of that name was."""
    found = [path for path in (folder / f"tape-{name}", folder / f"drive-{name}") if why_out(path)]
    for path in found:
        _out(path).unlink(missing_ok=True)
    return bool(found)


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
    """Take all tapes, in the order of their serials so that two callers never wait for each other.

    Raises Busy, MediumFailed for one that is locked out.
    """
    held: dict[str, Lock] = {}
    try:
        for serial in sorted(serials):
            held[serial] = _take_tape(folder / f"tape-{serial}", serial, deadline)
    except BaseException:
        release(held.values())
        raise
    return held


def _take_tape(path: Path, serial: str, deadline: Deadline) -> Lock:
    while (lock := try_lock(path)) is None:
        if why := why_out(path):
            raise MediumFailed.of_tape(serial, why=f"it is out of use: {why}")
        deadline.wait(f"Tape {serial} is")
    return lock


def take_drives(
    folder: Path, wanted: Sequence[Sequence[str]], deadline: Deadline, liked: Sequence[Sequence[str]]
) -> list[Lock]:
    """Take one drive for each tape, of those that it wants, all at once or wait without holding any.

    When drives that they like are free for all tapes, these are taken. Raises Busy.
    """
    names = sorted({drive for drives in wanted for drive in drives})
    while True:
        with _drive_table(folder):
            free = {drive: lock for drive in names if (lock := try_lock(folder / f"drive-{drive}")) is not None}
            chosen = assign(liked, free) or assign(wanted, free) or []
            release(lock for drive, lock in free.items() if drive not in chosen)
            if chosen or not wanted:
                return [free[drive] for drive in chosen]
        out = sum(bool(why_out(folder / f"drive-{drive}")) for drive in names)
        if len(names) - out < len(wanted):  # no patience brings them back
            raise Busy(
                what=f"{len(wanted)} drives are needed; {out} of {len(names)} are out of use (holdfast status says why)."
            )
        deadline.wait(
            f"{out} drives are out of use (holdfast status says why), the others are" if out else "The drives are"
        )


def loaded_drives(folder: Path, drives: Sequence[str]) -> Mapping[str, str | None]:
    """Return what is in each drive, or why it is out of use; a note that a dead process left does not count.

    One that is locked out while a tape is in it shows the tape. Raises LibraryUnavailable, also on a host that is not the
    library's.
    """
    found: dict[str, str | None] = {}
    try:
        with _drive_table(folder):
            for drive in drives:
                path = folder / f"drive-{drive}"
                lock, why = _flock(path), why_out(path)
                held = path.read_text("utf-8") if lock is None else ""
                found[drive] = held or (OUT + why if why else None)
                if lock is not None:
                    lock.release()
    except OSError as error:
        raise LibraryUnavailable(path=folder, why=error.strerror) from error
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
