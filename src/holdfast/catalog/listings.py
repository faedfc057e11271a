# SPDX-License-Identifier: Apache-2.0
"""The files of datasets: compressed blocks of about 1,000 sorted entries.

A block is zstd over three parts: a JSON line with the paths, one with the other columns, and the raw SHA-512 digests. Paths are
kept as text with surrogate escapes, so that any bytes survive.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, islice, pairwise
from typing import Any, Final

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import queries
from holdfast.errors import NotFound
from holdfast.model.entry import Entry, Kind, Location, Packed, Part
from holdfast.model.names import printable

_LEVEL: Final = 3  # of zstd; the digests do not shrink at any
BLOCK: Final = 1_000  # entries; about 75 KB compressed, decoded in 1 ms
_DIGEST: Final = 64  # bytes of SHA-512
_KINDS: Final[tuple[Kind, ...]] = ("file", "link", "directory")
_PAGE: Final = 8  # blocks fetched at once by a walk

_SQL = queries("listings")


def name_hash(path: bytes) -> int:
    """Return the 32-bit hash of a path's base name, signed, as the index of names keeps it."""
    digest = hashlib.blake2b(path.rpartition(b"/")[2], digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _rare(packed: Packed) -> dict[str, Any]:
    """Return what few entries have."""
    entry = packed.entry
    rare: dict[str, Any] = {}
    if entry.target:
        rare["target"] = _text(entry.target)
    if entry.sparse:
        rare["sparse"] = True
    if entry.part:
        rare["part"] = [entry.part.number, entry.part.count, entry.part.offset, entry.whole_size]
    if packed.whole_digest:
        rare["whole"] = packed.whole_digest.hex()
    if entry.xattrs:
        rare["xattrs"] = {name: base64.b64encode(value).decode() for name, value in entry.xattrs}
    return rare


def _steps(values: list[int]) -> list[int]:
    """Return the differences of neighbours, the first one to 0: small numbers compress well."""
    return [after - before for before, after in pairwise([0, *values])]


def encode(entries: Sequence[Packed]) -> bytes:
    """Return the block of `entries`."""
    plain = [packed.entry for packed in entries]
    paths = [_text(entry.path) for entry in plain]
    columns: dict[str, Any] = {
        "kind": [_KINDS.index(entry.kind) for entry in plain],
        "size": [entry.size for entry in plain],
        "mtime": _steps([entry.mtime_ns for entry in plain]),
        "mode": [entry.mode for entry in plain],
        "uid": [entry.uid for entry in plain],
        "gid": [entry.gid for entry in plain],
        "frame": _steps([packed.location.frame for packed in entries]),
        "skip": [packed.location.skip for packed in entries],
        "rare": {str(n): rare for n, packed in enumerate(entries) if (rare := _rare(packed))},
        "digests": [n for n, packed in enumerate(entries) if packed.location.digest],
    }
    if columns["digests"] == list(range(len(entries))):
        columns["digests"] = True  # every entry has one
    digests = b"".join(packed.location.digest for packed in entries)
    lines = (json.dumps(part, separators=(",", ":")).encode() for part in (paths, columns))
    return zstd.compress(b"\n".join([*lines, digests]), _LEVEL)


class Block:
    """Decoded columns of a block; entries are made only when they are asked for."""

    def __init__(self, block: bytes) -> None:
        """Decode what `encode` gave."""
        paths, self._head, self._digests = zstd.decompress(block).split(b"\n", 2)
        self.paths = [_raw(path) for path in json.loads(paths)]

    @cached_property
    def _columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = json.loads(self._head)
        columns["mtime"] = list(accumulate(columns["mtime"]))
        columns["frame"] = list(accumulate(columns["frame"]))
        if columns["digests"] is True:
            columns["digests"] = range(len(self.paths))
        return columns

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.paths)

    def __iter__(self) -> Iterator[Packed]:
        """Yield the entries in path order."""
        return map(self.at, range(len(self.paths)))

    def first(self, path: bytes) -> int:
        """Return the number of the first entry whose path is not less than `path`."""
        return bisect_left(self.paths, path)

    def at(self, n: int) -> Packed:
        """Return the entry with number `n`."""
        columns = self._columns
        rare = columns["rare"].get(str(n), {})
        part = rare.get("part")
        entry = Entry(
            path=self.paths[n],
            kind=_KINDS[columns["kind"][n]],
            size=columns["size"][n],
            mtime_ns=columns["mtime"][n],
            mode=columns["mode"][n],
            uid=columns["uid"][n],
            gid=columns["gid"][n],
            target=_raw(rare.get("target", "")),
            sparse=rare.get("sparse", False),
            part=Part(*part[:3]) if part else None,
            whole_size=part[3] if part else 0,
            xattrs=tuple((name, base64.b64decode(value)) for name, value in rare.get("xattrs", {}).items()),
        )
        location = Location(columns["frame"][n], columns["skip"][n], self._digest(n))
        return Packed(entry, location, bytes.fromhex(rare.get("whole", "")))

    def _digest(self, n: int) -> bytes:
        known = self._columns["digests"]
        place = bisect_left(known, n)
        if place == len(known) or known[place] != n:
            return b""
        return self._digests[place * _DIGEST : (place + 1) * _DIGEST]


def write(conn: Connection, dataset: str, segment: int, entries: Iterable[Packed], *, packed: bool) -> None:
    """Add the entries of one segment, given in path order; they may be read over the same connection meanwhile."""
    iterator = iter(entries)
    with conn.cursor() as cursor:
        while block := list(islice(iterator, BLOCK)):
            # What is only planned cannot be found by name yet, and need not be indexed twice.
            names = sorted({name_hash(p.entry.path) for p in block}) if packed else []
            row = (dataset, segment, block[-1].entry.path, packed, len(block), names, encode(block))
            # One copy for each block: while one is open, nothing else gets through the connection.
            with cursor.copy(_SQL["copy_in"]) as copy:
                copy.set_types(["text", "int4", "bytea", "bool", "int4", "int4[]", "bytea"])
                copy.write_row(row)


def replace(conn: Connection, dataset: str, segment: int, entries: Sequence[Packed]) -> None:
    """Put packed entries in the place of the planned ones of a segment."""
    conn.execute(_SQL["delete_segment"], {"dataset": dataset, "segment": segment})
    write(conn, dataset, segment, entries, packed=True)


def delete(conn: Connection, dataset: str) -> None:
    """Forget the files of a dataset that could not be archived."""
    conn.execute(_SQL["delete_dataset"], {"dataset": dataset})


def of_segment(conn: Connection, dataset: str, segment: int) -> list[Packed]:
    """Return the entries of one package, in path order."""
    rows = conn.execute(_SQL["of_segment"], {"dataset": dataset, "segment": segment})
    return [packed for row in rows for packed in Block(row["block"])]


def _blocks(conn: Connection, dataset: str, after: tuple[bytes, int], limit: int) -> list[Row]:
    """Return the blocks whose last (path, segment) is greater than `after`, in order."""
    args = {"dataset": dataset, "path": after[0], "segment": after[1], "limit": limit}
    return conn.execute(_SQL["after_path"], args).fetchall()


def block_at(conn: Connection, dataset: str, path: bytes) -> tuple[Block | None, bytes | None]:
    """Return the block with the first path that is not less than `path`, and its last path; None twice at the end."""
    rows = _blocks(conn, dataset, (path, -1), 1)
    return (Block(rows[0]["block"]), bytes(rows[0]["last_path"])) if rows else (None, None)


def walk(conn: Connection, dataset: str, *, prefix: bytes = b"", after: bytes = b"") -> Iterator[tuple[int, Packed]]:
    """Yield (segment, entry) in path order: `prefix` itself and all below it, after the path `after`."""
    below = prefix + b"/" if prefix else b""
    start = max(prefix, after + b"\0") if after else prefix
    position, page = (start, -1), 1  # most look-ups end in the first block
    while rows := _blocks(conn, dataset, position, page):
        for row in rows:
            block = Block(row["block"])
            for n in range(block.first(start), len(block)):
                path = block.paths[n]
                if path == prefix or path.startswith(below):
                    yield row["segment"], block.at(n)
                elif path > below:
                    return
        position, page = (bytes(rows[-1]["last_path"]), rows[-1]["segment"]), _PAGE


def find_path(conn: Connection, dataset: str, path: bytes) -> list[tuple[int, Packed]]:
    """Return the file at `path`, all its parts if it has several. Raises NotFound."""
    found = [(segment, p) for segment, p in walk(conn, dataset, prefix=path) if p.entry.path == path]
    if not found:
        raise NotFound(kind="file", name=printable(path))
    return found


def children(
    conn: Connection, dataset: str, folder: bytes, *, after: bytes = b"", limit: int = 1000
) -> list[tuple[str, bytes, Packed | None]]:
    """Return what is in a folder: ("file" | "link" | "directory", name, entry if it has one), in path order.

    `after` is a name, with a slash behind it when it is a folder with content: "a/" comes after "a-", "a" before it.
    Skips over the content of sub-folders, so that a listing costs what it shows, not what is below it.
    """
    base = folder + b"/" if folder else b""
    # "0" follows "/": the next path that is not below this folder; "\0": the next path at all.
    position = base + (after[:-1] + b"0" if after.endswith(b"/") else after + b"\0" if after else b"")
    result: list[tuple[str, bytes, Packed | None]] = []
    while rows := _blocks(conn, dataset, (position, -1), 1):
        block = Block(rows[0]["block"])
        while (n := block.first(position)) < len(block):
            path = block.paths[n]
            if not path.startswith(base) or len(result) >= limit:
                return result
            name, inside, _ = path[len(base) :].partition(b"/")
            packed = None if inside else block.at(n)
            result.append((packed.entry.kind if packed else "directory", name, packed))
            position = base + name + b"0" if inside else path + b"\0"
        position = max(position, bytes(rows[0]["last_path"]) + b"\0")
    return result


def find_name(
    conn: Connection, name: bytes, *, limit: int = 100, sight: Sequence[str] | None = None
) -> list[tuple[str, Packed]]:
    """Return (dataset, entry) of files with this base name in the datasets that `sight` may see (None: all).

    A file in parts is found by its last part.
    """
    result: list[tuple[str, Packed]] = []
    at: dict[str, Any] = {"dataset": "", "path": b"", "segment": 0}
    seen_as = None if sight is None else list(sight)
    args = {"hash": name_hash(name), "limit": limit, "sight": seen_as}
    with conn.transaction():
        # The names lie beside the table, which therefore looks so small to the planner that it would read all of it.
        conn.execute("set local enable_seqscan = off")
        while rows := conn.execute(_SQL["by_name"], {**at, **args}).fetchall():
            for row in rows:
                block = Block(row["block"])
                matching = (n for n, path in enumerate(block.paths) if path.rpartition(b"/")[2] == name)
                result += ((row["dataset"], packed) for packed in map(block.at, matching) if is_last(packed))
            if len(result) >= limit:
                break
            at = {"dataset": rows[-1]["dataset"], "path": rows[-1]["last_path"], "segment": rows[-1]["segment"]}
    return result[:limit]


def is_last(packed: Packed) -> bool:
    """Say whether an entry is whole, or the last part of a file, which knows the whole."""
    return packed.entry.part is None or packed.entry.part.number == packed.entry.part.count
