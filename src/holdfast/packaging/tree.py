# SPDX-License-Identifier: Apache-2.0
"""`metadata/tree.json`: what a bag cannot hold.

One JSON document, canonical except for a line break after each entry, in the order of the dataset:

    {"entries":[
    {"gid":100,"mode":"0644","mtime_ns":1700000000123456789,"path":"run/0001.h5","uid":1000},
    ...
    ],"version":1}

`path` is the name below `data/` (of a link or directory: the name it would have). Only where they say something:
`name64` original bytes of the path (base64) when they differ from `path`; `kind` "link" or "directory"; `target` or
`target64` of a link; `sparse` true; `xattrs` name to base64; `part` with `number`, `count`, `offset`, `whole_size`
and, with the last part, `whole_sha512`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from holdfast.errors import Damaged
from holdfast.model.entry import ACL, Entry, Kind, Part
from holdfast.packaging.identity import canonical_json, is_utf8
from holdfast.packaging.layout import DATA, DIGEST_SIZE


def tree_document(lines: Iterable[bytes]) -> bytes:
    """Return the document of `lines`, which hold no line break."""
    text = b",\n".join(lines)
    return b'{"entries":[' + (b"\n" + text if text else b"") + b'\n],"version":1}\n'


def tree_line(entry: Entry, stored: str, whole_digest: bytes = b"") -> bytes:
    """Return one entry, without line break; `stored` is its name below `data/`. Plain files have `plain_tree_line`."""
    return canonical_json(tree_value(entry, stored, whole_digest))


def tree_value(entry: Entry, stored: str, whole_digest: bytes = b"") -> dict[str, object]:
    """Return one entry as JSON values."""
    value: dict[str, object] = {
        "gid": entry.gid,
        "mode": f"{entry.mode:04o}",
        "mtime_ns": entry.mtime_ns,
        "path": stored,
        "uid": entry.uid,
    }
    if stored.encode() != entry.path:
        value["name64"] = _base64(entry.path)
    if entry.kind != "file":
        value["kind"] = entry.kind
    if entry.kind == "link":
        text = is_utf8(entry.target)
        value["target" if text else "target64"] = entry.target.decode() if text else _base64(entry.target)
    if entry.sparse:
        value["sparse"] = True
    if entry.xattrs:
        value["xattrs"] = {name: _base64(content) for name, content in entry.xattrs}
    if entry.part:
        value["part"] = _part_fields(entry.part, entry.whole_size, whole_digest)
    return value


def parse_tree(text: bytes, sizes: Mapping[str, int], where: str) -> Iterator[tuple[Entry, str, bytes]]:
    """Yield (entry, name below `data/`, digest of the whole file or empty); `sizes` are those of the index, by name.

    Raises Damaged.
    """
    try:
        values = json.loads(text)["entries"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(name=where, why="its tree cannot be read") from error
    yield from parse_entries(values, sizes, where)


def parse_entries(values: Iterable[Any], sizes: Mapping[str, int], where: str) -> Iterator[tuple[Entry, str, bytes]]:
    """Do what `parse_tree` does with entries that are JSON values already. Raises Damaged."""
    try:
        for value in values:
            yield _entry(value, sizes)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Damaged(name=where, why="its tree cannot be read") from error


def _entry(value: dict[str, Any], sizes: Mapping[str, int]) -> tuple[Entry, str, bytes]:
    stored = str(value["path"])
    kind: Kind = value.get("kind", "file")
    if kind not in ("file", "link", "directory"):
        raise ValueError(kind)
    part, whole_size, whole_digest = None, 0, b""
    if (fields := value.get("part")) is not None:
        part = Part(int(fields["number"]), int(fields["count"]), int(fields["offset"]))
        whole_size = int(fields["whole_size"])
        whole_digest = bytes.fromhex(fields.get("whole_sha512", ""))
        if len(whole_digest) not in (0, DIGEST_SIZE):
            raise ValueError(whole_digest)
    name = value.get("name64")
    target64 = value.get("target64")
    entry = Entry(
        path=base64.b64decode(name, validate=True) if name is not None else stored.encode(),
        kind=kind,
        size=sizes.get(DATA + stored, 0) if kind == "file" else 0,
        mtime_ns=int(value["mtime_ns"]),
        mode=int(value["mode"], 8),
        uid=int(value["uid"]),
        gid=int(value["gid"]),
        target=base64.b64decode(target64, validate=True) if target64 else str(value.get("target", "")).encode(),
        sparse=bool(value.get("sparse", False)),
        part=part,
        whole_size=whole_size,
        xattrs=tuple(
            (_xattr(key), base64.b64decode(raw, validate=True)) for key, raw in value.get("xattrs", {}).items()
        ),
    )
    return entry, stored, whole_digest


def _xattr(name: str) -> str:
    """Refuse attributes that no owner of a file can set: they would give it rights."""
    if (not name.startswith("user.") and name != ACL) or "\0" in name:
        raise ValueError(name)
    name.encode("utf-8", "surrogateescape")  # as the system takes it
    return name


def _part_fields(part: Part, whole_size: int, whole_digest: bytes) -> dict[str, object]:
    fields: dict[str, object] = {
        "number": part.number,
        "count": part.count,
        "offset": part.offset,
        "whole_size": whole_size,
    }
    if whole_digest:
        fields["whole_sha512"] = whole_digest.hex()
    return fields


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
