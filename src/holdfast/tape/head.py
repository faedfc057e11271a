# SPDX-License-Identifier: Apache-2.0
"""Where the head of a drive is, as far as its session knows, and how long it took to places that it was not at."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from holdfast.tape.index import TAPE_BLOCK
from holdfast.tape.library import Located

if TYPE_CHECKING:
    from holdfast.tape.posix import Volume

_KEPT: Final = 200  # ways of one session; more teach nothing
# Bytes between two files that lie one behind the other: the rest of a block, and an index with its file marks.
_BEHIND: Final = 8 * TAPE_BLOCK


class Head:
    """The head over one mounted volume."""

    def __init__(self, volume: Volume) -> None:
        """Begin where the volume says that the head is after the mount."""
        self.volume = volume
        self.place = volume.head  # bytes from the start of the data partition; None when it is not known
        self.located: deque[Located] = deque(maxlen=_KEPT)


class Way:
    """One reading of one file, from where the head was; its first block ends the way."""

    def __init__(self, head: Head, path: Path) -> None:
        """Set out now."""
        self._head = head
        self._begin: int | None = None  # of the file
        with suppress(OSError, ValueError):  # else nothing can be learned, and the reading says what is wrong
            self._begin = int(head.volume.get_vea(path, "ltfs.startblock")) * TAPE_BLOCK
        self._since = head.volume.clock()

    def reached(self, offset: int, length: int) -> None:
        """A block of `length` bytes came, from `offset` in the file."""
        head, since, now = self._head, self._since, self._head.volume.clock()
        before, head.place, self._since = head.place, None, None
        if self._begin is None:
            return
        place = self._begin + offset
        head.place = place + length
        if before is None or since is None or now is None or 0 <= place - before <= _BEHIND:
            return
        head.located.append(Located(before, place, now - since))

    def failed(self) -> None:
        """The drive tries again: the time says nothing of the way."""
        self._since = None
