# SPDX-License-Identifier: Apache-2.0
"""Answers: datasets, files, requests, releases and events, as the wire carries them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from pydantic import Field, TypeAdapter

from holdfast.catalog import events, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, releases, requests
from holdfast.errors import NotFound
from holdfast.model.entry import Packed
from holdfast.model.ids import package_id
from holdfast.model.names import printable
from holdfast.model.policy import CopyFact, availability, level
from holdfast.model.rights import Person
from holdfast.services import landing, rights
from holdfast.services.archive import Archive, dataset_row
from holdfast.services.estimates import Arrival, arrivals
from holdfast.services.union import chain, newest
from holdfast.wire.datasets import Dataset, DatasetDetail, File, FoundFile
from holdfast.wire.model import Pending, Problem
from holdfast.wire.requests import Differing, Release, Request, RequestPart, Undelivered
from holdfast.wire.status import Event

_UNDELIVERED: Final = 1000  # named in an answer


class _Listed(Dataset, frozen=False, extra="ignore"):
    """A dataset as the catalogue tells it, and what is judged by: `source` is in base 16 until then."""

    level: str = "none"
    availability: str = "unavailable"
    wanted: int
    facts: list[list[tuple[str, str | None]]] = Field(default_factory=list)


class _Whole(_Listed, DatasetDetail, frozen=False, extra="ignore"):
    pending: list[Pending] = Field(default_factory=list)
    extraction_problem: Problem | None


_LISTED: Final = TypeAdapter(list[_Listed])


def dataset(archive: Archive, ident: str, *, sight: Sequence[str] | None = None) -> DatasetDetail:
    """Return all that is known of a dataset; what it extends, if `sight` may see that (None: all). Raises NotFound."""
    with archive.database.reading() as conn:
        row = datasets.first(conn, "told", id=ident)
    if row is None:
        raise NotFound(kind="dataset", name=ident)
    return detail(archive, row["told"], sight=sight)


def detail(archive: Archive, told: str, *, sight: Sequence[str] | None = None) -> DatasetDetail:
    """Return what is known of a dataset from what the catalogue tells of it; `sight` is as for `dataset`."""
    one = _Whole.model_validate_json(told)
    if one.extends and one.extends not in versions(archive, one.id, sight=sight):
        one.extends = None
    counting = [package.copies for package in one.packages if package.state != "retired"]
    _judge(one, [[CopyFact(copy.state, copy.tape) for copy in copies] for copies in counting])
    one.pending = _pending(archive, one)
    return one


def dataset_list(
    archive: Archive, *, before: tuple[datetime, str] | None, limit: int, deleted: bool = False,
    sight: Sequence[str] | None = None,
) -> list[Dataset]:  # fmt: skip
    """Return datasets that `sight` may see (None: all), the newest first, older than `before`."""
    at, ident = before or (None, None)
    with archive.database.reading() as conn:
        rows = datasets.all(conn, "page", before=at, before_id=ident, limit=limit, deleted=deleted, sight=sight)
        return datasets_by_id(conn, [row["id"] for row in rows], sight=sight)


def datasets_by_id(conn: Connection, idents: Sequence[str], *, sight: Sequence[str] | None) -> list[Dataset]:
    """Return datasets in this order; one that is gone is left out. `sight` is as for `dataset`."""
    row = datasets.first(conn, "listed", ids=list(idents), sight=sight)
    found = _LISTED.validate_json(row["datasets"] if row else "[]")
    for one in found:
        _judge(one, [[CopyFact(*copy) for copy in copies] for copies in one.facts])
    return [*found]


def _judge(one: _Listed, facts: list[list[CopyFact]]) -> None:
    source = bytes.fromhex(one.source) if one.source is not None else None
    there = source is not None and one.source_released_at is None and _has_content(source)
    one.source = printable(source) if source is not None else None
    if one.state in {"closing", "closed"}:
        one.level = level(one.wanted, facts)
    if one.state != "deleted":
        one.availability = availability(facts, source_there=there)


def _has_content(folder: bytes) -> bool:
    try:
        with os.scandir(folder) as content:
            return next(content, None) is not None
    except OSError:
        return False


def problem_of(row: Row) -> Problem | None:
    """Return why a row waits, None when it does not."""
    return Problem(**row["problem"]) if row["problem"] else None


def _pending(archive: Archive, one: _Whole) -> list[Pending]:
    """Say what is still to be done, with the reason for each thing that waits (P9)."""
    result = []
    if one.state == "open":
        adding = one.landing and not one.closing
        what = "it is open: files are added until it is closed" if adding else "the file list is being read"
        result.append(Pending(what=what, problem=one.problem))
    for package in one.packages:
        if package.state in {"planned", "packing"}:
            what = (
                f"package {package.segment}: {'being packed' if package.state == 'packing' else 'waits to be packed'}"
            )
            result.append(Pending(what=what, problem=package.problem))
        for copy in package.copies:
            doing = {
                "planned": "waits for a tape" + _until(archive),
                "writing": f"is being written to {copy.tape}",
                "written": f"is being read back from {copy.tape}",
                "suspect": f"on {copy.tape} is read once more",
            }.get(copy.state)
            if doing and package.state != "retired":
                what = f"package {package.segment}, copy {copy.number} {doing}"
                result.append(Pending(what=what, problem=copy.problem))
    if one.extraction_problem and one.source_released_at is None and one.state != "deleted":
        what = "headers of its files are still to be read for metadata"
        result.append(Pending(what=what, problem=one.extraction_problem))
    return result


def _until(archive: Archive) -> str:
    """Say when tapes are mounted for writing, where that is not at once."""
    rule = archive.settings.write
    if not rule.age:
        return ""
    return f", which is mounted when {rule.enough / 1e9:g} GB wait, or after {rule.age / 3600:g} hours at the latest"


def file(packed: Packed, package: str) -> File:
    """Return an entry as the wire carries it."""
    entry = packed.entry
    return File(
        **_exact("path", entry.path),
        **(_exact("target", entry.target) if entry.kind == "link" else {}),
        kind=entry.kind,
        size=entry.file_size,
        mtime=datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC),
        mode=entry.mode,
        sha512=packed.file_digest.hex() or None,
        package=package,
    )


def _landed(row: Row) -> File:
    """Return a file of an open dataset."""
    mtime = datetime.fromtimestamp(row["mtime_ns"] / 1e9, UTC)
    return File(
        **_exact("path", bytes(row["path"])), **(_exact("target", bytes(row["target"])) if row["kind"] == "link" else {}), kind=row["kind"], size=row["size"], mtime=mtime, mtime_ns=row["mtime_ns"],
        mode=row["mode"] if row["kind"] == "file" else None,
        blake3=bytes(row["blake3"]).hex(),
    )  # fmt: skip


def _exact(name: str, raw: bytes) -> dict[str, Any]:
    """Return bytes as people read them, and exactly where that loses something."""
    text = printable(raw)
    return {name: text, f"{name}_base64": None if text.encode() == raw else base64.b64encode(raw).decode()}


def files(archive: Archive, ident: str, *, prefix: bytes, after: bytes, limit: int) -> list[tuple[bytes, File]]:
    """Return (path, file) of a dataset in path order: `prefix` and all below it, after the path `after`."""
    with archive.database.reading() as conn:
        return list(islice(_files(conn, ident, prefix, after), limit))


def union(
    archive: Archive, ident: str, *, prefix: bytes, after: bytes, limit: int, sight: Sequence[str] | None = None
) -> list[tuple[bytes, File]]:
    """Return (path, file) of a dataset and of all that it extends, as far as `sight` may see them; the newest one counts."""
    with archive.database.reading() as conn:
        dataset_row(conn, ident)
        sources = [(one, _marked(_files(conn, one, prefix, after))) for one in chain(conn, ident, sight)]
        return [
            (path, found.model_copy(update={"dataset": one}))
            for one, path, found in islice(newest(conn, sources), limit)
        ]


def versions(archive: Archive, ident: str, *, sight: Sequence[str] | None = None) -> list[str]:
    """Return a dataset and all that it extends, as far as `sight` may see them, the newest first."""
    with archive.database.reading() as conn:
        return chain(conn, ident, sight)


def _marked(found: Iterator[tuple[bytes, File]]) -> Iterator[tuple[bytes, bool, File]]:
    return ((path, item.kind == "directory", item) for path, item in found)


def _is_landing(row: Row) -> bool:
    """Say whether the files of a dataset are those in landing: it was not surveyed yet."""
    return bool(row["landing"] and not row["segments"])


def _files(conn: Connection, ident: str, prefix: bytes, after: bytes) -> Iterator[tuple[bytes, File]]:
    row = dataset_row(conn, ident)
    if _is_landing(row):
        for item in landing.files(conn, ident, prefix=prefix, after=after):
            yield bytes(item["path"]), _landed(item)
        return
    for segment, packed in listings.walk(conn, ident, prefix=prefix, after=after):
        if listings.is_last(packed):  # a file in parts is shown once, by its last part, which knows the whole
            yield packed.entry.path, file(packed, package_id(ident, segment))


def folder(archive: Archive, ident: str, *, path: bytes, after: bytes, limit: int) -> list[tuple[bytes, File]]:
    """Return (cursor, file) of what is directly in a folder of a dataset, after the cursor `after`."""
    with archive.database.reading() as conn:
        row = dataset_row(conn, ident)
        base = path + b"/" if path else b""
        if _is_landing(row):
            return [
                (name, _landed(item) if item else File(**_exact("path", base + name[:-1]), kind="directory", size=0))
                for name, item in landing.children(conn, ident, path, after=after, limit=limit)
            ]
        found = listings.children(conn, ident, path, after=after, limit=limit)
        return [
            (name, file(_whole(conn, ident, packed), ""))
            if packed
            else (name + b"/", File(**_exact("path", base + name), kind=kind, size=0))
            for kind, name, packed in found
        ]


def _whole(conn: Connection, ident: str, packed: Packed) -> Packed:
    """Return the entry that knows the whole file."""
    return packed if listings.is_last(packed) else listings.find_path(conn, ident, packed.entry.path)[-1][1]


def find(archive: Archive, name: bytes, *, limit: int, sight: Sequence[str] | None = None) -> list[FoundFile]:
    """Return files with this base name, in any dataset that `sight` may see (None: all)."""
    with archive.database.reading() as conn:
        found = listings.find_name(conn, name, limit=limit, sight=sight)
    return [FoundFile(dataset=ident, file=file(packed, "")) for ident, packed in found]


def request(archive: Archive, ident: str) -> Request:
    """Return a request and how far it is. Raises NotFound."""
    with archive.database.reading() as conn:
        row = requests.first(conn, "by_id", id=ident)
    if row is None:
        raise NotFound(kind="request", name=ident)
    return _requests(archive, [row])[0]


def request_list(
    archive: Archive, *, before: tuple[datetime, str] | None, limit: int, person: str | None = None
) -> list[Request]:
    """Return the requests of a person, or of all, the newest first, older than `before`."""
    at, ident = before or (None, None)
    with archive.database.reading() as conn:
        rows = requests.all(conn, "page", before=at, before_id=ident, limit=limit, person=person)
    return _requests(archive, rows)


def _requests(archive: Archive, rows: list[Row]) -> list[Request]:
    expected = arrivals(archive, [row["id"] for row in rows if row["state"] in {"waiting", "recalling"}])
    with archive.database.reading() as conn:
        return [_request(conn, row, expected.get(row["id"])) for row in rows]


def _request(conn: Connection, row: Row, arrival: Arrival | None) -> Request:
    parts = []
    for part in requests.all(conn, "parts", request=row["id"]):
        keep = RequestPart.model_fields.keys() - {"problem"}
        parts.append(RequestPart(**{key: part[key] for key in keep}, problem=problem_of(part)))
    problems = requests.all(conn, "problems", request=row["id"], limit=_UNDELIVERED)
    told = asdict(arrival) if arrival else dict.fromkeys(("place", "expected", "earliest", "latest", "reason"))
    problem = problem_of(row)
    if row["state"] == "asked" and problem:  # no tape is asked for it yet: nobody knows when others leave the buffer
        told["reason"] = problem.sentence
    made = {"destination", "parts", "undelivered", "problem", "done_files", "done_bytes"}
    return Request(
        **{key: row[key] for key in Request.model_fields.keys() - made - told.keys()},
        **told,
        done_files=sum(part.done_files for part in parts),
        done_bytes=sum(part.done_bytes for part in parts),
        destination=printable(bytes(row["destination"])),
        parts=parts,
        undelivered=[
            Undelivered(path=printable(bytes(p["path"])), code=p["code"], sentence=p["sentence"]) for p in problems
        ],
        problem=problem,
    )


def release(archive: Archive, ident: str) -> Release:
    """Return a release and how far it is. Raises NotFound."""
    with archive.database.reading() as conn:
        row = releases.first(conn, "by_id", id=ident)
    if row is None:
        raise NotFound(kind="release", name=ident)
    keep = Release.model_fields.keys() - {"differing", "problem"}
    differing = [Differing(**item) for item in row["differing"]]
    return Release(**{key: row[key] for key in keep}, differing=differing, problem=problem_of(row))


def event_list(
    archive: Archive, *, after: str, limit: int, dataset: str | None = None, person: Person | None = None
) -> tuple[list[Event], str]:
    """Return events after the cursor and the cursor behind them (P4); those that a person may see, None: all.

    Raises InvalidInput, NotAllowed.
    """
    may_see: dict[str, Any] = {}
    if person is not None:
        managed = [name for name, one in person.groups.items() if one.role in {"owner", "manager"}]
        may_see = {"sight": rights.sight(person), "person": person.name, "managed": managed}
    with archive.database.reading() as conn:
        rows, cursor = events.after(conn, after, limit=limit, dataset=dataset, **may_see)
    keep = Event.model_fields.keys() - {"cursor"}
    return [Event(**{key: row[key] for key in keep}, cursor=f"{row['xid']}-{row['id']}") for row in rows], cursor
