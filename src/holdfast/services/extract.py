# SPDX-License-Identifier: Apache-2.0
"""Metadata from the files themselves: headers of FITS and HDF5 files in the source of a dataset, read while it is there.

Commit point: one transaction with the metadata and the report. Nothing waits for it: it has a queue of its own, holds no
lock while it reads, and what cannot be read, or is gone by then, is told in the report. The dataset is archived as it is (P1).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets
from holdfast.errors import InvalidInput, OperatorNeeded, SourceChanged, SourceUnreadable
from holdfast.formats.kinds import HEAD, format_named, format_of
from holdfast.formats.reading import Found, Reader
from holdfast.formats.values import Pair
from holdfast.model.agreement import Agreement
from holdfast.model.entry import Entry
from holdfast.model.metadata import checked, checked_key
from holdfast.model.names import printable
from holdfast.packaging.sources import SourceFolder, check_unchanged, opened_root, read_exactly
from holdfast.services.archive import Archive, described
from holdfast.services.metadata import write
from holdfast.wire.metadata import Extraction, Unread

WHO: Final = "(files)"  # in the history of the metadata; no person has such a name

_LOOKED: Final = 10_000  # files of one dataset, in the order of their paths
_READ: Final = 1_000  # of those, whose headers are read
_KEYS: Final = 256  # of one dataset: each is one to search for
_NAMED: Final = 100  # files in the report
_SECONDS: Final = 600.0  # for one dataset: others wait behind it
# How long after it is closed a folder may be away: a mount is missed and mended within a week, also over a long weekend.
_AWAY: Final = timedelta(days=7)


@dataclass
class _Report:
    """What was found so far."""

    agreement: Agreement = field(default_factory=lambda: Agreement(_KEYS))
    looked: int = 0
    gone: int = 0
    read: int = 0
    failed: int = 0
    unread: list[Unread] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, path: bytes, reason: str) -> None:
        self.failed += 1
        if len(self.unread) < _NAMED:
            self.unread.append(Unread(path=printable(path), reason=reason))

    def stored(self) -> Extraction:
        return Extraction(
            at=datetime.now(UTC), looked=self.looked, read=self.read, failed=self.failed, unread=self.unread,
            note=" ".join(self.notes),
        )  # fmt: skip


def extract(archive: Archive, dataset: str) -> None:
    """Read what the files of a dataset say of themselves, if nobody else does and nobody did."""
    with archive.database.claim(f"extract:{dataset}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            row = datasets.first(conn, "to_extract", id=dataset)
            if row is None:
                return
            entries = list(islice(_files(conn, dataset), _LOOKED))
        report = _Report()
        try:
            with opened_root(bytes(row["source"])) as root:
                _look(archive, root, entries, report)
        except SourceUnreadable as error:  # where the folder is, is not told to all who may see the dataset (P8)
            why = f"Its folder cannot be opened: {error.details['why']}."
            if not row["closed_at"] or datetime.now(UTC) - row["closed_at"] < _AWAY:
                _wait(archive, row, OperatorNeeded(what=why))
                return
            report.notes.append(why)
        except OperatorNeeded as error:
            _wait(archive, row, error)
            return
        if not archive.stopping.is_set():  # else what was not read yet would never be
            _commit(archive, row, report)


def _wait(archive: Archive, row: Row, error: OperatorNeeded) -> None:
    with archive.database.transaction() as conn:
        waiting = described(error, row["extraction_problem"])["problem"]
        datasets.run(conn, "extraction_waits", id=row["id"], problem=waiting)


def _files(conn: Connection, dataset: str) -> Iterator[Entry]:
    for _, packed in listings.walk(conn, dataset):
        entry = packed.entry
        if entry.kind == "file" and (entry.part is None or entry.part.number == 1):
            yield entry


def _look(archive: Archive, root: int, entries: list[Entry], report: _Report) -> None:
    until = time.monotonic() + _SECONDS
    with closing(SourceFolder(root)) as folder, Reader() as reader:
        for entry in entries:
            if archive.stopping.is_set() or report.read + report.failed >= _READ or time.monotonic() > until:
                return
            _look_at(folder, reader, entry, report)


def _look_at(folder: SourceFolder, reader: Reader, entry: Entry, report: _Report) -> None:
    try:
        found = _found(folder, reader, entry)
    except SourceChanged as error:
        if error.details["what"] == "vanished":  # removed by a release, or by people
            report.gone += 1
            return
        found = Found(problem="it is not as it was when it was archived")
    except SourceUnreadable as error:
        found = Found(problem=f"it cannot be read: {error.details['why']}")
    report.looked += 1
    if found and found.problem:
        report.fail(entry.path, found.problem)
    elif found:
        report.read += 1
        for pair in found.values:
            _take(report.agreement, pair)


def _found(folder: SourceFolder, reader: Reader, entry: Entry) -> Found | None:
    """Return what a file says, None when it is of no format that is read and its name does not promise one.

    Raises SourceChanged, SourceUnreadable, OperatorNeeded.
    """
    file = folder.open(entry.path)
    try:
        check_unchanged(file, entry.path, entry.file_size, entry.mtime_ns)
        head = memoryview(bytearray(min(HEAD, entry.file_size)))
        read_exactly(file, head, 0, entry.path)
        if kind := format_of(bytes(head)):
            found = reader.read(file, kind)
            check_unchanged(file, entry.path, entry.file_size, entry.mtime_ns)
            return found
    finally:
        os.close(file)
    promised = format_named(entry.path)
    return Found(problem=f"its name promises {promised}, but it is not") if promised else None


def _take(agreement: Agreement, pair: Pair) -> None:
    """Add a value if it may be one; a number whose unit nobody knows counts without it."""
    key, value = pair
    try:
        key = checked_key(key)
        try:
            value = checked(key, value)
        except InvalidInput:
            if not isinstance(value, dict) or "value" not in value:
                raise
            value = checked(key, value["value"])
    except InvalidInput:
        return
    agreement.add(key, value)


def _commit(archive: Archive, row: Row, report: _Report) -> None:
    """Keep values and report; values that do not fit beside those of people are not kept, and the report says so."""
    if report.gone:
        report.notes.append(f"{report.gone} files were gone before they could be looked at.")
    if report.looked and report.looked + report.gone < row["files"]:
        report.notes.append(f"Only the first {report.looked + report.gone} files were looked at.")
    if report.agreement.full:
        report.notes.append(f"Only the first {_KEYS} keys were kept.")
    try:
        _store(archive, row["id"], report, report.agreement.values())
    except InvalidInput as error:
        report.notes.append(f"None of the values were kept: {error.sentence}")
        _store(archive, row["id"], report, {})


def _store(archive: Archive, dataset: str, report: _Report, values: dict[str, object]) -> None:
    with archive.database.transaction() as conn:
        extraction = Jsonb(report.stored().model_dump(mode="json"))
        if not datasets.first(conn, "extracted", id=dataset, extraction=extraction):
            return
        if values:
            write(archive, conn, dataset, values, (), person=WHO)
        events.add(
            conn, archive.site, "dataset.extracted", dataset=dataset, looked=report.looked, read=report.read,
            failed=report.failed, keys=len(values),
        )  # fmt: skip
