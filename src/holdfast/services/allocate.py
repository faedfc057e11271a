# SPDX-License-Identifier: Apache-2.0
"""What is written next, and onto which tapes: facts of the catalogue brought to `scheduling.allocation`.

All decisions are taken one at a time (`allocation`, an advisory lock), so that no room is counted twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, packages, requests, tapes
from holdfast.errors import HoldfastError, NoTapeAvailable
from holdfast.scheduling.allocation import Load, Room, Writing, choose, warranted
from holdfast.scheduling.geometry import can
from holdfast.services.archive import Archive, described
from holdfast.services.twins import files_of

# An index entry and the attributes of one file on the tape; bytes.
_INDEX_ENTRY: Final = 4096
_LOOK: Final = 1000  # packages of one look; what comes later in line is looked at later
_TWINS: Final = 2  # copies that are written together, also where one drive is left: they wait for the other
_FILES: Final = 200  # packages of one batch, after which the index is written (CTA flushes as often)


AtOnce = Callable[[str], int]  # how many tapes of a media type can be written at once


@dataclass(frozen=True, slots=True)
class Due:
    """A package in staging, its copies that are to be written, and the tapes they go to once that is decided."""

    package: Row
    copies: Sequence[Row]  # id, tape, attempt, problem
    serials: tuple[str, ...] = ()

    @property
    def needed(self) -> int:
        """Bytes that it takes on each tape."""
        return sum(size + _INDEX_ENTRY for _, size in files_of(self.package).values())

    @property
    def by_serial(self) -> dict[str, Row]:
        """The copies by their tapes."""
        return dict(zip(self.serials, self.copies, strict=True))


class Shelf:
    """The tapes that may be written, as one decision sees them; it takes account of what it gave away."""

    def __init__(self, rows: Iterable[Row], *, reserve: int, open_pairs: int) -> None:
        """`rows` are those of `tapes.rooms`; `reserve` is left free on each tape, in bytes."""
        rows = list(rows)
        self._open_pairs = open_pairs
        self.busy = frozenset(row["serial"] for row in rows if row["busy"])
        self.rooms = {
            row["serial"]: Room(
                row["serial"], row["media_type"], int(row["capacity"]), int(row["free"]) - reserve, row["batch"],
                frozenset(row["families"]), row["twin"],
            )
            for row in rows
        }  # fmt: skip

    def place(self, due: Due, *, at_once: AtOnce, ours: frozenset[str] = frozenset()) -> Due | None:
        """Return the package with tapes for its copies; None when they have to wait for tapes that others write.

        As many copies as can be had, and as drives can write `at_once`: one now is better than none (P10). `ours` are
        tapes that the caller holds. Raises NoTapeAvailable when there is no room on any tape.
        """
        kept = [copy for copy in due.copies if copy["tape"] in self.rooms]
        if kept:  # what somebody who died began is ended on the same tapes
            serials = tuple(copy["tape"] for copy in kept)
            return None if self.busy & {*serials} - ours else replace(due, copies=kept, serials=serials)
        for count in range(len(due.copies), 0, -1):
            if chosen := self._choose(due, count, self.busy - ours, at_once):
                return replace(due, copies=due.copies[:count], serials=chosen)
            if self._choose(due, count, frozenset(), at_once):
                return None
        raise NoTapeAvailable(size=due.package["size"])

    def _choose(self, due: Due, count: int, busy: frozenset[str], at_once: AtOnce) -> tuple[str, ...]:
        family, avoid = due.package["family"], due.package["used"]
        found = choose(
            self.rooms.values(), due.needed, count, family=family, open_pairs=self._open_pairs, busy=busy, avoid=avoid
        )
        return found if found and count <= at_once(self.medium(found)) else ()

    def medium(self, serials: Sequence[str]) -> str:
        """Return the media type of tapes that were chosen together, which is one."""
        return self.rooms[serials[0]].medium

    def take(self, due: Due) -> None:
        """Give away the room of a package, and remember the habit."""
        for serial in due.serials:
            room = self.rooms[serial]
            family = {due.package["family"]} - {""}
            self.rooms[serial] = replace(
                room,
                free=room.free - due.needed,
                families=room.families | family,
                twin=twin_of(due, serial) or room.twin,
            )


def twin_of(due: Due, serial: str) -> str:
    """Return the tape that a package goes to beside this one; empty when there are not two."""
    pair = due.serials if len(due.serials) == 2 else ()  # noqa: PLR2004 (twins)
    return next((other for other in pair if other != serial), "")


def first_tapes(archive: Archive, conn: Connection) -> tuple[str, ...]:
    """Return the tapes that should be mounted for writing now; none when nothing waits, or it is better to wait."""
    shelf, waiting = _look(archive, conn)
    if not waiting or not _worth_it(archive, conn, waiting, sessions=len(shelf.busy) // 2):
        return ()
    at_once = _at_once(archive)
    for due in waiting:
        try:
            placed = shelf.place(due, at_once=at_once)
        except NoTapeAvailable as error:
            waits(archive, conn, due, error)
            continue
        if placed:
            return placed.serials
    return ()


def claim_batch(archive: Archive, conn: Connection, ours: Sequence[str]) -> list[Due]:
    """Claim what is written to these mounted tapes next, until an index is due; [] when nothing fits any more."""
    shelf, waiting = _look(archive, conn, ours)
    batch: list[Due] = []
    if not waiting:
        return []
    size, at_once = 0, _at_once(archive)
    for due in waiting:
        if size >= archive.settings.write.sync or len(batch) >= _FILES:
            break
        try:
            placed = shelf.place(due, at_once=at_once, ours=frozenset(ours))
        except NoTapeAvailable as error:
            waits(archive, conn, due, error)
            continue
        if placed is None or not {*placed.serials} <= {*ours}:
            continue
        together = min(len(due.copies), at_once(shelf.medium(placed.serials)))
        if len(placed.copies) < together and not due.copies[0]["tape"]:
            left = replace(due, copies=due.copies[len(placed.copies) :])
            waits(archive, conn, left, NoTapeAvailable(size=due.package["size"]))
        moved = [
            copies.move(conn, "claim", to="writing", id=copy["id"], tape=serial)
            for serial, copy in placed.by_serial.items()
        ]
        claimed = replace(placed, copies=[copy for copy in moved if copy])
        if len(claimed.copies) < len(moved):
            continue  # somebody else moved one: what was claimed is taken over later
        for serial in claimed.serials:
            twin = twin_of(claimed, serial)
            tapes.run(conn, "given", serial=serial, twin=twin, family=due.package["family"])
        shelf.take(claimed)
        batch.append(claimed)
        size += claimed.needed
    return batch


def put_off(archive: Archive, conn: Connection, serials: Sequence[str] | None, error: HoldfastError) -> None:
    """Tell what would be written to these tapes, or to any, why it waits."""
    shelf, waiting = _look(archive, conn, serials or ())
    serials = list(shelf.rooms) if serials is None else serials
    for due in waiting:
        try:
            placed = shelf.place(due, at_once=lambda _: max(len(serials), _TWINS), ours=frozenset(serials))
        except NoTapeAvailable:
            continue
        if placed and {*placed.serials} <= {*serials}:
            waits(archive, conn, due, error)


def waits(archive: Archive, conn: Connection, due: Due, error: HoldfastError) -> None:
    """Say why copies that nobody has claimed are not written yet; the first time with an event (P9)."""
    for copy in due.copies:
        waiting = described(error, copy["problem"])
        if copies.first(conn, "waits", id=copy["id"], **waiting):
            tell(archive, conn, due.package, waiting["problem"].obj)


def tell(archive: Archive, conn: Connection, package: Row, problem: dict[str, Any]) -> None:
    """Tell the first failure of a copy, not every try."""
    if problem["tries"] == 1:
        events.add(conn, archive.site, "copy.problem", dataset=package["dataset"], package=package["id"], **problem)


def somebody_waits(conn: Connection) -> bool:
    """Say whether anybody waits to read from a tape."""
    return bool(requests.all(conn, "undelivered"))


def _look(archive: Archive, conn: Connection, ours: Sequence[str] = ()) -> tuple[Shelf, list[Due]]:
    conn.execute("select pg_advisory_xact_lock(hashtextextended('allocation', 0))")
    rule = archive.settings
    rooms = tapes.all(conn, "rooms", site=archive.site)
    shelf = Shelf(rooms, reserve=rule.library.reserve, open_pairs=rule.write.open_pairs)
    return shelf, [Due(row, row["copies"]) for row in packages.all(conn, "to_write", ours=list(ours), limit=_LOOK)]


def writing_presses(archive: Archive, conn: Connection) -> bool:
    """Say whether staging is so full of what can be written that writing goes before reading."""
    limit = archive.settings.staging.limit
    if not limit or not packages.all(conn, "to_write", ours=[], limit=1):
        return False
    staged = packages.first(conn, "staged_bytes")
    return staged is not None and staged["bytes"] >= Writing().pressing * limit


def _at_once(archive: Archive) -> AtOnce:
    """Return how many tapes of a media type the drives write at once; of more copies, the others follow."""
    out = archive.library.drives_out()
    kinds = [kind for drive, kind in archive.library.drive_kinds().items() if drive not in out]
    return lambda medium: max(sum(can(kind, medium, "write") for kind in kinds), _TWINS)


def _worth_it(archive: Archive, conn: Connection, waiting: Sequence[Due], *, sessions: int) -> bool:
    rule, limit = archive.settings.write, archive.settings.staging.limit
    drives = archive.library.drives()
    load = Load(
        waiting=sum(due.needed for due in waiting),
        files=len(waiting),
        oldest=max(time.time() - waiting[0].package["since"].timestamp(), 0.0),
        free_drives=sum(tape is None for tape in drives.values()),
        recalls=int(somebody_waits(conn)),
        sessions=sessions,
        drives=len(drives.keys() - archive.library.drives_out().keys()),
    )
    writing = Writing(enough=rule.enough, enough_files=rule.enough_files, age=rule.age, session=rule.session)
    return bool(warranted(load, replace(writing, buffer=limit) if limit else writing))
