# SPDX-License-Identifier: Apache-2.0
"""Reading a package from any medium: who it is, what it holds, one file of it; never more bytes than that needs."""

from __future__ import annotations

import bisect
import hashlib
import os
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from holdfast.errors import Damaged, DigestMismatch, NotAPackage, UnsafePackage
from holdfast.model.entry import Location, Packed
from holdfast.packaging import layout
from holdfast.packaging.bag import parse_manifest
from holdfast.packaging.frames import FOOTER_SIZE, decoded, parse_table, table_size
from holdfast.packaging.identity import Identity
from holdfast.packaging.index import Row, parse_index
from holdfast.packaging.plan import member_name
from holdfast.packaging.tarheader import parse_block
from holdfast.packaging.tree import parse_tree

_CHUNK = 256 << 10  # bytes per read: little when one small file is wanted, enough for streaming
_END = 256 << 10  # bytes read from the end at once: table, index and more of most packages
_LAST_TABLE = 1 << 30  # bytes; no seek table is larger


class Source(Protocol):
    """Random access to the bytes of one package, on whatever medium; safe to use from several threads."""

    name: str
    size: int  # bytes

    def read(self, offset: int, length: int | None) -> Iterator[bytes]:
        """Yield `length` bytes from `offset` in chunks; None: up to the end."""


class FileSource:
    """A package that is a local file."""

    def __init__(self, path: Path) -> None:
        """Use the file at `path`. Raises NotAPackage when it cannot be opened."""
        self.name = str(path)
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self.size = os.fstat(self._fd).st_size
        except OSError as error:
            raise NotAPackage(name=self.name, why=error.strerror or str(error)) from error

    def read(self, offset: int, length: int | None) -> Iterator[bytes]:
        """Yield `length` bytes from `offset` in chunks; None: up to the end. Raises Damaged when reading fails."""
        end = self.size if length is None else min(offset + length, self.size)
        while offset < end:
            try:
                chunk = os.pread(self._fd, min(_CHUNK, end - offset), offset)
            except OSError as error:
                raise Damaged(name=self.name, why=error.strerror or str(error)) from error
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        """Return this object; the file is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()


def identify(source: Source) -> Identity:
    """Return who the package is, from its first frame alone; the rest may be missing.

    Raises NotAPackage when the first frame is not the beginning of a package of a known version.
    """
    with closing(_chunks(source.read(0, min(2 * layout.IDENTITY_LIMIT, source.size)))) as chunks:
        first = next(chunks, b"")
        if first[:4] != layout.ZSTD_MAGIC:
            raise NotAPackage(name=source.name, why="it does not begin with a zstd frame")
        content = bytearray()
        try:
            for piece in decoded(_again(first, chunks), source.name):
                content += piece
                if (text := _first_member(content, source.name)) is not None:
                    return Identity.from_json(text, source.name)
        except Damaged as error:
            raise NotAPackage(name=source.name, why="its first frame is damaged") from error
    raise NotAPackage(name=source.name, why="its first member is not whole")


def _first_member(content: bytearray, name: str) -> bytes | None:
    """Return the bytes of holdfast.json when `content` holds them already."""
    if len(content) < layout.BLOCK:
        return None
    member = parse_block(bytes(content[: layout.BLOCK]), name)
    if member.name != layout.IDENTITY.encode() or member.size > layout.IDENTITY_LIMIT:
        raise NotAPackage(name=name, why="its first member is not holdfast.json")
    end = layout.BLOCK + member.size
    return bytes(content[layout.BLOCK : end]) if len(content) >= end else None


@dataclass(frozen=True, slots=True)
class FrameSpan:
    """One frame: where it begins in the package file and in the tar stream, and its bytes in both."""

    place: int
    start: int
    size: int
    length: int


class Package:
    """A whole package: its identity, its frames, and the index of its members."""

    def __init__(self, source: Source, identity: Identity, frames: list[FrameSpan], members: tuple[Row, ...]) -> None:
        """Use `open_package` instead."""
        self.source = source
        self.identity = identity
        self.frames = frames
        self.members = members
        self._starts = [frame.start for frame in frames]

    def documents(self) -> dict[str, bytes]:
        """Return all members outside of `data/` by name: metadata, bag files, manifests. Raises Damaged."""
        rows = [row for row in self.members if not row.name.startswith(layout.DATA)]
        return {row.name: self._content(row) for row in rows}

    def document(self, name: str) -> bytes:
        """Return one member outside of `data/`. Raises Damaged when it is missing or cannot be read."""
        for row in self.members:
            if row.name == name and not name.startswith(layout.DATA):
                return self._content(row)
        raise Damaged(name=self.source.name, why=f"{name} is missing")

    def listing(self) -> Iterator[Packed]:
        """Yield all entries as they were packed, from index, manifest and tree; the payload is not read.

        Raises Damaged when the three contradict each other, UnsafePackage for a member that no manifest names.
        """
        where = self.source.name
        manifest = self.document(layout.MANIFEST)
        digests = dict(parse_manifest(manifest.splitlines(keepends=True), where))
        rows = {row.name: row for row in self.members if row.name.startswith(layout.DATA) and row.name != layout.DATA}
        for name in rows:
            if name.encode() not in digests:
                raise UnsafePackage(name=name, why="no manifest names it")
        sizes = {name: row.size for name, row in rows.items()}
        for entry, stored, whole_digest in parse_tree(self.document(layout.TREE), sizes, where):
            if entry.kind != "file":
                yield Packed(entry, Location(0, 0, b""))
                continue
            row = rows.pop(layout.DATA + stored, None)
            digest = digests.pop((layout.DATA + stored).encode(), None)
            if row is None or digest is None:
                raise Damaged(name=where, why=f"{stored} is in its tree but not in its index and manifest")
            if member_name(entry) != row.name:
                raise UnsafePackage(name=stored, why="its name in the tree is another one")
            yield Packed(entry, self._location(row, digest), whole_digest)
        if rows or digests:
            raise Damaged(name=where, why=f"its tree does not name {next(iter(rows or digests))!r}")

    def _location(self, row: Row, digest: bytes) -> Location:
        if not row.size:
            return Location(0, 0, digest)
        frame = self._frame_of(row)
        return Location(frame.place, row.offset - frame.start, digest)

    def _frame_of(self, row: Row) -> FrameSpan:
        at = bisect.bisect_right(self._starts, row.offset) - 1
        if at < 0 or self.frames[at].place != row.frame:
            raise Damaged(name=self.source.name, why=f"index and seek table disagree about {row.name}")
        return self.frames[at]

    def _content(self, row: Row) -> bytes:
        if row.size > layout.DOCUMENT_LIMIT:
            raise UnsafePackage(name=row.name, why="it is larger than any real one")
        frame = self._frame_of(row)
        return b"".join(member_bytes(self.source, frame.place, row.offset - frame.start, row.size))


def open_package(source: Source) -> Package:
    """Read identity, seek table and member index of a package: its first frame and its end.

    Raises NotAPackage when the begin or the end is not that of a package, Damaged when the index cannot be read.
    """
    identity = identify(source)
    spans = read_frames(source)
    tail, index = spans[:-1], spans[-1]
    if index.length or not tail:
        raise NotAPackage(name=source.name, why="it has no member index")
    frame = b"".join(source.read(index.place, index.size))
    return Package(source, identity, tail, tuple(parse_index(frame, source.name)))


def read_frames(source: Source) -> list[FrameSpan]:
    """Return all frames as the seek table at the end names them. Raises NotAPackage."""
    if source.size < FOOTER_SIZE + 8:
        raise NotAPackage(name=source.name, why="it is too short")
    end = _last_bytes(source, min(_END, source.size))
    size = table_size(end[-FOOTER_SIZE:], source.name)
    if not FOOTER_SIZE + 8 <= size <= min(source.size, _LAST_TABLE):
        raise NotAPackage(name=source.name, why="its seek table cannot be read")
    if size > len(end):
        end = _last_bytes(source, size)
    spans: list[FrameSpan] = []
    place = start = 0
    for compressed, length in parse_table(end[-size:], source.name):
        spans.append(FrameSpan(place, start, compressed, length))
        place, start = place + compressed, start + length
    if place != source.size - size or not spans:
        raise NotAPackage(name=source.name, why="its seek table does not fit its size")
    return spans


def _last_bytes(source: Source, count: int) -> bytes:
    end = b"".join(source.read(source.size - count, count))
    if len(end) != count:
        raise NotAPackage(name=source.name, why="it ends before its size")
    return end


def member_bytes(source: Source, place: int, skip: int, size: int) -> Iterator[bytes]:
    """Yield `size` bytes of content: decode from `place` in the package file and leave out the first `skip` bytes.

    Raises Damaged when a frame cannot be decoded or the package ends before.
    """
    if not size:
        return
    if not 0 <= place < source.size or skip < 0:
        raise Damaged(name=source.name, why="a member begins outside of it")
    with closing(_chunks(source.read(place, None))) as chunks:
        for piece in decoded(chunks, source.name):
            if skip >= len(piece):
                skip -= len(piece)
                continue
            taken = piece[skip : skip + size]
            skip, size = 0, size - len(taken)
            yield taken
            if not size:
                return
    raise Damaged(name=source.name, why="it ends in the middle of a member")


def read_file(source: Source, packed: Packed) -> Iterator[bytes]:
    """Yield the content of one packed file or part, with one seek.

    Raises Damaged when it cannot be decoded, and DigestMismatch after the last chunk when the content is not what
    was packed: the caller must not use what it got before the iteration has ended well.
    """
    sha = hashlib.sha512()
    location = packed.location
    for piece in member_bytes(source, location.frame, location.skip, packed.entry.size):
        sha.update(piece)
        yield piece
    if sha.digest() != location.digest:
        raise DigestMismatch(name=member_name(packed.entry))


def _chunks(chunks: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Make a generator of any iterator, so that it can be closed before its end."""
    yield from chunks


def _again(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
