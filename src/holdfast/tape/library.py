# SPDX-License-Identifier: Apache-2.0
"""The one interface of tape libraries.

A library gives *sessions*: one tape in one drive with one writer, sequential. Everything a session wrote is safe
only after `sync` returned (LTFS: only an index write is durable; fsync is not). `inventory` and `stat` never mount.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from holdfast.errors import HoldfastError

Mode = Literal["read", "write"]

# Bits of LTFS's volumeLockState.
_LOCKS: Final[Mapping[int, str]] = {
    0x01: "locked on request",
    0x02: "locked for ever on request",
    0x04: "write protected by its switch",
    0x08: "write protected for ever",
    0x10: "write protected until it is formatted",
    0x20: "permanent write error",
    0x40: "write error on the data partition",
    0x80: "write error on the index partition",
}


def describe_lock(state: int) -> str:
    """Return a volume's lock state in words, with its number."""
    words = [text for bit, text in _LOCKS.items() if state & bit]
    return f"lock state {state:#x} ({', '.join(words) or 'unlocked'})"


def is_out(loaded: str | None) -> bool:
    """Say whether what `TapeLibrary.drives` tells of a drive is why it is out of use; no serial has a blank."""
    return loaded is not None and " " in loaded


@dataclass(frozen=True, slots=True)
class TapeInfo:
    """What the library says of a cartridge without mounting it."""

    serial: str
    media_type: str  # "L8", "M8", ...; "SIM" for a simulated tape of no type, "" where it cannot be known
    home: str = ""  # slot
    state: str = "active"  # active | full | broken | missing; as the medium says, not the catalogue


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """What is known of a volume, from the library's cache: bytes, generation, lock state, health."""

    serial: str
    capacity: int  # bytes that the volume can hold in all
    free: int  # bytes that can still be appended; deleting never gives any back
    generation: int  # of the last durable index
    lock_state: int  # LTFS volumeLockState bits; 0 is healthy, 0x20/0x60/0xe0 a permanent write error
    consistent: bool = True  # False: written to after the last index; recover before use
    health: Mapping[str, int] = field(default_factory=dict)  # LTFS media* counters; -1: not supported


@dataclass(frozen=True, slots=True)
class FileOnTape:
    """One file of a volume as its last index says."""

    name: str
    size: int
    start_block: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a written file lies. Not durable before the session's `sync`."""

    name: str
    size: int
    start_block: int


class Located(NamedTuple):
    """How long a drive took from one place of its tape to another; places in bytes from the start of the data partition."""

    from_byte: int
    to_byte: int
    seconds: float


class TapeSession(Protocol):
    """One tape in one drive, ours alone until `close`."""

    serial: str
    drive: str
    recovered: Sequence[str]  # files that were dropped at this mount: written, but not in the last index
    bytes_read: int  # so far in this session, as the drive gave them
    bytes_written: int
    trouble: HoldfastError | None  # the first failure of drive or tape that this session met

    def write(
        self,
        name: str,
        chunks: Iterable[memoryview | bytes],
        attributes: Mapping[str, str],
        *,
        size: int | None = None,
    ) -> Extent:
        """Append a new file; `size` in bytes, where it is known before, serves the crash point `write.half`.

        Never overwrites. Raises TapeFull (the partial file is deleted, the session stays usable), MediumFailed
        (the volume is frozen for ever), Conflict (the name exists).
        """

    def sync(self, message: str) -> int:
        """Make all that was written durable and return the index generation.

        Writes the index with `message` as commit message, checks that the generation advanced, the lock state is 0
        and that each file of this session has its size. Raises MediumFailed when anything is not as it should be.
        """

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield the bytes of a file from the medium, never from the page cache.

        Raises NotFound, MediumFailed (the file cannot be read).
        """

    def list(self) -> Sequence[FileOnTape]:
        """Return the files of the volume, by name."""

    def find(self, name: str) -> FileOnTape | None:
        """Return one file of the volume, None when it is not there; a list of all would take longer."""

    def set_attributes(self, name: str, attributes: Mapping[str, str]) -> None:
        """Add attributes to a file; durable at the next `sync`."""

    def delete(self, name: str) -> None:
        """Delete a file if it is there; its space is not given back."""

    def locates(self) -> Sequence[Located]:
        """Return the ways to places that were not just behind the head, the last ones of this session.

        The seconds are those of tapes. There are none where no time passes.
        """

    def close(self) -> None:
        """Give the drive back; unsynced data are synced first. Idempotent."""


class TapeLibrary(Protocol):
    """A robot with tapes and drives."""

    names_drives: bool  # False: drives are only counted, and nobody can say which one a tape was in

    def inventory(self) -> Sequence[TapeInfo]:
        """Return all tapes, by serial, without mounting any. Raises LibraryUnavailable."""

    def drives(self) -> Mapping[str, str | None]:
        """Return each drive with the serial of the tape in it, `out of use: WHY`, or None for an empty one."""

    def drive_kinds(self) -> Mapping[str, str]:
        """Return the kind of each drive (`LTO-8`), empty for one that takes every tape. Raises LibraryUnavailable."""

    def drives_out(self) -> Mapping[str, str]:
        """Return why each drive is out of use that is, or will be when its tape is out."""

    def speed(self) -> float:
        """Return how many seconds of tapes pass in a second: 1 for real ones, 0 where nothing takes any time."""

    def stat(self, serial: str) -> VolumeInfo:
        """Return what is known of a volume without mounting it. Raises NotFound."""

    def sessions(
        self,
        serials: Sequence[str],
        mode: Mode,
        *,
        timeout: float | None = None,
        avoid: Collection[tuple[str, str]] = (),
    ) -> AbstractContextManager[Sequence[TapeSession]]:
        """Take a drive for each tape, all or none, mount, and close all at the end.

        Locks are taken in one order, so that two callers never wait for each other. A volume that is not consistent
        is recovered to its last index first. `timeout` is in seconds; None waits for ever, 0 not at all. Pairs
        of tape and drive to `avoid` come together when no other drive is free. Raises Busy (no drive or tape in time), MediumFailed (cannot be
        mounted, or frozen and `mode` is "write"; its details have `tape` and `drive`).
        """

    def lock_out(self, drive: str, why: str) -> None:
        """Have nobody use a drive until it is put back; one in use is out when its tape is. Raises NotFound."""

    def make_tape(self, serial: str, *, capacity: int, media_type: str) -> None:
        """Make a new tape, of `capacity` bytes and a media type or "", where tapes are only simulated.

        Raises InvalidInput where they are not, or the serial is not that of such a tape; Conflict when it is there.
        """

    def put_back(self, name: str) -> None:
        """Let a tape or a drive be used again that was locked out. Raises NotFound when none of that name is."""
