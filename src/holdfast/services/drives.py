# SPDX-License-Identifier: Apache-2.0
"""What operators do with drives: look, take out of use, take into use again.

The library's locks are the truth of what is out of use, and hold for every process of its host. The catalogue keeps who
decided it, and since when a drive is trusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import drives, mounts
from holdfast.errors import NotFound
from holdfast.model.health import drive_alerts
from holdfast.services.archive import Archive
from holdfast.services.blame import verdict
from holdfast.services.mounts import FAILURES
from holdfast.tape.locks import OUT
from holdfast.wire.drives import Drive, DriveState, Mount

_NO_MOUNTS: Final[Row] = {
    "mounts": 0, "failures": 0, "bytes_read": 0, "bytes_written": 0, "recovered_errors": 0, "permanent_errors": 0,
    "last_used": None, "counters": None,
}  # fmt: skip


def drive_list(archive: Archive) -> list[Drive]:
    """Return all drives of the library, in its order. Raises LibraryUnavailable."""
    kinds = archive.library.drive_kinds()
    with archive.database.reading() as conn:
        totals = {
            row.pop("drive"): row for row in mounts.all(conn, "of_drives", site=archive.site, failures=list(FAILURES))
        }
        failed = verdict(archive, conn)
        states = drive_states(archive, conn)
    return [
        _drive(state, kinds[state.drive], totals.get(state.drive, _NO_MOUNTS), failed.undecided) for state in states
    ]


def _drive(state: DriveState, kind: str, numbers: Row, undecided: Sequence[tuple[str, str]]) -> Drive:
    return Drive(
        **state.model_dump(), **{key: numbers[key] for key in _NO_MOUNTS.keys() - {"counters"}}, kind=kind,
        alerts=drive_alerts(numbers["counters"] or {}),
        undecided=[tape for tape, drive in undecided if drive == state.drive],
    )  # fmt: skip


def drive_states(archive: Archive, conn: Connection) -> list[DriveState]:
    """Return what each drive does now, and did in the last day. Raises LibraryUnavailable."""
    days = {row["drive"]: row for row in mounts.all(conn, "last_day", site=archive.site)}
    known = {row["name"]: row for row in drives.all(conn, "all", site=archive.site)}
    out = archive.library.drives_out()
    return [
        _state(drive, loaded, out.get(drive), known.get(drive), days.get(drive, {}))
        for drive, loaded in archive.library.drives().items()
    ]


def _state(drive: str, loaded: str | None, reason: str | None, row: Row | None, day: Row) -> DriveState:
    tape = None if loaded is None or loaded.startswith(OUT) else loaded
    decided = (row["decided_by"] if row else None) or "watchdog"
    state = "in use" if tape else "empty" if reason is None else "locked out" if decided == "watchdog" else "disabled"
    return DriveState(
        drive=drive, state=state, tape=tape, reason=reason, since=row["since"] if row and reason else None,
        mounts_last_day=day.get("mounts", 0), busy=min(day.get("busy", 0.0), 1.0),
    )  # fmt: skip


def disable(archive: Archive, drive: str, *, person: str, reason: str) -> Drive:
    """Take a drive out of use, with a reason that everybody sees; one in use is out when its tape is.

    Idempotent: the first reason stays. Raises NotFound, LibraryUnavailable.
    """
    _check(archive, drive)
    with archive.database.transaction() as conn:
        drives.run(conn, "lock")
        drives.run(conn, "add", name=drive, site=archive.site)
        if drive not in archive.library.drives_out():
            archive.library.lock_out(drive, reason)
            drives.run(conn, "out", name=drive, reason=reason, decided_by="operator")
            events.add(conn, archive.site, "drive.disabled", person=person, drive=drive, reason=reason)
    return _one(archive, drive)


def enable(archive: Archive, drive: str, *, person: str) -> Drive:
    """Take a drive into use again; what failed in it before is forgiven. Idempotent. Raises NotFound, LibraryUnavailable."""
    _check(archive, drive)
    with archive.database.transaction() as conn:
        drives.run(conn, "lock")
        if was := archive.library.drives_out().get(drive):
            archive.library.put_back(drive)
            drives.run(conn, "back", name=drive)
            events.add(conn, archive.site, "drive.enabled", person=person, drive=drive, was=was)
    return _one(archive, drive)


def survey_drives(archive: Archive, conn: Connection) -> None:
    """Record which drives the watchdog locked out, and which somebody put back at the library itself.

    Raises LibraryUnavailable.
    """
    drives.run(conn, "lock")
    known = {row["name"]: row for row in drives.all(conn, "all", site=archive.site)}
    out = archive.library.drives_out()
    for drive in archive.library.drives():
        if drive not in known:
            drives.run(conn, "add", name=drive, site=archive.site)
        said = known[drive]["reason"] if drive in known else None
        if drive in out and said is None:
            drives.run(conn, "out", name=drive, reason=out[drive], decided_by="watchdog")
            events.add(conn, archive.site, "drive.disabled", drive=drive, reason=out[drive])
        elif drive not in out and said is not None:
            drives.run(conn, "back", name=drive)
            events.add(conn, archive.site, "drive.enabled", drive=drive, was=said)


def mount_list(archive: Archive, *, tape: str | None, drive: str | None, before: int | None, limit: int) -> list[Mount]:
    """Return mounts, the newest first, older than the one with the id `before`."""
    with archive.database.reading() as conn:
        rows = mounts.all(conn, "page", site=archive.site, tape=tape, drive=drive, before=before, limit=limit)
    return [Mount(**{key: row[key] for key in Mount.model_fields}) for row in rows]


def _check(archive: Archive, drive: str) -> None:
    if drive not in archive.library.drives():
        raise NotFound(kind="drive", name=drive)


def _one(archive: Archive, drive: str) -> Drive:
    return next(found for found in drive_list(archive) if found.drive == drive)
