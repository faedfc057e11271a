# SPDX-License-Identifier: Apache-2.0
"""Plain packages: one file as it is, for systems that read it in place, and a sidecar that says what it is.

The sidecar is one line of canonical JSON: what `holdfast.json` of a bag holds, and

    "file"       stored name, size in bytes, SHA-512 and BLAKE3 of the package, in hex
    "tree"       what `metadata/tree.json` of a bag holds: of the file, and of the links and empty folders with it
    "documents"  what else stands below `metadata/` in a bag, by name, as JSON values; of a `.jsonl` a list of its lines
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from holdfast.errors import Damaged, InvalidInput
from holdfast.model.entry import Entry, Location, Packed
from holdfast.model.names import check_relative
from holdfast.packaging import layout
from holdfast.packaging.identity import Identity, canonical_json, document_text, document_value
from holdfast.packaging.plan import check_file, member_name, stored_name
from holdfast.packaging.reader import Source
from holdfast.packaging.sink import Sinks
from holdfast.packaging.sources import opened_root, read_pieces, whole_digest
from holdfast.packaging.stretch import HashAside
from holdfast.packaging.tree import parse_entries, tree_value
from holdfast.packaging.writer import PackOptions, Written

_BLAKE3_SIZE: Final = 32  # bytes


def write_plain(
    identity: Identity,
    entries: Sequence[Entry],
    *,
    root: Path | bytes,
    documents: Mapping[str, bytes],
    sinks: Sequence[Path],
    options: PackOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Written:
    """Copy the one file among `entries` of the folder `root` to each of `sinks`, and make its sidecar.

    The links and empty folders among `entries` stand in the sidecar alone. Arguments and errors are those of
    `write_package`; what it compresses with is not used.
    """
    file = _the_file(entries)
    chosen, stop = options or PackOptions(), cancelled or (lambda: False)
    with (
        opened_root(root) as source,
        Sinks(sinks, direct=chosen.direct, durable=chosen.durable, planned=identity.payload_bytes) as files,
    ):
        digest = _copy(source, file, files, progress or (lambda *_: None), stop)
        last = file.part is not None and file.part.number == file.part.count
        whole = whole_digest(source, file, stop) if last else b""
        blake3 = files.finish()
    nothing = Location(0, 0, b"")
    members = tuple(
        Packed(entry, Location(0, 0, digest), whole) if entry is file else Packed(entry, nothing) for entry in entries
    )
    return Written(files.size, blake3, members, _sidecar(identity, members, documents, digest, blake3))


def _the_file(entries: Sequence[Entry]) -> Entry:
    files = [entry for entry in entries if entry.kind == "file"]
    if len(files) != 1:
        raise InvalidInput(what=f"A plain package holds one file, not {len(files)}.")
    for entry in entries:
        check_relative(entry.path)
    check_file(files[0])
    return files[0]


def _copy(
    root: int, file: Entry, sinks: Sinks, progress: Callable[[int, int], None], cancelled: Callable[[], bool]
) -> bytes:
    """Write the file and return its SHA-512."""
    sha = HashAside()
    done = 0
    try:
        with closing(read_pieces(root, file, file.part.offset if file.part else 0, file.size, cancelled)) as pieces:
            for piece in pieces:
                sha.update(piece)
                sinks.write(piece)
                done += len(piece)
                progress(0, done)
        progress(1, done)
        return sha.digest()
    finally:
        sha.close()


def _sidecar(
    identity: Identity, members: Sequence[Packed], documents: Mapping[str, bytes], digest: bytes, blake3: str
) -> bytes:
    entries = []
    about: dict[str, object] = {}
    for packed in members:
        entry = packed.entry
        stored = stored_name(entry)
        entries.append(tree_value(entry, stored, packed.whole_digest))
        if entry.kind == "file":
            about = {"name": stored, "size": entry.size, "sha512": digest.hex(), "blake3": blake3}
    value = identity.to_value() | {
        "file": about,
        "tree": {"entries": entries, "version": 1},
        "documents": {name: document_value(name, text) for name, text in documents.items()},
    }
    return canonical_json(value) + b"\n"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What a sidecar says of its package: whose it is, what it holds, and size and BLAKE3 of the file."""

    identity: Identity
    members: tuple[Packed, ...]
    documents: dict[str, bytes]
    size: int
    digest: str
    text: str  # the sidecar itself


def read_sidecar(source: Source) -> Sidecar:
    """Read a sidecar from any medium.

    Raises Damaged when it is not what `write_plain` makes, NotAPackage when it is that of something else or has a
    major version we do not know.
    """
    if source.size > layout.SIDECAR_LIMIT:
        raise Damaged(name=source.name, why="it is larger than any real sidecar")
    return parse_sidecar(b"".join(source.read(0, source.size)), source.name)


def parse_sidecar(raw: bytes, where: str) -> Sidecar:
    """Return what the bytes of a sidecar say. Raises Damaged and NotAPackage as `read_sidecar` does."""
    try:
        text = raw.decode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged(name=where, why="it is not JSON") from error
    identity = Identity.from_value(value, where)
    try:
        file, entries = value["file"], value["tree"]["entries"]
        stored, size = str(file["name"]), int(file["size"])
        digest, blake3 = bytes.fromhex(file["sha512"]), bytes.fromhex(file["blake3"])
        documents = {name: document_text(name, document) for name, document in value["documents"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise Damaged(name=where, why="it does not say what a sidecar says") from error
    if size < 0 or len(digest) != layout.DIGEST_SIZE or len(blake3) != _BLAKE3_SIZE:
        raise Damaged(name=where, why="size or digests of its file cannot be")
    members = tuple(_members(entries, stored, size, digest, where))
    if sum(packed.entry.kind == "file" for packed in members) != 1:
        raise Damaged(name=where, why="its tree does not name one file")
    return Sidecar(identity, members, documents, size, blake3.hex(), text)


def _members(entries: Any, stored: str, size: int, digest: bytes, where: str) -> Iterator[Packed]:
    for entry, name, whole in parse_entries(entries, {layout.DATA + stored: size}, where):
        if entry.kind != "file":
            yield Packed(entry, Location(0, 0, b""))
        elif name == stored and member_name(entry) == layout.DATA + stored:
            yield Packed(entry, Location(0, 0, digest), whole)
        else:
            raise Damaged(name=where, why="its tree names another file")
