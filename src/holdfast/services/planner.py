# SPDX-License-Identifier: Apache-2.0
"""The planner: compares facts with policy and defers the jobs that are owed; it may run at any time, any number of times.

Every job could be lost and would come back from here. What it asks are facts of the catalogue; a claim that nobody
holds any more (the server frees it when its process dies) is work like any other.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Connection
from holdfast.catalog.queries import (
    copies,
    datasets,
    idempotency,
    packages,
    releases,
    requests,
    status,
    tapes,
    uploads,
)
from holdfast.errors import LibraryUnavailable, OperatorNeeded
from holdfast.model.health import Counters
from holdfast.services import buffer, deletion, profiles
from holdfast.services.allocate import first_tapes
from holdfast.services.archive import Archive, described
from holdfast.services.blame import apply_verdict
from holdfast.services.drives import survey_drives
from holdfast.services.free import release_landing
from holdfast.services.grants import open_embargoed
from holdfast.services.health import notice
from holdfast.services.index import index
from holdfast.services.login import expire_attempts
from holdfast.services.mounts import survey_mounts
from holdfast.services.pack import close_if_packed, plan_copies, sweep_staging
from holdfast.services.proof import release_if_proven
from holdfast.services.repack import end_repacks
from holdfast.services.reserve import look_after
from holdfast.services.uploads import sweep as sweep_uploads

_LOG = logging.getLogger(__name__)
_BATCH: Final = 1000  # jobs deferred per kind and round; the next round brings the rest
# Procrastinate's heartbeat is 10 s; a worker that missed six of them is gone.
_WORKER_GONE: Final = 60.0  # seconds


def prepare(archive: Archive) -> None:
    """Record the shipped profiles and the tapes of the library. Idempotent."""
    with archive.database.transaction() as conn:
        profiles.prepare(conn)
        survey_tapes(archive, conn)


def survey_tapes(archive: Archive, conn: Connection) -> None:
    """Record what changed in what the library says of its tapes, without mounting any."""
    known = {row["serial"]: row for row in tapes.all(conn, "all")}
    for tape in archive.library.inventory():
        row = known.get(tape.serial)
        if row and row["state"] == "retired":
            continue
        if row and row["state"] in {"new", "exported"} and tape.state == "missing":
            continue  # somebody has it on purpose, and it is as it was
        counters: Counters = {}
        said: dict[str, Any] = {"state": tape.state, "capacity": 0, "free": 0, "generation": 0, "lock_state": 0}
        if tape.state != "missing":
            volume = archive.library.stat(tape.serial)
            said |= {key: getattr(volume, key) for key in ("capacity", "free", "generation", "lock_state")}
            counters = volume.health
        if row and counters and row["health"] != counters:
            notice(archive, conn, tape.serial, counters)
        if row and all(row[key] == said[key] for key in ("free", "generation", "lock_state")):
            gone = {"missing", "broken"}
            if (said["state"] in gone) == (row["state"] in gone):
                continue
        place = {"site": archive.site, "library": str(archive.settings.library_path), "media_type": tape.media_type}
        first = tape.state if archive.settings.library.adopt == "all" else "new"
        tapes.run(conn, "upsert", serial=tape.serial, first=first, **place, **said)
        if row is None:
            notice(archive, conn, tape.serial, counters)


def plan(archive: Archive, *, thorough: bool = True) -> int:
    """Defer every job that is owed and not waiting already; return how many were deferred.

    A plan that is not `thorough` asks only what indexes answer at once, however large the archive is: it leaves out what
    changed in the library, and what is owed although nobody said so.
    """
    with archive.database.transaction() as conn:
        _forget_the_dead(archive, conn)
    with archive.database.transaction() as conn:
        index(conn, limit=_BATCH)
    if thorough:
        _look_at_library(archive)
        with archive.database.transaction() as conn:
            _mend(archive, conn)
        sweep_uploads(archive)
        deletion.sweep(archive)
    with archive.database.transaction() as conn:
        deferred = _defer_owed(archive, conn)
        half_done = [row["id"] for row in packages.all(conn, "unreleased")]
    for package in half_done:
        release_if_proven(archive, package)
    sweep_staging(archive)
    return deferred


def _look_at_library(archive: Archive) -> None:
    try:
        with archive.database.transaction() as conn:
            survey_tapes(archive, conn)
        with archive.database.transaction() as conn:
            survey_mounts(archive, conn)
            survey_drives(archive, conn)
            apply_verdict(archive, conn)
    except LibraryUnavailable as error:
        # What needs no tape goes on, and what does says itself why it waits (P10).
        _LOG.warning("%s", error)


def _forget_the_dead(archive: Archive, conn: Connection) -> None:
    status.run(conn, "stalled", seconds=_WORKER_GONE)
    status.run(conn, "dead_workers", seconds=_WORKER_GONE)
    look_after(conn)
    idempotency.run(conn, "expire")
    expire_attempts(archive, conn)


def _defer_owed(archive: Archive, conn: Connection) -> int:
    owed: list[tuple[str, str]] = []
    owed += [("survey", row["id"]) for row in datasets.all(conn, "unscanned")]
    owed += [("pack", row["id"]) for row in packages.all(conn, "unclaimed", limit=_BATCH)]
    owed += [("extract", row["id"]) for row in datasets.all(conn, "unextracted", limit=_BATCH)]
    for row in datasets.all(conn, "unclosed"):
        close_if_packed(archive, conn, row["id"])
    owed += [("write", "next")] if _worth_writing(archive, conn) else []
    owed += [("check", row["tape"]) for row in copies.all(conn, "unread")]
    owed += [("erase", tape) for tape in {row["tape"] for row in copies.all(conn, "to_erase", tape=None, limit=_BATCH)}]
    owed += [("recall", "next") for _ in requests.all(conn, "undelivered")]
    owed += [("finish", row["id"]) for row in requests.all(conn, "unended")]
    owed += [("evict", row["id"]) for row in requests.all(conn, "evictable", id=None)]
    owed += [("fetch", row["id"]) for row in uploads.all(conn, "unfetched", limit=_BATCH)]
    released = sum(release_landing(archive, conn, row["id"]) for row in datasets.all(conn, "landed_and_safe"))
    owed += [("release", row["id"]) for row in releases.all(conn, "unfinished")]
    admitted = buffer.admit_waiting(archive, conn, limit=_BATCH)
    return admitted + released + sum(jobs.defer(conn, kind, thing) for kind, thing in owed)


def _worth_writing(archive: Archive, conn: Connection) -> bool:
    try:
        return bool(first_tapes(archive, conn))
    except LibraryUnavailable:
        return bool(packages.all(conn, "to_write", ours=[], limit=1))  # the job says why they wait


def _mend(archive: Archive, conn: Connection) -> None:
    """Plan copies that are owed, end what tapes were emptied for, say what no tape has any more, end embargoes."""
    for row in copies.all(conn, "owed", limit=_BATCH):
        package = packages.first(conn, "by_id", id=row["package"])
        if package:
            plan_copies(conn, row["package"], row["wanted"])
            events.add(conn, archive.site, "package.repair-planned", dataset=package["dataset"], package=row["package"])
    for row in copies.all(conn, "unreadable", limit=_BATCH):
        error = OperatorNeeded(what=f"Every copy of {row['name']} is lost: no tape has it as it was archived.")
        copies.first(conn, "waits", id=row["id"], **described(error))
        if not row["told"]:
            events.add(
                conn, archive.site, "package.lost", dataset=row["dataset"], package=row["package"], name=row["name"],
                files=row["files"], bytes=row["payload"],
            )  # fmt: skip
    copies.moved(conn, "surplus", to="retired")
    for row in copies.moved(conn, "surplus_proven", to="retired"):
        events.add(conn, archive.site, "copy.retired", dataset=row["dataset"], package=row["package"], tape=row["tape"])
    end_repacks(archive, conn)
    open_embargoed(archive, conn, limit=_BATCH)
