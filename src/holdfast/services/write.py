# SPDX-License-Identifier: Apache-2.0
"""Write sessions: packages go from staging onto mounted tapes, one after another, and are made durable together.

A session mounts the tapes of a package and goes on with all that fits on them. Order of a batch: tapes reserved ->
bytes on the tapes -> one index -> `written`. Commit point: `written`. Each copy is read back after its tape was mounted
anew (`services/check.py`), and only then counts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, packages, tapes
from holdfast.crashpoint import crash_point
from holdfast.errors import Busy, HoldfastError, IntegrityError, LibraryUnavailable, MediumFailed, TapeFull
from holdfast.services.allocate import Due, claim_batch, first_tapes, put_off, somebody_waits, tell
from holdfast.services.archive import Archive, described, staged_file
from holdfast.services.doubt import fence
from holdfast.services.manifest import write_manifest
from holdfast.services.mounts import mounted
from holdfast.services.proof import DIGEST_ATTRIBUTE
from holdfast.services.twins import Put, chunks, files_of, in_parallel, put_twins
from holdfast.tape.library import Extent, TapeSession

_LOG = logging.getLogger(__name__)
_PROGRESS_EVERY: Final = 0.5  # seconds between two notes of progress
_LOOK_AGAIN: Final = 1.0  # seconds between two looks for packages that are being packed


def write(archive: Archive, _thing: str) -> None:
    """Write session after session until nothing waits that is worth a mount and that nobody else writes."""
    while not archive.stopping.is_set():
        try:
            with archive.database.transaction() as conn:
                serials = first_tapes(archive, conn)
        except LibraryUnavailable as error:
            _put_off(archive, None, error)
            return
        if not serials:
            return
        with archive.database.claim(*(f"write:{serial}" for serial in sorted(serials))) as held:
            if held and not _session(archive, serials):
                return


def _session(archive: Archive, serials: Sequence[str]) -> bool:
    """Mount tapes and write what fits on them; say whether it is worth going on at once."""
    try:
        with mounted(archive, serials, "write", "write") as sessions:
            with archive.database.transaction() as conn:
                jobs.defer(conn, "write", "next")  # other tapes may be worth a mount too
            return _fill(archive, {session.serial: session for session in sessions})
    except MediumFailed as error:
        # A tape that cannot be mounted, or not be given back: its twin is not to blame, and is written in the next round.
        if "tape" in error.details:
            fence(archive, str(error.details["tape"]), error)
        _put_off(archive, serials, error)
        return True
    except LibraryUnavailable as error:
        _put_off(archive, serials, error)
        return False
    except HoldfastError as error:  # all drives are in use, or none takes such a tape
        _put_off(archive, serials, error)
        return not isinstance(error, Busy)
    finally:
        with suppress(HoldfastError), archive.database.transaction() as conn:
            for serial in serials:
                jobs.defer(conn, "check", serial)


def _fill(archive: Archive, sessions: Mapping[str, TapeSession]) -> bool:
    """Write batch after batch until nothing fits, a tape fails, or it has lasted while others wait; say if there was any."""
    done = 0
    written: dict[str, list[str]] = {serial: [] for serial in sessions}
    while not archive.stopping.is_set():
        batch = _next(archive, list(sessions))
        if not batch:
            break
        crash_point("write.reserved")
        done += sum(due.needed for due in batch)
        if not _write_batch(archive, sessions, batch, written):
            break
        with archive.database.transaction() as conn:
            if done >= archive.settings.write.session and somebody_waits(conn):
                break
    for serial, names in written.items():
        _leave_manifest(archive, sessions[serial], names)
    return done > 0


def _leave_manifest(archive: Archive, session: TapeSession, written: Sequence[str]) -> None:
    """Have the tape say what this session wrote (P5). A tape that cannot is as good as before, only slower to rebuild from."""
    try:
        write_manifest(archive, session, written)
        session.sync("holdfast: manifest")
    except HoldfastError as error:
        _LOG.warning("no manifest on %s: %s", session.serial, error.sentence)


def _next(archive: Archive, serials: Sequence[str]) -> list[Due]:
    """Claim the next batch; while packages are being packed and nobody needs the drives, wait a little for them."""
    patience = time.monotonic() + archive.settings.write.linger
    while True:
        with archive.database.transaction() as conn:
            batch = claim_batch(archive, conn, serials)
            coming = not batch and packages.all(conn, "packed_now") and not somebody_waits(conn)
        if not coming or time.monotonic() >= patience or archive.stopping.wait(_LOOK_AGAIN):
            return batch


def _write_batch(
    archive: Archive, sessions: Mapping[str, TapeSession], batch: Sequence[Due], written: Mapping[str, list[str]]
) -> bool:
    """Write packages and one index behind them, and record what came of it; say whether all tapes did well.

    What is written is added to `written`, by tape.
    """
    puts: list[tuple[Due, Put]] = []
    bad: set[str] = set()
    for due in batch:
        if archive.stopping.is_set():
            break  # what is not begun is taken over
        targets = [sessions[serial] for serial in due.serials if serial not in bad]
        try:
            found = _put(archive, due, targets)
        except IntegrityError as error:
            _staging_lost(archive, due, error)
            continue
        except HoldfastError as error:
            _LOG.warning("package %s: %s", due.package["id"], error.sentence)
            _again(archive, due, due.serials, error)
            continue
        puts += [(due, put) for put in found]
        bad |= {put.serial for put in found if put.error}
        if left := [serial for serial in due.serials if serial not in {put.serial for put in found}]:
            _again(archive, due, left, None)
    generations, errors = _sync([sessions[serial] for serial in sessions if serial not in bad])
    for due, put in puts:
        if failure := put.error or errors.get(put.serial):
            _failed(archive, due, put.serial, failure)
    good = [(due, put) for due, put in puts if not put.error and put.serial in generations]
    _record(archive, good, generations)
    for due, put in good:
        written[put.serial].append(due.package["id"])
    crash_point("write.recorded")
    return not bad and not errors


def _put(archive: Archive, due: Due, targets: Sequence[TapeSession]) -> list[Put]:
    """Write one package to the tapes that do not have it yet. Raises IntegrityError when staging is not what it was."""
    there = [put for session in targets if (put := _there_already(session, due.package))]
    fresh = [session for session in targets if session.serial not in {put.serial for put in there}]
    if not fresh:
        return there
    ids = [due.by_serial[session.serial]["id"] for session in fresh]
    return there + put_twins(fresh, due.package, chunks(staged_file(archive, due.package)), moved(archive, ids))


def _there_already(session: TapeSession, row: Row) -> Put | None:
    """Return what an earlier attempt wrote, if it is whole; remove what it left when it is not."""
    wanted = files_of(row)
    found = {name: file for name in wanted if (file := session.find(name))}
    if {name: (file.attributes.get(DIGEST_ATTRIBUTE), file.size) for name, file in found.items()} == wanted:
        file = found[row["name"]]
        return Put(session.serial, Extent(file.name, file.size, file.start_block), 0.0, None)
    for name in found:
        session.delete(name)
    return None


def _sync(sessions: Sequence[TapeSession]) -> tuple[dict[str, int], dict[str, HoldfastError]]:
    """Write the index of each tape; return the generations of those that did well, and the errors of the others."""
    generations: dict[str, int] = {}

    def sync(session: TapeSession) -> None:
        generations[session.serial] = session.sync("holdfast: packages")

    errors = in_parallel(sessions, sync)
    return generations, {serial: error for serial, error in errors.items() if error}


def _record(archive: Archive, good: Iterable[tuple[Due, Put]], generations: Mapping[str, int]) -> None:
    """Record what is durable, in one transaction."""
    volumes = {serial: archive.library.stat(serial) for serial in generations}
    drives = {tape: drive for drive, tape in archive.library.drives().items() if tape}
    with archive.database.transaction() as conn:
        for serial, volume in volumes.items():
            tapes.run(
                conn, "measured", serial=serial, free=volume.free, generation=volume.generation,
                lock_state=volume.lock_state,
            )  # fmt: skip
        for due, put in good:
            if put.extent is None:
                continue
            copy, row = due.by_serial[put.serial], due.package
            generation = generations[put.serial]
            if copies.move(
                conn, "written", to="written", id=copy["id"], attempt=copy["attempt"], size=put.extent.size,
                start_block=put.extent.start_block, generation=generation, drive=drives.get(put.serial), rate=put.rate,
            ):  # fmt: skip
                events.add(
                    conn, archive.site, "copy.written", dataset=row["dataset"], package=row["id"], tape=put.serial,
                    generation=generation, size=put.extent.size, rate=round(put.rate),
                )  # fmt: skip


def _failed(archive: Archive, due: Due, serial: str, error: HoldfastError) -> None:
    """Fence or fill the tape and have the copy written elsewhere; the other twin goes on."""
    if isinstance(error, MediumFailed):
        fence(archive, serial, error)
    with archive.database.transaction() as conn:
        if isinstance(error, TapeFull) and tapes.first(
            conn, "state", serial=serial, to="full", problem=None, **{"from": ["active"]}
        ):
            events.add(conn, archive.site, "tape.full", tape=serial)
    _again(archive, due, [serial], error)


def _again(archive: Archive, due: Due, serials: Iterable[str], error: HoldfastError | None) -> None:
    """Have copies written anew, on tapes that are chosen then; without an error at once."""
    with archive.database.transaction() as conn:
        for serial in serials:
            copy = due.by_serial[serial]
            args = {"id": copy["id"], "attempt": copy["attempt"], "tape": None}
            if error is None:
                before = Jsonb(copy["problem"]) if copy["problem"] else None
                copies.move(conn, "again", to="planned", **args, problem=before, next_try=datetime.now(UTC))
                continue
            waiting = described(error, copy["problem"])
            if copies.move(conn, "again", to="planned", **args, **waiting):
                tell(archive, conn, due.package, waiting["problem"].obj)
        jobs.defer(conn, "write", "next")


def _put_off(archive: Archive, serials: Sequence[str] | None, error: HoldfastError) -> None:
    _LOG.warning("writing to %s waits: %s", ", ".join(serials or ["tapes"]), error.sentence)
    with archive.database.transaction() as conn:
        put_off(archive, conn, serials, error)


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


def _staging_lost(archive: Archive, due: Due, error: IntegrityError) -> None:
    """The staged file is gone or damaged: read it from a proven copy if there is one, else pack it again."""
    row = due.package
    _LOG.warning("package %s: %s", row["id"], error.sentence)
    _again(archive, due, due.serials, error)
    staged_file(archive, row).unlink(missing_ok=True)
    with archive.database.transaction() as conn:
        waiting = described(error)
        if not packages.move(conn, "unstage", to="released", id=row["id"]):
            packages.move(conn, "again", to="planned", id=row["id"], attempt=row["attempt"], **waiting)
        events.add(
            conn, archive.site, "package.problem", dataset=row["dataset"], package=row["id"], **waiting["problem"].obj
        )
