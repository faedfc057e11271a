# SPDX-License-Identifier: Apache-2.0
"""Announcing a folder in place: `register` records the wish, `survey` its file list and its segments."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

from holdfast.catalog import events, jobs, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, packages
from holdfast.errors import (
    AlreadyArchived,
    Conflict,
    HoldfastError,
    InvalidInput,
    LostClaim,
    NotAllowed,
    OutsideRoots,
    TransientError,
    UnfitFile,
)
from holdfast.model.entry import Entry, Location, Packed
from holdfast.model.ids import new_id, package_id
from holdfast.model.names import medium_name, printable
from holdfast.model.profile import Profile
from holdfast.model.rights import Person, allowed
from holdfast.model.segments import cut
from holdfast.services import deposit, landing, profiles
from holdfast.services.archive import Archive, contract, dataset_row, described
from holdfast.services.groups import group_of_folder
from holdfast.services.pack import fail_dataset
from holdfast.services.rights import contributes
from holdfast.services.scan import scan

_UNPACKED: Final = Location(0, 0, b"")
# Segments are at most this share of a tape, so that the end of a tape is not wasted.
_TAPE_SHARE: Final = 4


def register(
    archive: Archive, wish: deposit.Wish, *, path: str, person: Person, ident: str | None = None,
    within: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """Record that a folder of this server is to be archived and return the dataset's id; `ident` makes it repeatable.

    It is of the group that is wished or, if none is, of the one whose folder it is in, if the person is one of those who
    make datasets of it, or has the archive use any folder. `within` is as for `confined`.

    Raises OutsideRoots, InvalidInput, NotAllowed (folder, profile, group), AlreadyArchived (with the dataset's id).
    """
    source = confined(path, archive.settings.roots.source, kind="source", within=within)
    if not source.is_dir():
        raise InvalidInput(what=f"{path} is not a folder on this server.")
    raw, dataset = os.fsencode(source), ident or new_id()
    with archive.database.transaction() as conn:
        server = archive.settings.site.server
        # One registration at a time for one source: two that race would both see nothing.
        conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [f"{server}:{raw.hex()}"])
        if datasets.first(conn, "by_id", id=dataset):
            return dataset
        if wish.profile is not None:  # a mistake in the wish is told before what was archived long ago
            profiles.offered(conn, wish.profile, role=person.role)
        existing = datasets.first(conn, "by_source", site=archive.site, server=server, source=raw)
        # A folder whose source was removed and which holds something again is a new dataset.
        if existing and (existing["source_released_at"] is None or not any(source.iterdir())):
            raise AlreadyArchived(path=printable(raw), dataset=existing["id"])
        theirs = group_of_folder(conn, source)
        if wish.group is None and (contributes(person, theirs) or allowed(person, "serve", ())):
            wish = replace(wish, group=theirs)
        deposit.insert(archive, conn, wish, ident=dataset, person=person, source=raw, landing=False)
        jobs.defer(conn, "survey", dataset)
    return dataset


def confined(path: str, roots: Iterable[Path], *, kind: str, within: Sequence[str] | None = None) -> Path:
    """Return the real path, without links, if it is below one of the roots, and below one of the folders `within` (None: any).

    Whoever goes on with it opens it without following links: what is allowed is looked up once, so that nobody changes
    it in between. Raises OutsideRoots, NotAllowed, InvalidInput.
    """
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(what=f"{path!r} is not an absolute path.")
    real = Path(os.path.realpath(path))
    if within is not None and not any(real.is_relative_to(os.path.realpath(folder)) for folder in within):
        raise NotAllowed(action=f"have the archive use {path}: it is in no folder of a group of yours")
    allowed = [Path(os.path.realpath(root)) for root in roots]
    if not any(real.is_relative_to(root) for root in allowed):
        raise OutsideRoots(path=path, roots=", ".join(map(str, allowed)) or "none is configured", kind=kind)
    return real


def survey(archive: Archive, dataset: str) -> None:
    """Record the file list of a dataset, cut it into packages and have them packed, in one transaction.

    A source that cannot be archived, or that the profile does not take, ends the dataset, with the reason.
    """
    with archive.database.claim(f"survey:{dataset}") as held:
        if not held:
            return
        row: Row | None = None
        try:
            with archive.database.transaction() as conn:
                row = datasets.first(conn, "by_id", id=dataset)
                if row is None or row["state"] != "open" or (row["landing"] and not row["close_wanted"]):
                    return
                _survey(archive, conn, row)
        except TransientError as error:
            with archive.database.transaction() as conn:
                datasets.run(
                    conn, "problem", id=dataset, problem=described(error, row["problem"] if row else None)["problem"]
                )
        except HoldfastError as error:
            if not deposit.reopen(archive, dataset, error):
                fail_dataset(archive, dataset, error)


def _survey(archive: Archive, conn: Connection, row: Row) -> None:
    profile, dataset = contract(row), row["id"]
    entries = scan(bytes(row["source"]))
    if row["landing"]:
        entries = landing.confirmed(conn, dataset, entries)
    if profile.accept or profile.most_file_bytes:  # also of what was added under another profile
        entries = map(partial(_fit, profile), entries)
    runs = cut(
        entries, limit=segment_limit(archive, profile), most=profile.segment_files,
        plain=profile.packaging == "plain",
    )  # fmt: skip
    totals: dict[int, _Total] = {}
    for number, group in groupby(runs, key=lambda run: run[0]):
        counted = _Counted(entry for _, entries in group for entry in entries)
        listings.write(conn, dataset, number, counted, packed=False)
        file = counted.last if profile.packaging == "plain" else None
        totals[number] = _Total(counted.files, counted.bytes, file)
    if not totals:
        raise InvalidInput(what=f"{printable(row['source'])} is empty: there is nothing to archive.")
    files, size = sum(total.files for total in totals.values()), sum(total.bytes for total in totals.values())
    landing.within(conn, row, files=files, size=size, largest=0)
    for number, total in totals.items():
        name = medium_name(
            dataset=dataset, segment=number, segments=len(totals), server=row["server"], path=row["source"],
            file=total.file,
        )  # fmt: skip
        package = package_id(dataset, number)
        packages.run(
            conn, "insert", id=package, dataset=dataset, segment=number, packaging="plain" if total.file else "bag",
            name=name, files=total.files, payload=total.bytes,
        )  # fmt: skip
        jobs.defer(conn, "pack", package)
    conn.execute("select from dataset where id = %s for update", [dataset])
    if contract(dataset_row(conn, dataset)) != profile:  # all above goes by it
        raise LostClaim(what=f"dataset {dataset}: it was put under another profile, and is looked at anew")
    if datasets.move(conn, "closing", to="closing", id=dataset, segments=len(totals), files=files, bytes=size):
        events.add(
            conn, archive.site, "dataset.closing", dataset=dataset, files=files, bytes=size, packages=len(totals)
        )
        jobs.defer(conn, "extract", dataset)


def _fit(profile: Profile, entry: Entry) -> Entry:
    if entry.kind == "file" and not profile.accepts(entry.path):
        raise UnfitFile(path=printable(entry.path), profile=profile.name, patterns=", ".join(profile.accept))
    if 0 < profile.most_file_bytes < entry.file_size:
        raise Conflict(
            what=f"{printable(entry.path)} has {entry.file_size:,} bytes; the profile {profile.name} takes files of at most "
            f"{profile.most_file_bytes:,}. Ask for a profile that takes larger ones."
        )
    return entry


@dataclass(frozen=True, slots=True)
class _Total:
    """What a segment holds; `file` is the one that is stored as it is, if it is one."""

    files: int
    bytes: int
    file: Entry | None


class _Counted:
    """Entries on their way into the listing, counted; `last` is the last file among them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = entries
        self.files = self.bytes = 0
        self.last: Entry | None = None

    def __iter__(self) -> Iterator[Packed]:
        for entry in self._entries:
            self.files += entry.kind == "file" and (entry.part is None or entry.part.number == 1)
            self.bytes += entry.size
            if entry.kind == "file":
                self.last = entry
            yield Packed(entry, _UNPACKED)


def segment_limit(archive: Archive, profile: Profile) -> int:
    """Return the most bytes of a segment: the profile's, but never more than a quarter of a tape."""
    there = [tape.serial for tape in archive.library.inventory() if tape.state != "missing"]
    smallest = min((archive.library.stat(serial).capacity for serial in there), default=0)
    room = (smallest - archive.settings.library.reserve) // _TAPE_SHARE
    return min(profile.segment_bytes, room) if room > 0 else profile.segment_bytes
