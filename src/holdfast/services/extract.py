# SPDX-License-Identifier: Apache-2.0
"""Metadata from the files themselves: headers of FITS and HDF5 files in the source of a dataset, read while it is there.

Commit point: one transaction with the metadata and the report. Nothing else depends on it: what cannot be read is named
in the report, and the dataset is archived as it is (P1).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets
from holdfast.errors import InvalidInput, SourceChanged, SourceUnreadable
from holdfast.formats.kinds import HEAD, format_named, format_of
from holdfast.formats.reading import Found, Reader
from holdfast.formats.values import Pair
from holdfast.model.agreement import Agreement
from holdfast.model.entry import Entry
from holdfast.model.metadata import checked, checked_key
from holdfast.model.names import printable
from holdfast.packaging.sources import SourceFolder, check_unchanged, opened_root
from holdfast.services.archive import Archive, dataset_row
from holdfast.services.metadata import write
from holdfast.wire.metadata import Extraction, Unread

WHO: Final = "(files)"  # in the history of the metadata; no person has such a name

_LOOKED: Final = 10_000  # files of one dataset, in the order of their paths
_READ: Final = 1_000  # of those, whose headers are read
_KEYS: Final = 256  # of one dataset: each is one to search for
_NAMED: Final = 100  # files in the report
_SECONDS: Final = 600.0  # for one dataset: others wait behind it


@dataclass
class _Report:
    """What was found so far."""

    agreement: Agreement = field(default_factory=lambda: Agreement(_KEYS))
    looked: int = 0
    read: int = 0
    failed: int = 0
    unread: list[Unread] = field(default_factory=list)
    note: str = ""

    def fail(self, path: bytes, reason: str) -> None:
        self.failed += 1
        if len(self.unread) < _NAMED:
            self.unread.append(Unread(path=printable(path), reason=reason))

    def stored(self, note: str) -> Extraction:
        return Extraction(
            at=datetime.now(UTC), looked=self.looked, read=self.read, failed=self.failed, unread=self.unread, note=note
        )


def extract(archive: Archive, dataset: str) -> None:
    """Read what the files of a dataset say of themselves, if nobody else does and nobody did."""
    with archive.database.claim(f"extract:{dataset}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            row = dataset_row(conn, dataset)
            if row["state"] not in {"closing", "closed"} or row["extraction"] or row["source_released_at"]:
                return
            entries = list(islice(_files(conn, dataset), _LOOKED))
        report = _Report()
        if row["files"] > len(entries):
            report.note = f"Only the first {len(entries)} files were looked at."
        try:
            with opened_root(bytes(row["source"])) as root:
                _look(archive, root, entries, report)
        except SourceUnreadable as error:
            report.note = error.sentence
        if not archive.stopping.is_set():  # else what was not read yet would never be
            _commit(archive, row, report)


def _files(conn: Connection, dataset: str) -> Iterator[Entry]:
    for _, packed in listings.walk(conn, dataset):
        entry = packed.entry
        if entry.kind == "file" and (entry.part is None or entry.part.number == 1):
            yield entry


def _look(archive: Archive, root: int, entries: list[Entry], report: _Report) -> None:
    until = time.monotonic() + _SECONDS
    folder = SourceFolder(root)
    try:
        with Reader() as reader:
            for entry in entries:
                if archive.stopping.is_set():
                    return
                if report.read + report.failed >= _READ or time.monotonic() > until:
                    report.note = f"Only {report.looked} files were looked at: reading more takes too long."
                    return
                report.looked += 1
                try:
                    _look_at(folder, reader, entry, report)
                except (SourceChanged, SourceUnreadable) as error:
                    report.fail(entry.path, error.sentence)
    finally:
        folder.close()


def _look_at(folder: SourceFolder, reader: Reader, entry: Entry, report: _Report) -> None:
    whole = entry.whole_size if entry.part else entry.size
    file = folder.open(entry.path)
    try:
        check_unchanged(file, entry.path, whole, entry.mtime_ns)
        found = _read(file, reader, entry.path)
        if found:
            check_unchanged(file, entry.path, whole, entry.mtime_ns)
    finally:
        os.close(file)
    if found and found.problem:
        report.fail(entry.path, found.problem)
    elif found:
        report.read += 1
        for pair in found.values:
            _take(report.agreement, pair)


def _read(file: int, reader: Reader, path: bytes) -> Found | None:
    """Return what a file says, None when it is of no format that is read and its name does not promise one."""
    try:
        kind = format_of(os.pread(file, HEAD, 0))
    except OSError as error:
        return Found(problem=error.strerror or str(error))
    if kind:
        return reader.read(file, kind)
    promised = format_named(path)
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
    values = report.agreement.values()
    try:
        _store(archive, row["id"], report, values, report.note)
    except InvalidInput as error:
        _store(archive, row["id"], report, {}, error.sentence)


def _store(archive: Archive, dataset: str, report: _Report, values: dict[str, object], note: str) -> None:
    with archive.database.transaction() as conn:
        stored = report.stored(note)
        if not datasets.first(conn, "extracted", id=dataset, extraction=Jsonb(stored.model_dump(mode="json"))):
            return
        if values:
            write(archive, conn, dataset, values, (), person=WHO)
        if report.read or report.failed:
            events.add(
                conn, archive.site, "dataset.extracted", dataset=dataset, looked=report.looked, read=report.read,
                failed=report.failed, keys=len(values),
            )  # fmt: skip
