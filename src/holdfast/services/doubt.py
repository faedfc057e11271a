# SPDX-License-Identifier: Apache-2.0
"""Copies and tapes that did not do what they should: suspected, fenced, and looked at again."""

from __future__ import annotations

from typing import Final

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, tapes
from holdfast.errors import HoldfastError
from holdfast.services.archive import Archive, described
from holdfast.services.mounts import failed_in

_DRIVES: Final = 2  # that could not load a tape: then it is the tape


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


def fence(archive: Archive, serial: str, error: HoldfastError) -> None:
    """Take a failed tape out of use for writing; what is on it stays readable.

    One that could not be mounted is tried in another drive first: the drive may be to blame.
    """
    with archive.database.transaction() as conn:
        if "drive" in error.details and _other_drives(archive) and len(failed_in(conn, [serial])) < _DRIVES:
            return
        found = described(error)["problem"]
        args = {"serial": serial, "to": "broken", "problem": found, "from": ["active", "full", "suspect"]}
        if tapes.first(conn, "state", **args):
            events.add(conn, archive.site, "tape.fenced", tape=serial, **found.obj)


def _other_drives(archive: Archive) -> bool:
    """Say whether a tape may get another drive, and we would know."""
    usable = archive.library.drives().keys() - archive.library.drives_out().keys()
    return archive.library.names_drives and len(usable) >= _DRIVES
