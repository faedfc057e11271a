# SPDX-License-Identifier: Apache-2.0
"""The files of datasets: compressed blocks of about 1,000 sorted entries.

A block is zstd over one JSON line with the columns of its entries, followed by their raw SHA-512 digests. Paths are
kept as text with surrogate escapes, so that any bytes survive.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
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

BLOCK: Final = 1_000  # entries; about 75 KB compressed, decoded in 2 ms
_DIGEST: Final = 64  # bytes of SHA-512
_KINDS: Final[tuple[Kind, ...]] = ("file", "link", "directory")
_PAGE: Final = 8  # blocks fetched at once by a walk
_UNPLACED: Final = Location(0, 0, b"")

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


def encode(entries: Sequence[Packed]) -> bytes:
    """Return the block of `entries`."""
    columns = {
        "path": [_text(p.entry.path) for p in entries],
        "kind": [_KINDS.index(p.entry.kind) for p in entries],
        "size": [p.entry.size for p in entries],
        "mtime": [p.entry.mtime_ns for p in entries],
        "mode": [p.entry.mode for p in entries],
        "owner": [[p.entry.uid, p.entry.gid] for p in entries],
        "frame": [p.location.frame for p in entries],
        "skip": [p.location.skip for p in entries],
        "rare": {str(n): rare for n, p in enumerate(entries) if (rare := _rare(p))},
        "digests": [n for n, p in enumerate(entries) if p.location.digest],
    }
    digests = b"".join(p.location.digest for p in entries)
    return zstd.compress(json.dumps(columns, separators=(",", ":")).encode() + b"\n" + digests, 3)


def decode(block: bytes) -> list[Packed]:
    """Return the entries of a block."""
    head, _, digests = zstd.decompress(block).partition(b"\n")
    columns = json.loads(head)
    by_entry = {n: digests[i * _DIGEST : (i + 1) * _DIGEST] for i, n in enumerate(columns["digests"])}
    rows = zip(
        columns["path"], columns["kind"], columns["size"], columns["mtime"], columns["mode"], columns["owner"],
        columns["frame"], columns["skip"], strict=True,
    )  # fmt: skip
    result = []
    for n, (path, kind, size, mtime, mode, (uid, gid), frame, skip) in enumerate(rows):
        rare = columns["rare"].get(str(n), {})
        part = rare.get("part")
        entry = Entry(
            path=_raw(path), kind=_KINDS[kind], size=size, mtime_ns=mtime, mode=mode, uid=uid, gid=gid,
            target=_raw(rare.get("target", "")), sparse=rare.get("sparse", False),
            part=Part(*part[:3]) if part else None, whole_size=part[3] if part else 0,
            xattrs=tuple((name, base64.b64decode(value)) for name, value in rare.get("xattrs", {}).items()),
        )  # fmt: skip
        location = Location(frame, skip, by_entry.get(n, b"")) if (frame or skip or n in by_entry) else _UNPLACED
        result.append(Packed(entry, location, bytes.fromhex(rare.get("whole", ""))))
    return result


def write(conn: Connection, dataset: str, segment: int, entries: Iterable[Packed], *, packed: bool) -> None:
    """Add the entries of one segment, given in path order."""
    iterator = iter(entries)
    with conn.cursor() as cursor, cursor.copy(_SQL["copy_in"]) as copy:
        copy.set_types(["text", "int4", "bytea", "bool", "int4", "int4[]", "bytea"])
        while block := list(islice(iterator, BLOCK)):
            names = sorted({name_hash(p.entry.path) for p in block})
            row = (dataset, segment, block[-1].entry.path, packed, len(block), names, encode(block))
            copy.write_row(row)


def replace(conn: Connection, dataset: str, segment: int, entries: Sequence[Packed]) -> None:
    """Put packed entries in the place of the planned ones of a segment."""
    conn.execute(_SQL["delete_segment"], {"dataset": dataset, "segment": segment})
    write(conn, dataset, segment, entries, packed=True)


def of_segment(conn: Connection, dataset: str, segment: int) -> list[Packed]:
    """Return the entries of one package, in path order."""
    rows = conn.execute(_SQL["of_segment"], {"dataset": dataset, "segment": segment})
    return [packed for row in rows for packed in decode(row["block"])]


def _blocks(conn: Connection, dataset: str, after: tuple[bytes, int], limit: int) -> list[Row]:
    """Return the blocks whose last (path, segment) is greater than `after`, in order."""
    args = {"dataset": dataset, "path": after[0], "segment": after[1], "limit": limit}
    return conn.execute(_SQL["after_path"], args).fetchall()


def walk(conn: Connection, dataset: str, *, prefix: bytes = b"", after: bytes = b"") -> Iterator[tuple[int, Packed]]:
    """Yield (segment, entry) in path order: `prefix` itself and all below it, after the path `after`."""
    below = prefix + b"/" if prefix else b""
    position = (max(prefix, after), -1)
    while blocks := _blocks(conn, dataset, position, _PAGE):
        for row in blocks:
            for packed in decode(row["block"]):
                path = packed.entry.path
                if after and path <= after:
                    continue
                if path == prefix or path.startswith(below):
                    yield row["segment"], packed
                elif path > below:
                    return
        position = (bytes(blocks[-1]["last_path"]), blocks[-1]["segment"])


def find_path(conn: Connection, dataset: str, path: bytes) -> list[tuple[int, Packed]]:
    """Return the file at `path`, all its parts if it has several. Raises NotFound."""
    found = [(segment, p) for segment, p in walk(conn, dataset, prefix=path) if p.entry.path == path]
    if not found:
        raise NotFound(kind="file", name=printable(path))
    return found


def children(
    conn: Connection, dataset: str, folder: bytes, *, after: bytes = b"", limit: int = 1000
) -> list[tuple[str, bytes, Packed | None]]:
    """Return what is in a folder: ("file" | "link" | "directory", name, entry if it has one), names after `after`.

    Skips over the content of sub-folders, so that a listing costs what it shows, not what is below it.
    """
    base = folder + b"/" if folder else b""
    position = base + after + (b"\0" if after else b"")
    result: list[tuple[str, bytes, Packed | None]] = []
    while blocks := _blocks(conn, dataset, (position, -1), 1):
        for packed in decode(blocks[0]["block"]):
            path = packed.entry.path
            if path < position:
                continue
            if not path.startswith(base) or len(result) >= limit:
                return result
            name, inside, _ = path[len(base) :].partition(b"/")
            result.append(("directory", name, None) if inside else (packed.entry.kind, name, packed))
            # "0" follows "/": the next path that is not below this folder; "\0": the next path at all.
            position = base + name + b"0" if inside else path + b"\0"
        position = max(position, bytes(blocks[0]["last_path"]) + b"\0")
    return result


def find_name(conn: Connection, name: bytes, *, limit: int = 100) -> list[tuple[str, Packed]]:
    """Return (dataset, entry) of files with this base name in all datasets."""
    result: list[tuple[str, Packed]] = []
    for row in conn.execute(_SQL["by_name"], {"hash": name_hash(name), "limit": limit}):
        for packed in decode(row["block"]):
            if packed.entry.path.rpartition(b"/")[2] == name and len(result) < limit:
                result.append((row["dataset"], packed))
    return result
