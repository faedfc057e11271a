# SPDX-License-Identifier: Apache-2.0
"""The bytes of files for whoever reads them now: from the source or from the buffer, else brought there first.

Files come from a folder in which they are as they were archived: the source, as long as it was not released and a file
has the size and time that it had, or what a request has staged and pinned. What is in neither is asked for, and the
caller is told the request to follow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final

from holdfast.catalog import listings
from holdfast.catalog.database import Connection
from holdfast.catalog.queries import requests
from holdfast.errors import HoldfastError, InvalidInput, NotFound, NotSignedIn
from holdfast.model.entry import Packed
from holdfast.model.names import check_relative, printable
from holdfast.packaging.sources import SourceFolder, check_unchanged, opened_root
from holdfast.services.archive import Archive, dataset_row
from holdfast.services.deliver import ask, outermost
from holdfast.services.union import newest

_PAGE: Final = 1000  # entries of one look: no transaction stays open while a slow reader takes the bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that can be read now; the descriptor is the caller's to close."""

    descriptor: int
    packed: Packed


@dataclass(frozen=True, slots=True)
class Place:
    """A folder in which files are as they were archived."""

    folder: bytes
    buffered: bool  # only the archive writes there; its file system may keep other times than the files have


@dataclass(frozen=True, slots=True)
class Away:
    """What is wanted is on tape only; `request` brings it."""

    request: str


def open_file(archive: Archive, dataset: str, path: bytes, *, person: str) -> Opened | Away:
    """Open a file, or ask for it on behalf of `person`.

    Raises NotFound, InvalidInput (it is a link or a folder), NotSignedIn (it has to come from tape, for nobody), and
    what `deliver.ask` raises.
    """
    check_relative(path)
    with archive.database.transaction() as conn:
        packed = listings.find_path(conn, dataset, path)[-1][1]
        places = _places(conn, dataset, [path])
    if packed.entry.kind != "file":
        raise InvalidInput(what=f"{printable(path)} is a {packed.entry.kind}, not a file.")
    for place in places:
        with suppress(HoldfastError):
            return Opened(_open(place, packed), packed)
    return _away(archive, dataset, [path], person)


def select(
    archive: Archive, chain: Sequence[str], paths: Sequence[bytes], *, person: str
) -> Mapping[str, Place] | Away:
    """Return for each dataset a place that has all its files at and below `paths` (none: all), or ask for them.

    `chain` is one dataset or, the newest first, those whose union is wanted. Raises as `open_file`.
    """
    for path in paths:
        check_relative(path)
    wanted: dict[str, list[bytes]] = {}
    places: dict[str, list[Place]] = {}
    with archive.database.transaction() as conn:
        for dataset in chain:
            there = [path for path in paths if next(listings.walk(conn, dataset, prefix=path), None)]
            if there or not paths:
                wanted[dataset], places[dataset] = there, _places(conn, dataset, there)
        for path in paths:
            if not any(path in there for there in wanted.values()):
                listings.find_path(conn, chain[0], path)
    found: dict[str, Place] = {}
    missing = []
    for dataset in wanted:
        for place in places[dataset]:
            if all(_is_there(place, packed) for packed in _of(archive, dataset, chain, paths)):
                found[dataset] = place
                break
        else:
            if next(_of(archive, dataset, chain, paths), None):
                missing.append(dataset)
    # All at once, so that what lies on several tapes does not come one after the other.
    asked = [_away(archive, dataset, wanted[dataset], person) for dataset in missing]
    return asked[0] if asked else found


def entries(archive: Archive, chain: Sequence[str], paths: Sequence[bytes]) -> Iterator[tuple[str, Packed]]:
    """Yield (dataset, entry) of what is at and below `paths` (none: all), in the union of `chain`, the newest first.

    A file in parts comes by the part that knows the whole.
    """
    for prefix in outermost(paths) or [b""]:
        after = b""
        while True:
            with archive.database.transaction() as conn:
                sources = [(dataset, _marked(conn, dataset, prefix, after)) for dataset in chain]
                page = list(islice(newest(conn, sources), _PAGE))
            yield from ((dataset, packed) for dataset, _, packed in page)
            if len(page) < _PAGE:
                break
            after = page[-1][1]


def _marked(conn: Connection, dataset: str, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, bool, Packed]]:
    for _, packed in listings.walk(conn, dataset, prefix=prefix, after=after):
        if listings.is_last(packed):
            yield packed.entry.path, packed.entry.kind == "directory", packed


def _of(archive: Archive, dataset: str, chain: Sequence[str], paths: Sequence[bytes]) -> Iterator[Packed]:
    return (packed for one, packed in entries(archive, chain, paths) if one == dataset)


@contextmanager
def reading(place: Place, packed: Packed) -> Iterator[int]:
    """Yield a descriptor of a file at a place that `select` gave. Raises SourceChanged, SourceUnreadable."""
    descriptor = _open(place, packed)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(place: Place, packed: Packed) -> int:
    """Open a file without following links. Raises SourceChanged, SourceUnreadable."""
    entry = packed.entry
    with opened_root(place.folder) as root, closing(SourceFolder(root)) as source:
        descriptor = source.open(entry.path)
    try:
        check_unchanged(descriptor, entry.path, entry.file_size, None if place.buffered else entry.mtime_ns)
    except HoldfastError:
        os.close(descriptor)
        raise
    return descriptor


def _is_there(place: Place, packed: Packed) -> bool:
    """Say whether an entry is at a place as it was archived; links and folders come from the catalogue."""
    if packed.entry.kind != "file":
        return True
    with suppress(HoldfastError), reading(place, packed):
        return True
    return False


def _places(conn: Connection, dataset: str, paths: Sequence[bytes]) -> list[Place]:
    """Return where the files may be: in folders of requests that staged them, then in the source."""
    row = dataset_row(conn, dataset)
    staged = requests.all(conn, "staged", dataset=dataset)
    found = [
        Place(bytes(item["destination"]), buffered=True)
        for item in staged
        if _covers([bytes(path) for path in item["selection"]], paths)
    ]
    if row["source"] is not None and row["source_released_at"] is None:
        found.append(Place(bytes(row["source"]), buffered=False))
    return found


def _covers(selection: Sequence[bytes], paths: Sequence[bytes]) -> bool:
    if not selection:
        return True
    return bool(paths) and all(any(path == one or path.startswith(one + b"/") for one in selection) for path in paths)


def _away(archive: Archive, dataset: str, paths: Sequence[bytes], person: str) -> Away:
    """Have files brought into the buffer, unless this person has them brought already."""
    if not person:
        raise NotSignedIn(what="These files are on tape only, and are brought from there for members.")
    wanted = sorted(set(paths))
    with archive.database.transaction() as conn:
        for row in requests.all(conn, "staged", dataset=dataset):
            if row["failed_files"] and _covers([bytes(path) for path in row["selection"]], wanted):
                what = printable(wanted[0]) if len(wanted) == 1 else f"all that was asked for (see request {row['id']})"
                raise NotFound(kind="readable copy of", name=what)
        for row in requests.all(conn, "staging", dataset=dataset, person=person):
            if _covers([bytes(path) for path in row["selection"]], wanted):
                return Away(row["id"])
    return Away(ask(archive, person=person, dataset=dataset, paths=wanted))
