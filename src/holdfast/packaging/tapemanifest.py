# SPDX-License-Identifier: Apache-2.0
"""The manifest of a tape: what one session wrote, so that a rebuild reads one file and not each package.

A zstd file of JSON lines. The first says whose it is; then, for each package, a line of what it is and one line for
each of its members, which are those of `metadata/tree.json` with size, place and SHA-512:

    {"format":{"major":1,"minor":0,"name":"holdfast-manifest"},"generation":7,"serial":...,"site":...,"time":...}
    {"blake3":...,"documents":...,"evidence":...,"identity":...,"members":1,"name":...,"size":...,"start_block":...}
    {"frame":1120,"gid":100,"mode":"0644","mtime_ns":...,"path":"run/0001.h5","sha512":...,"size":...,"skip":512,"uid":1000}

A package without `documents` has those of the package before it. A plain one has a `sidecar`, which says the rest.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.errors import Damaged, NotAPackage
from holdfast.model.entry import Location, Packed
from holdfast.packaging.frames import decoded
from holdfast.packaging.identity import Identity, canonical_json, document_text, document_value
from holdfast.packaging.layout import DATA, DIGEST_SIZE, DOCUMENT_LIMIT
from holdfast.packaging.plan import stored_name
from holdfast.packaging.tree import parse_entries, tree_value

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_FORMAT: Final = "holdfast-manifest"
_MAJOR: Final = 1
_MINOR: Final = 0
_NAME: Final = re.compile(r"holdfast-manifest\.\d{8}T\d{6}Z-\d+\.jsonl\.zst")
_LEVEL: Final = 3  # of zstd; most of it is digests, which shrink at no level
_LINE_LIMIT: Final = 2 * DOCUMENT_LIMIT  # bytes; a sidecar written as a JSON string grows


def manifest_name(at: datetime, number: int) -> str:
    """Return the name on the tape of the manifest that was made then; `number` tells those of one second apart."""
    return f"holdfast-manifest.{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{number}.jsonl.zst"


def is_manifest(name: str) -> bool:
    """Say whether a file on a tape is called as manifests are."""
    return _NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Head:
    """Whose manifest it is: the tape, the site that wrote it, when, and the tape's generation before it."""

    serial: str
    site: str
    time: datetime
    generation: int


@dataclass(frozen=True, slots=True)
class Listed:
    """One package as a manifest names it; `members` is how many lines of members follow.

    A bag has `identity` and `documents`; of a plain package they stand in its `sidecar`, with its members.
    """

    name: str
    size: int  # bytes
    start_block: int
    digest: str  # BLAKE3, hex
    identity: Identity | None = None
    documents: Mapping[str, bytes] = field(default_factory=dict)
    sidecar: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    members: int = 0


def manifest_bytes(head: Head, packages: Iterable[tuple[Listed, Iterable[Packed]]]) -> Iterator[bytes]:
    """Yield the manifest in pieces; of `packages` no more than one line is kept."""
    flags = zstd.CompressionParameter
    compressor = zstd.ZstdCompressor(options={flags.compression_level: _LEVEL, flags.checksum_flag: 1})
    for line in _lines_of(head, packages):
        if piece := compressor.compress(line + b"\n"):
            yield piece
    yield compressor.flush()


def _lines_of(head: Head, packages: Iterable[tuple[Listed, Iterable[Packed]]]) -> Iterator[bytes]:
    version = {"name": _FORMAT, "major": _MAJOR, "minor": _MINOR}
    about = {"serial": head.serial, "site": head.site, "time": head.time.isoformat(), "generation": head.generation}
    yield canonical_json({"format": version, **about})
    before: Mapping[str, bytes] = {}
    for listed, members in packages:
        value: dict[str, Any] = {
            "name": listed.name, "size": listed.size, "start_block": listed.start_block, "blake3": listed.digest,
            "evidence": dict(listed.evidence), "members": listed.members,
        }  # fmt: skip
        if listed.identity is not None:
            value["identity"] = listed.identity.to_value()
            if listed.documents != before:
                value["documents"] = {name: document_value(name, text) for name, text in listed.documents.items()}
                before = listed.documents
        if listed.sidecar is not None:
            value["sidecar"] = listed.sidecar
        yield canonical_json(value)
        yield from map(_member_line, members)


def _member_line(packed: Packed) -> bytes:
    entry, place = packed.entry, packed.location
    value = tree_value(entry, stored_name(entry), packed.whole_digest)
    if entry.kind == "file":
        value |= {"size": entry.size, "frame": place.frame, "skip": place.skip, "sha512": place.digest.hex()}
    return canonical_json(value)


class Manifest:
    """A manifest that is read from begin to end: `head`, then `packages`, and `members` of the one that came last."""

    def __init__(self, chunks: Iterable[bytes], name: str) -> None:
        """Read the first line. Raises NotAPackage when it is no manifest of a known version, Damaged."""
        self._name = name
        self._lines = _lines(decoded(chunks, name), name)
        self._left = 0  # lines of members that were not read yet
        self.head = _head(next(self._lines, b""), name)

    def packages(self) -> Iterator[Listed]:
        """Yield the packages; members of one that nobody asked for are passed over. Raises Damaged."""
        documents: Mapping[str, bytes] = {}
        for line in self._lines:
            listed = self._listed(line, documents)
            documents = listed.documents or documents
            self._left = listed.members
            yield listed
            for _ in range(self._left):
                self._next()

    def members(self) -> Iterator[Packed]:
        """Yield the members of the package that `packages` gave last, which is a bag. Raises Damaged."""
        while self._left:
            self._left -= 1
            yield _member(self._next(), self._name)

    def _next(self) -> bytes:
        if (line := next(self._lines, None)) is None:
            raise Damaged(name=self._name, why="it ends in the middle of a package")
        return line

    def _listed(self, line: bytes, documents: Mapping[str, bytes]) -> Listed:
        try:
            value = json.loads(line)
            found = value.get("documents")
            sidecar = value.get("sidecar")
            return Listed(
                str(value["name"]), int(value["size"]), int(value["start_block"]), str(value["blake3"]),
                Identity.from_value(value["identity"], str(value["name"])) if sidecar is None else None,
                {} if sidecar is not None else documents if found is None
                else {name: document_text(name, document) for name, document in found.items()},
                None if sidecar is None else str(sidecar), dict(value["evidence"]), int(value["members"]),
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Damaged(name=self._name, why="a line that names a package cannot be read") from error


def _head(line: bytes, name: str) -> Head:
    try:
        value = json.loads(line)
        version = value["format"]
        if version["name"] != _FORMAT or version["major"] != _MAJOR:
            raise NotAPackage(
                name=name, why=f"it is {version['name']} {version['major']}, and no manifest that we know"
            )
        time = datetime.fromisoformat(value["time"]).astimezone(UTC)
        return Head(str(value["serial"]), str(value["site"]), time, int(value["generation"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotAPackage(name=name, why="its first line is not that of a manifest") from error


def _member(line: bytes, where: str) -> Packed:
    try:
        value = json.loads(line)
        place = Location(int(value.get("frame", 0)), int(value.get("skip", 0)), bytes.fromhex(value.get("sha512", "")))
        sizes = {DATA + str(value["path"]): int(value.get("size", 0))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(name=where, why="a line that names a member cannot be read") from error
    ((entry, stored, whole),) = parse_entries([value], sizes, where)
    file = entry.kind == "file"
    if len(place.digest) != (DIGEST_SIZE if file else 0) or (file and stored_name(entry) != stored):
        raise Damaged(name=where, why=f"what it says of {stored!r} cannot be")
    return Packed(entry, place, whole)


def _lines(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    rest = bytearray()
    for piece in pieces:
        rest += piece
        if b"\n" in piece:
            *lines, rest = rest.split(b"\n")
            yield from map(bytes, lines)
        elif len(rest) > _LINE_LIMIT:
            raise Damaged(name=name, why="one of its lines is longer than any real one")
    if rest:
        raise Damaged(name=name, why="it ends in the middle of a line")
