# SPDX-License-Identifier: Apache-2.0
"""Tapes that are about to fail: their counters are compared with what was known, and a bad one gets no more writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection
from holdfast.catalog.queries import tapes
from holdfast.model.health import Counters, drive_alerts, troubles
from holdfast.services.archive import Archive

# Codes of the problems of a tape that is well enough to be read, and is not written any more.
WARNED: Final = "tape-warned"
BLAMED: Final = "tape-blamed"


def notice(archive: Archive, conn: Connection, serial: str, counters: Counters, *, drive: str = "") -> None:
    """Record what the counters of a tape say, with its `drive` where that is known, and warn when they are bad."""
    row = tapes.first(conn, "counters", serial=serial)
    if row is None or not counters or row["health"] == counters:
        return
    tapes.run(conn, "counted", serial=serial, health=Jsonb(dict(counters)))
    limit = archive.settings.library.warn_errors
    if found := troubles(row["health"], row["baseline"], counters, limit=limit):
        doubt(archive, conn, serial, WARNED, f"It may be about to fail: {'; '.join(found)}. It gets no more writes.")
    new = [alert for alert in drive_alerts(counters) if alert not in drive_alerts(row["health"] or {})]
    if drive and new:
        events.add(conn, archive.site, "drive.warned", drive=drive, tape=serial, alerts=new)


def doubt(archive: Archive, conn: Connection, serial: str, code: str, sentence: str) -> None:
    """Have a tape that is in use be written no more; it stays readable. One that is not written anyway stays as it is."""
    problem = {"code": code, "sentence": sentence, "since": datetime.now(UTC).isoformat(), "who": "operator"}
    args = {"serial": serial, "to": "suspect", "problem": Jsonb(problem), "from": ["active", "full"]}
    if tapes.first(conn, "state", **args):
        events.add(conn, archive.site, "tape.warned", tape=serial, **problem)
