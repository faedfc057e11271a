# SPDX-License-Identifier: Apache-2.0
"""When what people asked for will be read, and why it waits: the queue of recalls played forward (P9)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isinf
from threading import Lock
from typing import Any, Final
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
_LOOKS: Final[WeakKeyDictionary[Database, _Look]] = WeakKeyDictionary()
_LOOKING: Final = Lock()  # whoever asks while another looks waits for that answer
_AWAY: Final = LibraryUnavailable.code
_NO_TAPE: Final = "None of the tapes with a proven copy can be mounted now."
_LATER: Final = f"It comes after the first {LIMIT:,} copies that are looked at."


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
    line: Row | None  # as it was then
    at: float
    arrivals: Mapping[str, Arrival] = field(default_factory=dict)
    otherwise: str = _LATER

    def of(self, request: str) -> Arrival:
        return self.arrivals.get(request) or Arrival(self.otherwise)


def arrivals(archive: Archive, asked: Iterable[str]) -> Mapping[str, Arrival]:
    """Return when each of the requests `asked`, which are not ended, is expected; not older than some seconds."""
    wanted = list(asked)
    if not wanted:
        return {}
    with _LOOKING:
        with archive.database.transaction() as conn:
            line = requests.first(conn, "line")
        look = _LOOKS.get(archive.database)
        if look is None or look.line != line or time.monotonic() - look.at > _FRESH:
            look = _LOOKS[archive.database] = _look(archive, line)
    return {request: look.of(request) for request in wanted}


def _look(archive: Archive, line: Row | None) -> _Look:
    at = time.monotonic()
    with archive.database.transaction() as conn:
        rows = requests.all(conn, "recallable", tape=None, limit=LIMIT, every=True)
    try:
        known = _estimated(archive, rows)
        speed = archive.library.speed()
    except LibraryUnavailable as error:
        return _Look(line, at, otherwise=error.sentence)
    now = datetime.now(UTC).timestamp()
    last: dict[str, Estimate] = {}
    found: dict[str, Arrival] = {}
    for row in rows:
        request, estimate = row["request"], known.get(name_of(row))
        problem: dict[str, Any] = row["problem"] or {}
        if estimate is None or problem.get("code") == _AWAY:
            found.setdefault(request, Arrival(_NO_TAPE if estimate is None else problem["sentence"]))
        elif request not in last or estimate.latest > last[request].latest:
            last[request] = estimate
    return _Look(line, at, {name: _arrival(estimate, now, speed) for name, estimate in last.items()} | found)


def _estimated(archive: Archive, rows: Iterable[Row]) -> Mapping[str, Estimate]:
    """Return the estimate of each part that has a copy. Raises LibraryUnavailable."""
    library, now = archive.library, time.time()
    kinds, loaded = library.drive_kinds(), library.drives()
    there = [serial for serial in loaded.values() if serial]
    with archive.database.transaction() as conn:
        read = {row["serial"] for row in requests.all(conn, "reading", serials=there)}
    drives = [
        Drive(name, kinds[name], serial if serial in read else None)
        for name, serial in loaded.items()
        if not is_out(serial)
    ]
    queue = queue_of(archive, rows)
    for serial in read & queue.queues.keys():
        queue.begin(serial, now)
    if not drives:
        return {}
    at_once = archive.settings.workers.recall or None  # None: others read, on hosts that this one does not know
    return {estimate.ask: estimate for estimate in outlook(queue, drives, now, at_once=at_once)}


def _arrival(estimate: Estimate, now: float, speed: float) -> Arrival:
    """Return an estimate as people read it: times of tapes become our own, if the library takes any."""
    place = estimate.place or None
    if isinf(estimate.expected) or not speed:
        return Arrival(estimate.reason, place)
    times = (estimate.expected, estimate.earliest, estimate.latest)
    return Arrival(estimate.reason, place, *(datetime.fromtimestamp(now + (at - now) / speed, UTC) for at in times))
