# SPDX-License-Identifier: Apache-2.0
"""Landing: the disk area where datasets are made by hand, one folder for each until it is safe on tape.

What is in a dataset is what the catalogue lists (`landed`); a file in the folder that has no row is not there. Commit
point of a file: its row, after the file, whole and durable, got its name in the folder, as a second one. What a killed call
leaves is a file without a row, which the next file of that name replaces.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, landed, uploads
from holdfast.crashpoint import crash_point
from holdfast.errors import Conflict, HoldfastError, LostClaim, NotFound, SourceChanged, UnfitFile
from holdfast.model.entry import Entry
from holdfast.model.names import printable
from holdfast.model.profile import Profile
from holdfast.services.archive import Archive, contract, dataset_row
from holdfast.services.placing import Arrived, Placing
from holdfast.services.reserve import release

_FEW: Final = 4  # files that are flushed one by one; more are cheaper with their whole file system
_PAGE: Final = 1000  # rows
_FOLDER_MODE: Final = 0o755
_WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE: begin, do not wait
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file: it is new in its dataset, was there already with the same bytes, or why it could not be added."""

    arrived: Arrived
    new: bool = False
    error: HoldfastError | None = None


def folder_of(archive: Archive, dataset: str) -> Path:
    """Return the folder of a dataset in landing."""
    return archive.settings.landing_path / dataset


def incoming(archive: Archive, ident: str) -> Path:
    """Return where the bytes of an upload lie until they are whole."""
    return archive.settings.landing_path / ".incoming" / ident


def open_dataset(conn: Connection, dataset: str) -> Row:
    """Return a dataset in landing that is open, locked until the end of the transaction. Raises NotFound, Conflict."""
    conn.execute("select from dataset where id = %s for update", [dataset])
    row = dataset_row(conn, dataset)
    if not row["landing"] or row["state"] == "deleted":
        raise Conflict(what=f"Dataset {dataset} was not made by adding files, so none can be added or removed.")
    if row["state"] != "open" or row["close_wanted"]:
        raise Conflict(
            what=f"Dataset {dataset} is closed: its content does not change any more. Make a new dataset that extends it."
        )
    return row


def within(conn: Connection, row: Row, *, files: int, size: int, largest: int) -> None:
    """Refuse a dataset with so much in all, when its profile allows less; 0 is no limit. Raises Conflict."""
    profile = contract(row)
    asked = (
        (files, profile.most_files, "files"),
        (size, profile.most_bytes, "bytes"),
        (largest, profile.most_file_bytes, "bytes in one file"),
    )
    for number, most, what in asked:
        if most and number > most:
            raise Conflict(
                what=f"The profile {profile.name} takes at most {most:,} {what}; this would make {number:,}. Ask for a "
                "profile that takes more, or make another dataset of the rest."
            )
    if profile.quota_bytes:
        _within_quota(conn, row, profile, size)


def _within_quota(conn: Connection, row: Row, profile: Profile, size: int) -> None:
    owner = f"The group {row['group']}" if row["group"] else row["owner"]
    # One at a time: what two ask for at once is together too much.
    conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"quota:{profile.name}:{owner}"])
    others = datasets.first(conn, "used", profile=profile.name, id=row["id"], owner=row["owner"], group=row["group"])
    would = size + (others["bytes"] if others else 0)
    if would > profile.quota_bytes:
        raise Conflict(
            what=f"{owner} may have {profile.quota_bytes:,} bytes in all datasets of the profile {profile.name}; this would make "
            f"{would:,}, with what is on its way. Delete what is not needed any more, or ask for another profile."
        )


def land(
    archive: Archive, *, person: str, dataset: str, arrived: Sequence[Arrived], upload: Row | None = None
) -> list[Outcome]:
    """Put files that are whole and durable into an open dataset, in one transaction, and say what became of each.

    A path that is there already with the same bytes is left as it is (P11), one with others is an error of that file.
    `upload` ends with it, unless nothing of it is in the dataset now. Raises NotFound, Conflict (the dataset is not open, or a limit), LostClaim.
    """
    with archive.database.transaction() as conn, Placing(folder_of(archive, dataset)) as placing:
        row = open_dataset(conn, dataset)
        profile = contract(row)
        known = {
            bytes(row["path"]): (row["kind"], row["size"], bytes(row["blake3"]))
            for row in landed.all(conn, "those", dataset=dataset, paths=[item.path for item in arrived])
        }
        in_use = _in_use(conn, dataset, arrived)
        outcomes: list[Outcome] = []
        for item in sorted(arrived, key=_inside_out):
            if item.kind == "directory" and item.path in in_use:
                outcome = Outcome(item)  # it is there, by what is in it
            else:
                outcome = _placed(placing, item, known) if _accepts(profile, item) else _unfit(profile, item)
            outcomes.append(outcome)
            if outcome.new:
                known[item.path] = (item.kind, item.size, item.blake3)
                in_use |= _above([item.path])
        new = [outcome.arrived for outcome in outcomes if outcome.new]
        if new:
            sizes = [item.size for item in new]
            within(conn, row, files=row["files"] + len(new), size=row["bytes"] + sum(sizes), largest=max(sizes))
            _make_durable(placing, new)
            crash_point("landing.placed")
            _record(archive, conn, person, dataset, new)
        if upload and any(outcome.error is None for outcome in outcomes):
            if not uploads.run(conn, "ended", id=upload["id"], attempt=upload["attempt"]):
                raise LostClaim(what="this upload")
            release(conn, f"upload:{upload['id']}")
    crash_point("landing.recorded")
    return outcomes


def _inside_out(item: Arrived) -> tuple[bool, int]:
    """Put folders last, the deepest first: which of them stay empty is known when all else has its place."""
    return item.kind == "directory", -item.path.count(b"/") if item.kind == "directory" else 0


def _in_use(conn: Connection, dataset: str, arrived: Sequence[Arrived]) -> set[bytes]:
    """Return the folders among `arrived` in which the dataset has something."""
    folders = [item.path for item in arrived if item.kind == "directory"]
    found = landed.all(conn, "in_use", dataset=dataset, paths=folders) if folders else []
    return {bytes(row["folder"]) for row in found}


def _above(paths: Iterable[bytes]) -> set[bytes]:
    """Return all folders that paths are in."""
    found: set[bytes] = set()
    for path in paths:
        while (path := path.rpartition(b"/")[0]) and path not in found:
            found.add(path)
    return found


def _accepts(profile: Profile, item: Arrived) -> bool:
    return item.kind == "directory" or profile.accepts(item.path)


def _unfit(profile: Profile, item: Arrived) -> Outcome:
    return Outcome(
        item, error=UnfitFile(path=printable(item.path), profile=profile.name, patterns=", ".join(profile.accept))
    )


def _record(archive: Archive, conn: Connection, person: str, dataset: str, new: Sequence[Arrived]) -> None:
    landed.run(
        conn, "insert", dataset=dataset, person=person, paths=[item.path for item in new],
        sizes=[item.size for item in new], mtimes=[item.mtime_ns for item in new], digests=[item.blake3 for item in new],
        kinds=[item.kind for item in new], targets=[item.target for item in new],
        modes=[item.mode for item in new],
    )  # fmt: skip
    size = sum(item.size for item in new)
    filled = landed.run(conn, "filled", dataset=dataset, paths=sorted(_above(item.path for item in new)))
    datasets.run(conn, "add_totals", id=dataset, files=len(new) - filled, bytes=size)
    events.add(conn, archive.site, "files.added", dataset=dataset, person=person, files=len(new), bytes=size)


def _placed(placing: Placing, item: Arrived, known: dict[bytes, tuple[str, int, bytes]]) -> Outcome:
    """Give an item its name in the folder, unless the dataset has one there."""
    if item.path in known:
        if known[item.path] == (item.kind, item.size, item.blake3):
            return Outcome(item)
        return Outcome(
            item, error=Conflict(what=f"{printable(item.path)} is in the dataset already, with other content. Remove it first.")
        )  # fmt: skip
    try:
        return Outcome(placing.put(item), new=True)
    except HoldfastError as error:
        return Outcome(item, error=error)


def start_writing(descriptor: int, offset: int, size: int) -> None:
    """Have the disk begin with what was written, so that little is left to wait for when all has come."""
    _libc.sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(size), _WRITE)


def _make_durable(placing: Placing, new: Sequence[Arrived]) -> None:
    """Flush files and the folders that have their names: a power cut takes nothing that was acknowledged."""
    if len(new) <= _FEW:
        files = [item.file for item in new if item.kind == "file"]  # a link is in its folder
        for name in (*files, *placing.touched, placing.root.parent):
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(descriptor)
            os.close(descriptor)
        return
    descriptor = os.open(placing.root, os.O_RDONLY | os.O_CLOEXEC)
    if _libc.syncfs(descriptor):
        os.sync()
    os.close(descriptor)


def remove(archive: Archive, *, person: str, dataset: str, path: bytes) -> None:
    """Take a file, link or empty folder out of an open dataset. Raises NotFound, Conflict."""
    with archive.database.transaction() as conn:
        open_dataset(conn, dataset)
        row = landed.first(conn, "remove", dataset=dataset, path=path)
        if row is None:
            raise NotFound(kind="file", name=printable(path))
        datasets.run(conn, "add_totals", id=dataset, files=-1, bytes=-row["size"])
        events.add(
            conn, archive.site, "files.removed", dataset=dataset, person=person, path=printable(path), bytes=row["size"]
        )
    with archive.database.transaction() as conn:
        # Somebody may have added another one of this name since.
        conn.execute("select from dataset where id = %s for update", [dataset])
        if not landed.all(conn, "those", dataset=dataset, paths=[path]):
            with Placing(folder_of(archive, dataset)) as placing:
                placing.remove(path, row["kind"])


def files(conn: Connection, dataset: str, *, prefix: bytes = b"", after: bytes = b"") -> Iterator[Row]:
    """Yield the files of a dataset in path order: `prefix` itself and those below it, after the path `after`."""
    bounds = {"below": prefix + b"/", "beyond": prefix + b"0"}  # "0" follows "/"
    while rows := landed.all(conn, "page", dataset=dataset, prefix=prefix, after=after, limit=_PAGE, **bounds):
        yield from rows
        after = bytes(rows[-1]["path"])


def children(
    conn: Connection, dataset: str, folder: bytes, *, after: bytes, limit: int
) -> list[tuple[bytes, Row | None]]:
    """Return (name, row) of what is in a folder of a dataset, after the name `after`, in path order.

    A folder with content has no row, and a slash behind its name.
    """
    base = folder + b"/" if folder else b""
    # "0" follows "/": what comes after all that is below a folder.
    start = base + (after[:-1] + b"0" if after.endswith(b"/") else after + b"\0" if after else b"")
    where = {"dataset": dataset, "skip": len(base), "start": start, "beyond": folder + b"0"}
    rows = landed.all(conn, "children", limit=limit, **where)
    inside = [(bytes(row["path"])[len(base) :], row) for row in rows]
    return [(name[: row["slash"]], None) if row["slash"] else (name, row) for name, row in inside]


def confirmed(conn: Connection, dataset: str, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield those of the folder's entries, in path order, that are in the dataset.

    Raises SourceChanged when a file of the dataset is not in its folder as it was added.
    """
    rows = files(conn, dataset)
    row = next(rows, None)
    for entry in entries:
        while row is not None and row["kind"] == "directory" and bytes(row["path"]) < entry.path:
            yield _empty_folder(row)
            row = next(rows, None)
        if row is not None and bytes(row["path"]) < entry.path:
            break
        if row is None or bytes(row["path"]) != entry.path:
            continue  # a call that was killed left it
        if not _is_as_added(entry, row):
            raise SourceChanged(path=printable(entry.path), what="was changed in the landing area")
        yield entry._replace(mode=row["mode"]) if entry.kind == "file" else entry
        row = next(rows, None)
    while row is not None and row["kind"] == "directory":
        yield _empty_folder(row)
        row = next(rows, None)
    if row is not None:
        raise SourceChanged(path=printable(bytes(row["path"])), what="vanished from the landing area")


def _empty_folder(row: Row) -> Entry:
    """Return a folder that is empty in the dataset, whatever a killed call left in it: its row says all there is."""
    return Entry(bytes(row["path"]), "directory", 0, row["mtime_ns"], _FOLDER_MODE, os.geteuid(), os.getegid())


def _is_as_added(entry: Entry, row: Row) -> bool:
    if entry.kind == "file":
        return (row["kind"], row["size"], row["mtime_ns"]) == ("file", entry.size, entry.mtime_ns)
    return (row["kind"], bytes(row["target"])) == (entry.kind, entry.target)
