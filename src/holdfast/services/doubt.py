# SPDX-License-Identifier: Apache-2.0
"""Copies and tapes that did not do what they should: suspected, fenced, and looked at again."""

from __future__ import annotations

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, tapes
from holdfast.services.archive import Archive, described


def suspect(archive: Archive, row: Row, copy: Row, error: Exception) -> None:
    """Mark a copy that could not be read as it should be; it is read once more before it is given up."""
    with archive.database.transaction() as conn:
        waiting = described(error, copy["problem"])
        moved = copies.move(conn, "suspect", to="suspect", id=copy["id"], attempt=copy["attempt"], **waiting)
        if moved:
            events.add(
                conn, archive.site, "copy.suspect", dataset=row["dataset"], package=row["id"], tape=copy["tape"],
                **waiting["problem"].obj,
            )  # fmt: skip
            jobs.defer(conn, "check", copy["tape"])


def fence(archive: Archive, serial: str, error: Exception) -> None:
    """Take a failed tape out of use for writing; what is on it stays readable."""
    with archive.database.transaction() as conn:
        found = described(error)["problem"]
        args = {"serial": serial, "to": "broken", "problem": found, "from": ["active", "full", "suspect"]}
        if tapes.first(conn, "state", **args):
            events.add(conn, archive.site, "tape.fenced", tape=serial, **found.obj)
