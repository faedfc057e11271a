# SPDX-License-Identifier: Apache-2.0
"""The state of the whole archive, as the wire carries it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from holdfast import __version__
from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import landed, packages, reservations, status, tapes
from holdfast.services.archive import Archive
from holdfast.services.buffer import fill
from holdfast.services.drives import drive_states
from holdfast.services.health import BLAMED, WARNED
from holdfast.services.reserve import area_of, existing
from holdfast.services.show import problem_of
from holdfast.wire.status import Area, Count, ErrorLine, Queue, Status, Tape

_ERRORS: Final = 10  # newest in the status


def overview(archive: Archive) -> Status:
    """Return the state of the whole archive."""
    with archive.database.reading() as conn:
        totals = status.first(conn, "totals") or {}
        errors = events.problems(conn, limit=_ERRORS)
        return Status(
            site=archive.site,
            version=__version__,
            **{key: totals[key] for key in ("datasets", "safe", "files", "bytes")},
            queues=[Queue(**row) for row in status.all(conn, "queues")],
            drives=(drives := drive_states(archive, conn)),
            mounts_last_day=sum(drive.mounts_last_day for drive in drives),
            tapes=[_tape(row) for row in tapes.all(conn, "all")],
            areas=_areas(archive, conn),
            copies=[Count(state=r["state"], count=r["copies"], bytes=r["bytes"]) for r in status.all(conn, "copies")],
            requests=[Count(state=r["state"], count=r["requests"]) for r in status.all(conn, "requests")],
            errors=[
                ErrorLine(at=r["at"], kind=r["kind"], dataset=r["dataset"], sentence=r["body"].get("sentence", ""))
                for r in errors
            ],
        )


def _tape(row: Row) -> Tape:
    problem = problem_of(row)
    warned = problem is not None and problem.code in {WARNED, BLAMED}
    keep = Tape.model_fields.keys() - {"problem", "warned"}
    return Tape(**{key: row[key] for key in keep}, problem=problem, warned=warned)


def _areas(archive: Archive, conn: Connection) -> list[Area]:
    staging = packages.first(conn, "staged_bytes")
    limit, buffered = int(archive.settings.staging.limit), fill(archive, conn)
    landing_limit, there = int(archive.settings.landing.limit), landed.first(conn, "bytes") or {"bytes": 0}
    return [
        _area(
            archive, conn, "landing", archive.settings.landing_path, landing_limit, landing_limit, int(there["bytes"])
        ),
        _area(archive, conn, "staging", archive.settings.staging_path, limit, limit, int(staging["bytes"] if staging else 0)),
        _area(
            archive, conn, "buffer", archive.settings.buffer_path, buffered.limit, buffered.mark, buffered.used
        ),
    ]  # fmt: skip


def _area(archive: Archive, conn: Connection, name: str, path: Path, limit: int, mark: int, used: int) -> Area:
    folder = existing(path)
    disk = os.statvfs(folder)
    total = disk.f_blocks * disk.f_frsize
    reserved = reservations.first(conn, "reserved", area=area_of(archive, folder), id="")
    return Area(
        name=name, path=str(path), total=total, free=disk.f_bavail * disk.f_frsize,
        reserved=int(reserved["bytes"]) if reserved else 0, limit=limit or total, mark=mark or total, used=used,
    )  # fmt: skip
