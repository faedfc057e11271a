# SPDX-License-Identifier: Apache-2.0
"""Reading copies whole: after they were written, because somebody asked, or because another copy of them is owed.

One mount reads all that is to be read of a tape, in the order in which it lies there. A bad copy is looked at once more
and then replaced from its twin: the good one is read into staging, from where it is written like a new package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import FileIO
from typing import Final

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, packages, tapes
from holdfast.crashpoint import crash_point
from holdfast.errors import (
    HoldfastError,
    LibraryUnavailable,
    MediumFailed,
    NoSpace,
    NotFound,
    TransientError,
)
from holdfast.services.allocate import somebody_waits
from holdfast.services.archive import Archive, contract, dataset_row, described, staged_file
from holdfast.services.doubt import suspect
from holdfast.services.mounts import mounted
from holdfast.services.pack import plan_copies
from holdfast.services.proof import EVIDENCE_ATTRIBUTE, release_if_proven, testify, verified
from holdfast.services.reserve import reserve_staging
from holdfast.services.twins import files_of, read_back
from holdfast.services.write import moved
from holdfast.tape.library import Mode, TapeSession
from holdfast.wire.datasets import CheckAsked

# A copy that cannot be read at all is given up after so many tries; wrong bytes are given up at the second.
_TRIES: Final = 3
_LOOK: Final = 1000  # copies of one look
_FILES: Final = 200  # copies of one batch of proofs, which one index makes durable


def want_check(archive: Archive, dataset: str, *, person: str) -> CheckAsked:
    """Ask for all verified copies of a dataset to be read again; the time is the catalogue's. Raises NotFound."""
    with archive.database.transaction() as conn:
        dataset_row(conn, dataset)
        rows = copies.all(conn, "want_check", dataset=dataset)
        for serial in sorted({row["tape"] for row in rows}):
            jobs.defer(conn, "check", serial)
        events.add(conn, archive.site, "dataset.check-wanted", dataset=dataset, person=person, copies=len(rows))
        now = conn.execute("select now() as at").fetchall()[0]["at"]
    return CheckAsked(dataset=dataset, copies=[row["id"] for row in rows], asked_at=now)


def check(archive: Archive, serial: str) -> None:
    """Read what is to be read of one tape, if nobody else does."""
    with archive.database.claim(f"check:{serial}") as held:
        if not held:
            return
        rows = _due(archive, serial)
        if not rows:
            return
        try:
            mode = _mode(archive, serial, rows)
            with mounted(archive, [serial], mode, "check") as (session,):
                while rows and _read_all(archive, session, rows, mode):
                    rows = _due(archive, serial)
        except (TransientError, LibraryUnavailable) as error:
            for row in _due(archive, serial):
                _later(archive, row, error)  # nothing was learnt of the copy
        except HoldfastError as error:  # it cannot be mounted
            for row in _due(archive, serial):
                _bad(archive, row, error)


def _due(archive: Archive, serial: str) -> list[Row]:
    with archive.database.transaction() as conn:
        return copies.all(conn, "to_read", tape=serial, limit=_LOOK)


def _mode(archive: Archive, serial: str, rows: Sequence[Row]) -> Mode:
    """Only a tape with copies that were never proven is told something, and only if it can be."""
    with archive.database.transaction() as conn:
        tape = tapes.first(conn, "used", serial=serial)
    sound = tape and tape["state"] in {"active", "full"} and not tape["lock_state"]
    return "write" if sound and any(row["state"] == "written" for row in rows) else "read"


def _read_all(archive: Archive, session: TapeSession, rows: Sequence[Row], mode: Mode) -> bool:
    """Read copies one after another and record what came of it; False when it is better to end."""
    proven: list[tuple[Row, Row]] = []
    size, willing = 0, True
    for row in rows:
        if archive.stopping.is_set() or _drive_wanted(archive):
            willing = False
            break
        with archive.database.transaction() as conn:
            package = packages.first(conn, "by_id", id=row["package"])
        if package and _read(archive, session, row, package):
            proven.append((row, package))
            size += package["size"]
        if size >= archive.settings.write.sync or len(proven) >= _FILES:
            _prove(archive, session, proven, mode)
            proven, size = [], 0
    _prove(archive, session, proven, mode)
    return willing


def _drive_wanted(archive: Archive) -> bool:
    """Say whether somebody waits for a drive to read what people want: checking can wait."""
    if not all(archive.library.drives().values()):
        return False
    with archive.database.transaction() as conn:
        return somebody_waits(conn)


def _read(archive: Archive, session: TapeSession, row: Row, package: Row) -> bool:
    """Read one copy, into staging if it is wanted there; say whether it is as it was written."""
    progress = moved(archive, [row["id"]])
    try:
        if row["wanted_in_staging"]:
            with _into_staging(archive, package) as file:
                read_back(session, package, progress, into=file)
        else:
            read_back(session, package, progress)
    except NoSpace as error:
        _owed_later(archive, row, error)
    except (TransientError, LibraryUnavailable) as error:
        _later(archive, row, error)
    except HoldfastError as error:
        _bad(archive, row, error)
    else:
        return True
    return False


@contextmanager
def _into_staging(archive: Archive, package: Row) -> Iterator[FileIO]:
    """Yield a file in staging; what was written there without an error is the package, to be written again. Raises NoSpace."""
    target = staged_file(archive, {**package, "attempt": package["attempt"] + 1})
    with reserve_staging(archive, f"repair:{package['id']}", package["size"]):
        try:
            with target.open("wb", buffering=0) as file:
                yield file
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        crash_point("recall.whole")
        with archive.database.transaction() as conn:
            if packages.move(conn, "restaged", to="staged", id=package["id"], attempt=package["attempt"]):
                jobs.defer(conn, "write", "next")
    crash_point("recall.used")


def _prove(archive: Archive, session: TapeSession, proven: Sequence[tuple[Row, Row]], mode: Mode) -> None:
    """Have the tape say itself that new copies were read back, and record it (P2, P5)."""
    if not proven:
        return
    crash_point("verify.read")
    new = [pair for pair in proven if pair[0]["state"] == "written"]
    try:
        if new and mode == "write":
            testify(session, new)
    except HoldfastError as error:
        for row, package in new:
            suspect(archive, package, row, error)
        proven = [pair for pair in proven if pair not in new]
    for row, package in proven:
        verified(archive, package, row, digest=package["digest"])
        crash_point("verify.recorded")
        release_if_proven(archive, package["id"])


def _later(archive: Archive, row: Row, error: HoldfastError) -> None:
    with archive.database.transaction() as conn:
        copies.run(conn, "problem", id=row["id"], attempt=row["attempt"], **described(error, row["problem"]))


def _owed_later(archive: Archive, row: Row, error: HoldfastError) -> None:
    """There is no room in staging: the copies that are owed wait, not the one that would be read."""
    with archive.database.transaction() as conn:
        for copy in copies.all(conn, "of_package", package=row["package"]):
            if copy["state"] == "planned":
                copies.first(conn, "waits", id=copy["id"], **described(error, copy["problem"]))


def _bad(archive: Archive, row: Row, error: HoldfastError) -> None:
    """Suspect a copy at the first sign, give it up when it was suspect already and stays bad."""
    with archive.database.transaction() as conn:
        package = packages.first(conn, "by_id", id=row["package"])
    if package is None:
        return
    if row["state"] != "suspect":
        suspect(archive, package, row, error)
        return
    waiting = described(error, row["problem"])
    if isinstance(error, (MediumFailed, NotFound)) and waiting["problem"].obj["tries"] <= _TRIES:
        _later(archive, row, error)
        return
    with archive.database.transaction() as conn:
        found = waiting["problem"]
        if copies.move(conn, "lost", to="lost", id=row["id"], attempt=row["attempt"], problem=found):
            # A tape that lost one package gets no more until somebody has looked at it.
            tapes.run(conn, "state", serial=row["tape"], to="suspect", problem=found, **{"from": ["active", "full"]})
            events.add(
                conn, archive.site, "copy.lost", dataset=package["dataset"], package=package["id"], tape=row["tape"],
                **found.obj,
            )  # fmt: skip
            plan_copies(conn, package["id"], contract(dataset_row(conn, package["dataset"])).copies)


def erase(archive: Archive, serial: str) -> None:
    """Have a tape forget copies that count no more, so that a rebuild from the media does not bring them back.

    A retired copy is deleted. A lost one stays, for a bad copy may be all that is left one day, but its tape vouches
    for it no more.
    """
    with archive.database.claim(f"erase:{serial}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            rows = copies.all(conn, "to_erase", tape=serial, limit=_LOOK)
            found = [(row, packages.first(conn, "by_id", id=row["package"])) for row in rows]
        if not found:
            return
        try:
            with mounted(archive, [serial], "write", "erase") as (session,):
                for row, package in found:
                    if package:
                        _forget(session, row, package)
                session.sync("holdfast: forgotten")
        except HoldfastError as error:
            for row in rows:
                _later(archive, row, error)
            return
        with archive.database.transaction() as conn:
            for row in rows:
                copies.run(conn, "erased", id=row["id"])


def _forget(session: TapeSession, row: Row, package: Row) -> None:
    if row["state"] == "retired":
        for name in files_of(package):
            session.delete(name)
    elif session.find(package["name"]):
        session.set_attributes(package["name"], {EVIDENCE_ATTRIBUTE: "{}"})
