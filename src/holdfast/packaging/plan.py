# SPDX-License-Identifier: Apache-2.0
"""Which bytes of the tar stream go into which frame; decided by names and sizes alone, so always the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from holdfast.errors import InvalidInput
from holdfast.model.entry import Entry
from holdfast.model.names import check_relative, printable, stored_part_path, stored_path
from holdfast.packaging.layout import DATA, SHARED_FRAME_SIZE
from holdfast.packaging.tarheader import header_size, padding
from holdfast.packaging.unit import Item

_MODE_BITS = 0o7777


@dataclass(slots=True)
class Member:
    """One payload file on its way into the package."""

    entry: Entry
    name: bytes  # in the tar
    head: int  # bytes of tar header
    offset: int = 0  # of its content in the tar stream
    digest: bytes = b""

    @property
    def stored(self) -> str:
        """The name below `data/`."""
        return self.name[len(DATA) :].decode()

    @property
    def length(self) -> int:
        """Bytes of tar stream: header, content, padding."""
        return self.head + self.entry.size + padding(self.entry.size)

    def item(self) -> Item:
        """Return what a unit maker needs to know."""
        entry = self.entry
        offset, whole = (entry.part.offset, entry.whole_size) if entry.part else (0, entry.size)
        return (
            entry.path, self.name, entry.size, entry.mtime_ns, entry.mode, entry.uid, entry.gid, offset, whole, self.plain
        )  # fmt: skip

    @property
    def plain(self) -> bool:
        """Whether the tree has nothing to tell of the file but name, mode, time and owner."""
        entry = self.entry
        return not (entry.sparse or entry.part or entry.xattrs) and self.name[len(DATA) :] == entry.path


@dataclass(frozen=True, slots=True)
class Unit:
    """A frame of whole small members, from byte `start` of the tar stream."""

    members: list[Member]
    length: int
    start: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A frame that is a piece of one large member: `length` bytes from byte `start` of its tar stream."""

    member: Member
    start: int
    length: int

    @property
    def content(self) -> int:
        """Bytes of the member's content in this piece."""
        size, head = self.member.entry.size, self.member.head
        return max(min(self.start + self.length, head + size) - max(self.start, head), 0)

    @property
    def last(self) -> bool:
        """Whether the member ends with this piece."""
        return self.start + self.length == self.member.length


Frame: TypeAlias = Unit | Piece


def member_name(entry: Entry) -> str:
    """Return the name of the tar member that holds `entry`."""
    if entry.part:
        return DATA + stored_part_path(entry.path, entry.part.number, entry.part.count)
    return DATA + stored_path(entry.path)


def stored_name(entry: Entry) -> str:
    """Return the name of `entry` below `data/`; of a link or folder, the name that it would have."""
    return member_name(entry)[len(DATA) :]


def planned_frames(entries: Sequence[Entry], frame_size: int, start: int) -> Iterator[Frame]:
    """Yield the frames of the payload, which begins at byte `start` of the tar stream.

    A member larger than 1 MiB, or than a frame, begins and ends with a frame; smaller ones are never cut.
    Raises InvalidInput for paths that cannot be stored.
    """
    shared = min(frame_size, SHARED_FRAME_SIZE)
    waiting: list[Member] = []
    filled = 0
    for entry in entries:
        if entry.kind != "file":
            check_relative(entry.path)
            continue
        member = _member(entry)
        length = member.length
        member.offset = start + member.head
        start += length
        if waiting and filled + length > shared:
            yield Unit(waiting, filled, start - length - filled)
            waiting, filled = [], 0
        if length <= shared:
            waiting.append(member)
            filled += length
            continue
        for at in range(0, length, frame_size):
            yield Piece(member, at, min(frame_size, length - at))
    if waiting:
        yield Unit(waiting, filled, start - filled)


def check_file(entry: Entry) -> None:
    """Refuse a file that cannot be stored. Raises InvalidInput."""
    check_relative(entry.path)
    if entry.size < 0 or entry.mode & ~_MODE_BITS or min(entry.uid, entry.gid) < 0:
        raise InvalidInput(what=f"{printable(entry.path)!r} has a size, mode or owner that cannot be.")


def _member(entry: Entry) -> Member:
    check_file(entry)
    name = member_name(entry).encode()
    return Member(entry, name, header_size(name, entry.size, entry.uid, entry.gid, entry.mtime_ns // 1_000_000_000))
