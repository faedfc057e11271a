# SPDX-License-Identifier: Apache-2.0
"""Packages for tests: scan a folder, pack it, hold a package in memory and damage it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from holdfast.model.entry import Entry
from holdfast.packaging.identity import Identity
from holdfast.packaging.plain import write_plain
from holdfast.packaging.writer import PackOptions, Written, write_package

DOCUMENTS = {
    "metadata/dataset.json": b'{"title":"Sample"}\n',
    "metadata/datacite.json": b"{}\n",
    "metadata/events.jsonl": b'{"type":"close"}\n',
}


def sample_identity(entries: Sequence[Entry]) -> Identity:
    """Return an identity for `entries`."""
    return Identity(
        dataset="01arz3ndektsv4rrffq69g5fav",
        segment=1,
        segments=1,
        site="alpha",
        server="ioc-7",
        source_path=b"/data/\xff",
        title="Sample\nset",
        owner="ada",
        profile="default",
        profile_version=3,
        created=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        members=len(entries),
        payload_bytes=sum(entry.size for entry in entries),
    )


def scan(root: Path) -> list[Entry]:
    """Return what `root` holds, in path order, as the packer wants it."""
    return sorted(_scan(os.fsencode(root), b""), key=lambda entry: entry.path)


def _scan(base: bytes, folder: bytes) -> Iterator[Entry]:
    names = os.listdir(os.path.join(base, folder))
    if not names and folder:
        yield _entry(base, folder)
    for name in names:
        path = folder + b"/" + name if folder else name
        if stat.S_ISDIR(os.lstat(os.path.join(base, path)).st_mode):
            yield from _scan(base, path)
        else:
            yield _entry(base, path)


def _entry(base: bytes, path: bytes) -> Entry:
    full = os.path.join(base, path)
    found = os.lstat(full)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(full)
        return Entry(path, "link", 0, found.st_mtime_ns, mode, found.st_uid, found.st_gid, target=target)
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, "directory", 0, found.st_mtime_ns, mode, found.st_uid, found.st_gid)
    sparse = found.st_blocks * 512 < found.st_size
    return Entry(path, "file", found.st_size, found.st_mtime_ns, mode, found.st_uid, found.st_gid, sparse=sparse)


def pack(
    root: Path, *sinks: Path, entries: Sequence[Entry] | None = None, options: PackOptions | None = None
) -> Written:
    """Pack `root`, or `entries` of it, into `sinks`."""
    chosen = scan(root) if entries is None else entries
    identity = sample_identity(chosen)
    return write_package(identity, chosen, root=root, documents=DOCUMENTS, sinks=sinks, options=options)


def pack_plain(root: Path, sink: Path, entries: Sequence[Entry]) -> Written:
    """Pack the one file among `entries` as it is."""
    return write_plain(sample_identity(entries), entries, root=root, documents=DOCUMENTS, sinks=[sink])


@dataclass
class MemorySource:
    """A package in memory that remembers which ranges were read."""

    content: bytes
    name: str = "sample"
    reads: list[tuple[int, int]] = field(default_factory=list)
    chunk: int = 64 << 10

    def __post_init__(self) -> None:
        self.size = len(self.content)

    def read(self, offset: int, length: int | None) -> Iterator[bytes]:
        """Yield the bytes in chunks."""
        end = self.size if length is None else min(offset + length, self.size)
        for at in range(offset, end, self.chunk):
            piece = self.content[at : min(at + self.chunk, end)]
            self.reads.append((at, len(piece)))
            yield piece
