# SPDX-License-Identifier: Apache-2.0
"""Where the wraps of each tape end, learned from how long the ways of its own recalls took.

What is kept serves the order of later recalls only: losing it costs time, never data.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

from holdfast.catalog.database import Database
from holdfast.catalog.queries import locates
from holdfast.errors import HoldfastError
from holdfast.scheduling.asks import Tape
from holdfast.scheduling.geometry import WrapMap
from holdfast.scheduling.learning import KEPT, Learner, teaches
from holdfast.services.archive import Archive
from holdfast.tape.library import TapeSession

_LOG = logging.getLogger(__name__)
# Per catalogue: what was learned of a tape, up to which observation.
_TABLES: Final[WeakKeyDictionary[Database, dict[str, tuple[int, WrapMap]]]] = WeakKeyDictionary()


def keep(archive: Archive, tape: Tape, session: TapeSession) -> None:
    """Record how long the ways of a session took; one that cannot be asked any more has nothing to tell."""
    try:
        ways = [way for way in session.locates() if teaches(tape.medium, *way)]
        with archive.database.transaction() as conn:
            for way in ways:
                locates.run(conn, "add", tape=tape.serial, **way._asdict())
            locates.run(conn, "forget", tape=tape.serial, kept=KEPT)
    except HoldfastError as error:
        _LOG.warning("what tape %s taught of its wraps is lost: %s", tape.serial, error)


def learned(archive: Archive, tape: Tape) -> Tape:
    """Return the tape with the table of its wraps that its ways so far teach; nominal when there were none."""
    known = _TABLES.setdefault(archive.database, {})
    with archive.database.transaction() as conn:
        row = locates.first(conn, "newest", tape=tape.serial)
        if row is None or row["number"] is None:
            return tape
        newest: int = row["number"]
        before = known.get(tape.serial)
        if before and before[0] == newest:
            return replace(tape, table=before[1])
        ways = locates.all(conn, "of_tape", tape=tape.serial)
    learner = Learner(tape.medium)
    for way in ways:
        learner.observe(way["from_byte"], way["to_byte"], way["seconds"])
    known[tape.serial] = newest, learner.table
    return replace(tape, table=learner.table)
