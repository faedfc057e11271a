# SPDX-License-Identifier: Apache-2.0
"""Mounting: the one way in which services get tapes into drives, and the log of it.

Each mount is a row from when its session opens until it is closed: what it was for, what it moved, what went wrong, and
what the tape's counters said before and after. The log is a courtesy: a catalogue that is away never fails a mount.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from psycopg.types.json import Jsonb

from holdfast.catalog.database import Connection
from holdfast.catalog.queries import mounts
from holdfast.errors import DigestMismatch, HoldfastError, MediumFailed
from holdfast.model.health import PERMANENT, RECOVERED, Counters, grown
from holdfast.services.archive import Archive
from holdfast.services.health import notice
from holdfast.tape.library import Mode, TapeSession

_LOG = logging.getLogger(__name__)
# What a mount is for.
Purpose = Literal["write", "recall", "check", "erase", "repair", "rebuild"]
# Codes of what is the fault of a drive or of a tape; who of them is told by counting.
FAILURES: Final = (MediumFailed.code, DigestMismatch.code)
# A drive that is mended, and a tape that was cleaned, are not to be judged for ever by what was.
MEMORY: Final = 30  # days
_KEPT: Final = 365  # days
_PATIENCE: Final = 60.0  # seconds to wait for drives before the job gives its slot back


@contextmanager
def mounted(
    archive: Archive, serials: Sequence[str], mode: Mode, purpose: Purpose, *, patience: float | None = None
) -> Iterator[Sequence[TapeSession]]:
    """Yield a session for each tape, all or none; `patience` is in seconds, a minute when None.

    A tape gets a drive in which it failed lately only when no other is free. Raises Busy (no drives in time),
    MediumFailed, NotFound, InvalidInput, LibraryUnavailable.
    """
    _LOG.debug("mounting %s for %s", ", ".join(serials), purpose)
    log = _Log(archive, mode, purpose)
    timeout = _PATIENCE if patience is None else patience
    try:
        with archive.library.sessions(serials, mode, timeout=timeout, avoid=log.failed_in(serials)) as sessions:
            log.begin(sessions)
            yield sessions
    except HoldfastError as error:
        log.failed(error)
        raise
    finally:
        log.end()


@dataclass(slots=True)
class _Entry:
    """One tape in its drive."""

    session: TapeSession
    before: Counters
    row: int | None = None
    problem: str | None = None


class _Log:
    """The log of one call of `mounted`; none of its methods raises what goes wrong with the catalogue."""

    def __init__(self, archive: Archive, mode: Mode, purpose: Purpose) -> None:
        self._archive = archive
        self._about = {"site": archive.site, "mode": mode, "purpose": purpose}
        self._entries: list[_Entry] = []

    def failed_in(self, serials: Sequence[str]) -> frozenset[tuple[str, str]]:
        """Return pairs of some of the tapes and the drives in which they failed lately."""
        found: set[tuple[str, str]] = set()
        self._record(lambda conn: found.update(failed_in(conn, serials)))
        return frozenset(found)

    def begin(self, sessions: Sequence[TapeSession]) -> None:
        """Note that tapes are in their drives."""
        self._entries = [_Entry(session, self._counters(session.serial)) for session in sessions]

        def insert(conn: Connection) -> None:
            for entry in self._entries:
                told = {"tape": entry.session.serial, "drive": entry.session.drive, "before": Jsonb(entry.before)}
                row = mounts.first(conn, "begin", **self._about, **told)
                entry.row = row["id"] if row else None

        self._record(insert)

    def failed(self, error: HoldfastError) -> None:
        """Note an error that ended the use of the tapes, or of the drive that could not load one."""
        # Of several tapes only the session's own trouble tells which one it was.
        if len(self._entries) == 1:
            self._entries[0].problem = error.code
        if not self._entries and "drive" in error.details:
            about = {"tape": error.details["tape"], "drive": error.details["drive"], "problem": error.code}
            self._record(lambda conn: mounts.run(conn, "failed", **self._about, **about))

    def end(self) -> None:
        """Note that the tapes are out again, and look whether any of them is about to fail."""
        for entry in self._entries:
            if entry.row is not None:
                self._record(partial(self._end, entry, self._counters(entry.session.serial)))

    def _end(self, entry: _Entry, after: Counters, conn: Connection) -> None:
        session = entry.session
        mounts.run(
            conn, "end", id=entry.row, bytes_read=session.bytes_read, bytes_written=session.bytes_written,
            problem=session.trouble.code if session.trouble else entry.problem, after=Jsonb(after),
            recovered=grown(entry.before, after, RECOVERED), permanent=grown(entry.before, after, PERMANENT),
        )  # fmt: skip
        notice(self._archive, conn, session.serial, after, drive=session.drive)

    def _counters(self, serial: str) -> Counters:
        try:
            return dict(self._archive.library.stat(serial).health)
        except HoldfastError as error:
            _LOG.warning("the counters of tape %s are not known: %s", serial, error.sentence)
            return {}

    def _record(self, work: Callable[[Connection], object]) -> None:
        try:
            with self._archive.database.transaction() as conn:
                work(conn)
        except HoldfastError as error:
            _LOG.warning("a mount is not in the log: %s", error.sentence)


def failed_in(conn: Connection, serials: Sequence[str]) -> set[tuple[str, str]]:
    """Return pairs of some of the tapes and the drives in which they failed lately, since both are trusted."""
    rows = mounts.all(conn, "failed_in", tapes=list(serials), failures=list(FAILURES), days=MEMORY)
    return {(row["tape"], row["drive"]) for row in rows}


def survey_mounts(archive: Archive, conn: Connection) -> None:
    """Close the mounts whose process died, and forget those of more than a year ago. Raises LibraryUnavailable."""
    held = [(tape, drive) for drive, tape in archive.library.drives().items() if tape]
    args = {"tapes": [tape for tape, _ in held], "drives": [drive for _, drive in held]}
    if cut := mounts.run(conn, "cut_off", site=archive.site, **args):
        _LOG.warning("%d mounts were cut off", cut)
    mounts.run(conn, "forget", days=_KEPT)
