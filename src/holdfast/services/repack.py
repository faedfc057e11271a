# SPDX-License-Identifier: Apache-2.0
"""Emptying tapes: all that counts on them is written to others, and proven there, before they count no more.

Nothing but the state of the tape is kept of it. While that is `repacking`, its copies do not count towards a profile,
so that others are owed; when those are verified, the planner retires the old ones, and says when the tape is empty. It
may be interrupted at any time, and ends by taking the tape into use again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, tapes
from holdfast.errors import Conflict, NotFound
from holdfast.model.problem import told
from holdfast.scheduling.geometry import MEDIA
from holdfast.services.archive import Archive
from holdfast.wire.tapes import Repack, RepackTape

_RATE: Final = 300e6  # bytes per second of tapes of no type, as the slower half of those in use
_COUNT: Final = ("written", "verified", "suspect")
_FROM: Final = ("active", "full", "suspect", "broken", "disabled")


def repack(archive: Archive, serials: Sequence[str], *, media: str = "", person: str, apply: bool) -> Repack:
    """Plan that tapes, or all of a media type, are emptied and, with `apply`, begin. Idempotent.

    Raises NotFound, Conflict (with `apply`: a tape that cannot be read, or too little room elsewhere).
    """
    with archive.database.transaction() as conn:
        # As allocation does: nothing may be planned onto the tapes meanwhile.
        conn.execute("select pg_advisory_xact_lock(hashtextextended('allocation', 0))")
        rows = _chosen(conn, serials, media)
        chosen = [_tape(conn, row) for row in rows]
        needed = sum(tape.bytes for tape in chosen)
        leaving = {row["serial"] for row in rows}
        reserve = archive.settings.library.reserve
        rooms = [row for row in tapes.all(conn, "rooms", site=archive.site) if row["serial"] not in leaving]
        room = sum(max(int(row["free"]) - reserve, 0) for row in rooms)
        drives = max(len(archive.library.drives()), 1)
        if apply:
            if needed > room:
                raise Conflict(
                    what=f"{needed} bytes would have to go to other tapes, which have room for {room}. Add tapes first."
                )
            for row in rows:
                _begin(archive, conn, row, person)
    # Each byte is read once, written to a tape, and read back from it.
    seconds = sum(3 * tape.bytes / _rate(row) for tape, row in zip(chosen, rows, strict=True)) / drives
    return Repack(tapes=chosen, bytes=needed, room=room, seconds=round(seconds), applied=apply)


def end_repacks(archive: Archive, conn: Connection) -> None:
    """Retire copies that are replaced, and take tapes out of use on which nothing counts any more."""
    for row in copies.moved(conn, "drained", to="retired"):
        events.add(
            conn, archive.site, "copy.retired", dataset=row["dataset"], package=row["package"], tape=row["tape"],
        )  # fmt: skip
    empty = told("empty", "Nothing on it counts any more: format it and enable it, or retire it.")
    for row in tapes.moved(conn, "emptied", to="disabled", problem=Jsonb(empty)):
        events.add(conn, archive.site, "tape.emptied", tape=row["serial"])


def _chosen(conn: Connection, serials: Sequence[str], media: str) -> list[Row]:
    known = {row["serial"]: row for row in tapes.all(conn, "used", serial=None)}
    for serial in serials:
        if serial not in known:
            raise NotFound(kind="tape", name=serial)
    of_type = [row["serial"] for row in known.values() if media and row["media_type"] == media and row["live"]]
    if media and not of_type:
        raise NotFound(kind="tape in use of the media type", name=media)
    return [known[serial] for serial in sorted({*serials, *of_type})]


def _tape(conn: Connection, row: Row) -> RepackTape:
    held = [count for count in tapes.all(conn, "held", serial=row["serial"]) if count["state"] in _COUNT]
    count, size = (sum(item[key] for item in held) for key in ("count", "bytes"))
    return RepackTape(serial=row["serial"], state=row["state"], copies=count, bytes=size)


def _begin(archive: Archive, conn: Connection, row: Row, person: str) -> None:
    if row["state"] == "repacking":
        return
    if row["state"] not in _FROM:
        raise Conflict(what=f"Tape {row['serial']} is {row['state']}: it cannot be emptied.")
    tapes.move(conn, "state", to="repacking", serial=row["serial"], problem=None)
    events.add(conn, archive.site, "tape.repacking", person=person, tape=row["serial"], was=row["state"])


def _rate(row: Row) -> float:
    medium = MEDIA.get(row["media_type"])
    return medium.rate if medium else _RATE
