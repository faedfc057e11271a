# SPDX-License-Identifier: Apache-2.0
"""When what people asked for will be read, and why it waits: the queue of recalls played forward (P9)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isinf
from threading import Lock
from typing import Final
from weakref import WeakKeyDictionary

from holdfast.catalog.database import Database, Row
from holdfast.catalog.queries import requests
from holdfast.errors import LibraryUnavailable
from holdfast.scheduling.asks import Drive, Estimate
from holdfast.scheduling.outlook import outlook
from holdfast.services.archive import Archive
from holdfast.services.queue import LIMIT, name_of, queue_of
from holdfast.tape.library import is_out

_FRESH: Final = 5.0  # seconds; a page of requests, and people who look again and again, are answered from one look
_MOST: Final = 100 * 365.25 * 86400  # seconds; what a simulated library that is slower than tapes may take longer
_LOOKS: Final[WeakKeyDictionary[Database, _Look]] = WeakKeyDictionary()
_LOOKING: Final = Lock()  # whoever asks while another looks waits for that answer
_NO_TAPE: Final = "None of the tapes with a proven copy can be mounted now."
_NO_DRIVE: Final = "All drives are out of use; holdfast status says why."
_LATER: Final = f"It comes after the first {LIMIT:,} packages that are looked at."


@dataclass(frozen=True, slots=True)
class Arrival:
    """When all of a request is expected to be read; no time where nothing is known, the reason says why."""

    reason: str
    place: str | None = None
    expected: datetime | None = None
    earliest: datetime | None = None
    latest: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """The queue as it was at one time."""

    line: Row | None
    at: float  # of the process
    now: float = 0.0  # of the world, likewise in seconds
    speed: float = 0.0
    known: Mapping[str, Estimate] = field(default_factory=dict)  # by request, the part that comes last
    unknown: Mapping[str, str] = field(default_factory=dict)  # by request, why nothing is known of all of it
    otherwise: str = _LATER

    def of(self, request: str) -> Arrival:
        estimate = self.known.get(request)
        if estimate is None or request in self.unknown:
            return Arrival(self.unknown.get(request, self.otherwise))
        place = estimate.place or None
        if isinf(estimate.expected) or not self.speed:
            return Arrival(estimate.reason, place)
        times = (estimate.expected, estimate.earliest, estimate.latest)
        return Arrival(estimate.reason, place, *(self._moment(at) for at in times))

    def _moment(self, at: float) -> datetime:
        """Return a time of tapes as one of our own."""
        return datetime.fromtimestamp(self.now + min((at - self.now) / self.speed, _MOST), UTC)


def arrivals(archive: Archive, asked: Iterable[str]) -> Mapping[str, Arrival]:
    """Return when each of the requests `asked`, which are not ended, is expected; not older than some seconds."""
    wanted = list(asked)
    if not wanted:
        return {}
    with _LOOKING:
        with archive.database.reading() as conn:
            line = requests.first(conn, "line")
        look = _LOOKS.get(archive.database)
        if look is None or look.line != line or time.monotonic() - look.at > _FRESH:
            look = _LOOKS[archive.database] = _look(archive, line)
    return {request: look.of(request) for request in wanted}


def _look(archive: Archive, line: Row | None) -> _Look:
    at, now = time.monotonic(), time.time()
    with archive.database.transaction() as conn:
        rows = requests.all(conn, "expected", limit=LIMIT)
    try:
        drives, speed = _drives(archive), archive.library.speed()
    except LibraryUnavailable as error:
        return _Look(line, at, otherwise=error.sentence)
    if not drives:
        return _Look(line, at, otherwise=_NO_DRIVE)
    estimates = _estimated(archive, rows, drives, now)
    known: dict[str, Estimate] = {}
    unknown: dict[str, str] = {}
    for row in rows:
        request, estimate = row["request"], estimates.get(name_of(row))
        if row["problem"] and row["problem"]["code"] == LibraryUnavailable.code:
            unknown.setdefault(request, row["problem"]["sentence"])
        elif estimate is None:
            # Whoever tried to read it has said which tapes it needs, and why each cannot be had.
            unknown.setdefault(request, row["problem"]["sentence"] if row["problem"] else _NO_TAPE)
        elif request not in known or estimate.latest > known[request].latest:
            known[request] = estimate
    return _Look(line, at, now, speed, known, unknown)


def _drives(archive: Archive) -> list[Drive]:
    """Return the drives that may be used, with the tapes that are read for recalls now. Raises LibraryUnavailable."""
    kinds, loaded = archive.library.drive_kinds(), archive.library.drives()
    there = [serial for serial in loaded.values() if serial]
    with archive.database.transaction() as conn:
        read = {row["serial"] for row in requests.all(conn, "reading", serials=there)}
    return [
        Drive(name, kinds[name], serial if serial in read else None)
        for name, serial in loaded.items()
        if not is_out(serial)
    ]


def _estimated(archive: Archive, rows: Iterable[Row], drives: Sequence[Drive], now: float) -> Mapping[str, Estimate]:
    """Return the estimate of each part of a request that has a copy."""
    queue = queue_of(archive, rows)
    for drive in drives:
        if drive.tape and drive.tape in queue.queues:
            queue.begin(drive.tape, now)
    at_once = archive.settings.workers.recall or None  # None: others read, on hosts that this one does not know
    return {estimate.ask: estimate for estimate in outlook(queue, drives, now, at_once=at_once)}
