# SPDX-License-Identifier: Apache-2.0
"""Copies: a package goes from staging onto tapes, is made durable and is read back.

Order (each step is one transaction): tapes reserved -> bytes and index on the tapes -> `written` -> read back from
the medium -> `verified` -> staging released with the evidence. Commit points: `written` and `verified`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, packages, tapes
from holdfast.crashpoint import crash_point
from holdfast.errors import (
    HoldfastError,
    IntegrityError,
    MediumFailed,
    NoTapeAvailable,
    NotFound,
    TapeFull,
)
from holdfast.model.policy import Room, choose_tapes
from holdfast.services.archive import Archive, contract, dataset_row, described
from holdfast.services.doubt import fence, suspect
from holdfast.services.mounts import mounted
from holdfast.services.proof import DIGEST_ATTRIBUTE, release_if_proven, testify, verified
from holdfast.services.recall import chunks, package_file
from holdfast.services.twins import Put, files_of, in_parallel, put_twins, read_back
from holdfast.tape.library import Extent, TapeSession

_LOG = logging.getLogger(__name__)
_PROGRESS_EVERY: Final = 0.5  # seconds between two notes of progress
# An index entry and the attributes of one file on the tape; bytes.
_INDEX_ENTRY: Final = 4096


@dataclass(frozen=True, slots=True)
class _Target:
    """One copy to write and the tape that was chosen for it."""

    copy: Row
    serial: str


def write(archive: Archive, package: str) -> None:
    """Write the copies of one package that are due, if nobody else does."""
    with archive.database.claim(f"package:{package}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            row = packages.first(conn, "by_id", id=package)
            if row is None or row["state"] not in {"staged", "released"}:
                return
            targets = _choose(archive, conn, row)
        if not targets:
            return
        crash_point("write.reserved")
        try:
            with package_file(archive, row) as staged:
                _write(archive, row, targets, staged)
        except IntegrityError as error:
            _staging_lost(archive, row, targets, error)
        except HoldfastError as error:
            _LOG.warning("package %s: %s", package, error.sentence)
            _all_again(archive, row, targets, error)


def _choose(archive: Archive, conn: Connection, row: Row) -> list[_Target]:
    """Claim the due copies and give each a tape: the one it had, else one with room that has no copy yet."""
    due = copies.all(conn, "due", package=row["id"])
    if not due:
        return []
    # Allocation is one at a time, so that two packages cannot count the same room.
    conn.execute("select pg_advisory_xact_lock(hashtextextended('allocation', 0))")
    rooms = {
        room["serial"]: Room(room["serial"], room["media_type"], int(room["free"]) - archive.settings.library.reserve)
        for room in tapes.all(conn, "rooms", site=archive.site)
    }
    used = frozenset(copy["tape"] for copy in copies.all(conn, "of_package", package=row["id"]) if copy["tape"])
    kept = [copy for copy in due if copy["tape"] in rooms]
    fresh = [copy for copy in due if copy["tape"] not in rooms]
    needed = sum(size + _INDEX_ENTRY for _, size in files_of(row).values())
    chosen = _tapes_for(list(rooms.values()), needed, len(fresh), used)
    for copy in fresh[len(chosen) :]:
        _no_tape(archive, conn, row, copy)
    pairs = [(copy, copy["tape"]) for copy in kept] + list(zip(fresh, chosen, strict=False))
    moved = [copies.move(conn, "claim", to="writing", id=copy["id"], tape=serial) for copy, serial in pairs]
    return [_Target(copy, copy["tape"]) for copy in moved if copy]


def _tapes_for(rooms: Sequence[Room], size: int, count: int, used: frozenset[str]) -> list[str]:
    """Return as many tapes as can be had, up to `count`: one copy now is better than none (P10)."""
    for number in range(count, 0, -1):
        if chosen := choose_tapes(rooms, size, number, avoid=used):
            return chosen
    return []


def _no_tape(archive: Archive, conn: Connection, row: Row, copy: Row) -> None:
    waiting = described(NoTapeAvailable(size=row["size"]), copy["problem"])
    copies.run(conn, "problem", id=copy["id"], attempt=copy["attempt"], **waiting)
    if waiting["problem"].obj["tries"] == 1:
        events.add(
            conn, archive.site, "copy.problem", dataset=row["dataset"], package=row["id"], **waiting["problem"].obj
        )


def _write(archive: Archive, row: Row, targets: Sequence[_Target], staged: Path) -> None:
    by_serial = {target.serial: target for target in targets}
    try:
        with mounted(archive, list(by_serial), "write", "write") as sessions:
            fresh = [session for session in sessions if not _there_already(session, row)]
            written = [by_serial[session.serial].copy["id"] for session in fresh]
            puts = _put(row, fresh, staged, moved(archive, written))
            puts += [_found(session, row) for session in sessions if session not in fresh]
            good = _record(archive, row, by_serial, puts)
            crash_point("write.recorded")
            _prove(archive, row, by_serial, [session for session in sessions if session.serial in good])
    except MediumFailed as error:
        # A tape that cannot even be mounted: its twin is not to blame and is written in the next round.
        if serial := _serial(error):
            fence(archive, serial, error)
        _all_again(archive, row, targets, error)


def _there_already(session: TapeSession, row: Row) -> bool:
    """Say whether an earlier attempt wrote the package whole; remove what it left when it did not."""
    wanted = files_of(row)
    found = [file for name in wanted if (file := session.find(name))]
    if {file.name: (file.attributes.get(DIGEST_ATTRIBUTE), file.size) for file in found} == wanted:
        return True
    for file in found:
        session.delete(file.name)
    return False


def _found(session: TapeSession, row: Row) -> Put:
    file = session.find(row["name"])
    extent = Extent(file.name, file.size, file.start_block) if file else None
    return Put(session.serial, extent, session.sync("holdfast: found"), 0.0, None)


def _put(row: Row, sessions: Sequence[TapeSession], staged: Path, progress: Callable[[int], None]) -> list[Put]:
    return put_twins(sessions, row, chunks(staged), progress) if sessions else []


def _record(archive: Archive, row: Row, by_serial: dict[str, _Target], puts: Iterable[Put]) -> set[str]:
    """Record what came of each tape; return the serials of those that were written."""
    good: set[str] = set()
    for put in puts:
        target = by_serial[put.serial]
        if put.error or put.extent is None:
            _put_failed(archive, row, target, put.error or NotFound(kind="file", name=row["name"]))
            continue
        volume = archive.library.stat(put.serial)
        with archive.database.transaction() as conn:
            tapes.run(
                conn, "measured", serial=put.serial, free=volume.free, generation=volume.generation,
                lock_state=volume.lock_state,
            )  # fmt: skip
            moved = copies.move(
                conn, "written", to="written", id=target.copy["id"], attempt=target.copy["attempt"],
                size=put.extent.size, start_block=put.extent.start_block, generation=put.generation,
                drive=_drive(archive, put.serial), rate=put.rate,
            )  # fmt: skip
            if moved:
                events.add(
                    conn, archive.site, "copy.written", dataset=row["dataset"], package=row["id"], tape=put.serial,
                    generation=put.generation, size=put.extent.size, rate=round(put.rate),
                )  # fmt: skip
                good.add(put.serial)
    return good


def _drive(archive: Archive, serial: str) -> str | None:
    return next((drive for drive, tape in archive.library.drives().items() if tape == serial), None)


def _put_failed(archive: Archive, row: Row, target: _Target, error: Exception) -> None:
    """Fence or fill the tape and have the copy written elsewhere; the other twin goes on."""
    if isinstance(error, MediumFailed):
        fence(archive, target.serial, error)
    with archive.database.transaction() as conn:
        if isinstance(error, TapeFull) and tapes.first(
            conn, "state", serial=target.serial, to="full", problem=None, **{"from": ["active"]}
        ):
            events.add(conn, archive.site, "tape.full", tape=target.serial)
        elsewhere = isinstance(error, (MediumFailed, TapeFull))
        _again(archive, conn, row, target.copy, error, tape=None if elsewhere else target.serial)


def _again(archive: Archive, conn: Connection, row: Row, copy: Row, error: Exception, *, tape: str | None) -> None:
    waiting = described(error, copy["problem"])
    if copies.move(conn, "again", to="planned", id=copy["id"], attempt=copy["attempt"], tape=tape, **waiting):
        if waiting["problem"].obj["tries"] == 1:
            events.add(
                conn, archive.site, "copy.problem", dataset=row["dataset"], package=row["id"], **waiting["problem"].obj
            )
        jobs.defer(conn, "write", row["id"])


def _serial(error: HoldfastError) -> str | None:
    """Return the serial of the tape that an error is about."""
    medium = str(error.details.get("medium", ""))
    return medium.removeprefix("Tape ") if medium.startswith("Tape ") else None


def _all_again(archive: Archive, row: Row, targets: Sequence[_Target], error: HoldfastError) -> None:
    failed = _serial(error)
    with archive.database.transaction() as conn:
        for target in targets:
            _again(archive, conn, row, target.copy, error, tape=None if target.serial == failed else target.serial)


def _prove(archive: Archive, row: Row, by_serial: dict[str, _Target], sessions: Sequence[TapeSession]) -> None:
    """Read each written copy back from its medium and record the proof (P2)."""
    if not sessions:
        return

    def read(session: TapeSession) -> None:
        read_back(session, row, moved(archive, [by_serial[session.serial].copy["id"]]))

    errors = in_parallel(sessions, read)
    crash_point("verify.read")
    for session in sessions:
        copy = by_serial[session.serial].copy
        try:
            if error := errors[session.serial]:
                raise error
            testify(archive, session, row, copy)
        except HoldfastError as error:
            suspect(archive, row, copy, error)
        else:
            verified(archive, row, copy, digest=row["digest"])
    crash_point("verify.recorded")
    release_if_proven(archive, row["id"])


def moved(archive: Archive, ids: Sequence[int]) -> Callable[[int], None]:
    """Return a function that notes how many bytes of some copies were written, or read back, so far."""
    last = time.monotonic()

    def note(done: int) -> None:
        nonlocal last
        if time.monotonic() - last < _PROGRESS_EVERY:
            return
        last = time.monotonic()
        # Progress is a courtesy: a database that is away for a moment must not end the writing.
        with suppress(HoldfastError), archive.database.transaction() as conn:
            copies.run(conn, "moved", ids=list(ids), moved=done)

    return note


def _staging_lost(archive: Archive, row: Row, targets: Sequence[_Target], error: IntegrityError) -> None:
    """The staged file is gone or damaged: pack again, unless a copy is proven already, which then serves."""
    _LOG.warning("package %s: %s", row["id"], error.sentence)
    _all_again(archive, row, targets, error)
    with archive.database.transaction() as conn:
        profile = contract(dataset_row(conn, row["dataset"]))
        proven = [c for c in copies.all(conn, "of_package", package=row["id"]) if c["state"] == "verified"]
        if row["state"] != "staged":
            return
        if proven:
            packages.move(conn, "release_if_proven", to="released", id=row["id"], wanted=min(1, profile.copies))
        else:
            packages.move(conn, "again", to="planned", id=row["id"], attempt=row["attempt"], **described(error))
        events.add(
            conn,
            archive.site,
            "package.problem",
            dataset=row["dataset"],
            package=row["id"],
            **described(error)["problem"].obj,
        )
