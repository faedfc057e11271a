# SPDX-License-Identifier: Apache-2.0
"""Drive or tape: what the log of mounts says, applied. A drive to blame is locked out, a tape to blame written no more."""

from __future__ import annotations

import logging

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import drives, mounts, tapes
from holdfast.model.blame import Outcome, Verdict, judge
from holdfast.services.archive import Archive
from holdfast.services.health import BLAMED, WARNED, doubt
from holdfast.services.mounts import FAILURES, MEMORY

_LOG = logging.getLogger(__name__)


def verdict(archive: Archive, conn: Connection) -> Verdict:
    """Return who is to blame for the failures of the last days; nobody where drives have no names."""
    if not archive.library.names_drives:
        return Verdict()
    rows = mounts.all(conn, "outcomes", site=archive.site, failures=list(FAILURES), days=MEMORY)
    return judge(Outcome(row["tape"], row["drive"], row["failed"]) for row in rows)


def apply_verdict(archive: Archive, conn: Connection) -> None:
    """Act on who is to blame. Raises LibraryUnavailable."""
    drives.run(conn, "lock")
    found = verdict(archive, conn)
    for serial, seen in found.tapes.items():
        where = _listed(seen)
        sentence = f"It failed in drives {where}, which are well with other tapes. It gets no more writes."
        doubt(archive, conn, serial, BLAMED, sentence)
    known = archive.library.drives().keys()
    for drive, witnesses in found.drives.items():
        if drive in known:
            _take_out(archive, conn, drive, witnesses)


def _take_out(archive: Archive, conn: Connection, drive: str, witnesses: tuple[str, ...]) -> None:
    reason = f"it failed with tapes {_listed(witnesses)}, which are well in other drives"
    drives.run(conn, "add", name=drive, site=archive.site)
    if not drives.first(conn, "out", name=drive, reason=reason, decided_by="planner"):
        return
    # If we die here, the lock stays and the row does not: the next plan finds the same verdict and comes here again.
    archive.library.lock_out(drive, reason)
    _LOG.warning("drive %s is taken out of use: %s", drive, reason)
    events.add(conn, archive.site, "drive.disabled", drive=drive, reason=reason, tapes=list(witnesses))
    for row in tapes.all(conn, "doubted", serials=list(witnesses)):
        _clear(archive, conn, row, drive)


def _clear(archive: Archive, conn: Connection, row: Row, drive: str) -> None:
    """Take a tape into use again that was doubted because of a drive."""
    said = next((info.state for info in archive.library.inventory() if info.serial == row["serial"]), "missing")
    blamed = row["problem"] and row["problem"]["code"] in {*FAILURES, WARNED}
    if not blamed or said not in {"active", "full"}:
        return
    if tapes.move(conn, "state", to=said, serial=row["serial"], problem=None):
        tapes.run(conn, "trust", serial=row["serial"])
        events.add(conn, archive.site, "tape.cleared", tape=row["serial"], was=row["state"], drive=drive)


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
