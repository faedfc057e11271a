# SPDX-License-Identifier: Apache-2.0
"""One owner of a folder at a time, on one machine.

The kernel gives the lock back when its process ends, however it ends, so no stale lock ever needs a human (P6).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from holdfast.errors import Conflict

# Handles that a forked child has to close: the lock belongs to the parent and must not outlive it in a child.
_held: Final[set[int]] = set()


class FolderLock:
    """An exclusive lock on a file, held by this process."""

    def __init__(self, path: Path) -> None:
        """Take the file's path; nothing is locked yet."""
        self._path = path
        self._handle: int | None = None

    def acquire(self) -> None:
        """Take the lock; Conflict when another live process has it. Does nothing when it is held already."""
        if self._handle is not None:
            return
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise Conflict(
                what=f"{self._path.parent} is in use by another Holdfast (process {owner}). Stop that one first."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        _held.add(handle)
        self._handle = handle

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._handle is not None:
            _held.discard(self._handle)
            os.close(self._handle)
            self._handle = None


def _close_in_child() -> None:
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_close_in_child)
