# SPDX-License-Identifier: Apache-2.0
"""Deleting a dataset: planned and printed first, then in one transaction; a tombstone stays, the tapes are erased.

Commit point: the transaction that makes it `deleted`, with all its copies retired and what is known of its files forgotten. The
bytes follow: its folder in landing, packages in staging, and each copy when its tape is mounted next (`erase`).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from holdfast.catalog import events, jobs, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, datasets, landed, packages, requests, uploads
from holdfast.crashpoint import crash_point
from holdfast.errors import Conflict, InvalidInput
from holdfast.services import landing
from holdfast.services.archive import Archive, contract, dataset_row
from holdfast.services.pack import sweep_staging
from holdfast.wire.deletion import Deletion


def plan(archive: Archive, dataset: str, *, sight: Sequence[str] | None = None) -> Deletion:
    """Tell what deleting a dataset would do, and what stands in the way; a dataset is named if `sight` may see it (None: all).

    Raises NotFound.
    """
    with archive.database.transaction() as conn:
        row = dataset_row(conn, dataset)
        gone = row["state"] == "deleted"
        rows = copies.all(conn, "of_dataset", dataset=dataset)
        on_tape = {copy["tape"] for copy in rows if copy["tape"] and not copy["erased_at"]}
        asked = {} if gone else row["tombstone"] or {}
        return Deletion(
            dataset=dataset, title=row["title"], state=row["state"], files=row["files"], bytes=row["bytes"],
            packages=len(packages.all(conn, "of_dataset", dataset=dataset)), tapes=sorted(on_tape),
            obstacles=[] if gone else _obstacles(conn, row, sight), retained_until=retained_until(row),
            two_persons=contract(row).two_persons, asked_by=asked.get("person"),
            asked_reason=asked.get("reason"), tombstone=row["tombstone"] if gone else None,
        )  # fmt: skip


def retained_until(row: Row) -> datetime | None:
    """Return until when a dataset has to be kept, None when it may go at any time."""
    days = max(row["keep_days"] or 0, contract(row).keep_days)  # the profile may be another one by now
    closed: datetime | None = row["closed_at"]
    return closed + timedelta(days=days) if days and closed else None


def _obstacles(conn: Connection, row: Row, sight: Sequence[str] | None) -> list[str]:
    """Return why a dataset cannot be deleted now, each as a sentence."""
    if row["state"] == "open" and row["landing"] and not row["close_wanted"]:
        return []
    if row["state"] != "closed":
        return ["It is being closed. Wait until it is."]
    found = []
    until, facts = retained_until(row), datasets.first(conn, "in_use", id=row["id"], sight=sight) or {}
    if until and facts["now"] < until:
        who = (
            f"its profile {row['profile']} says"
            if (row["keep_days"] or 0) <= contract(row).keep_days
            else "was wished for it"
        )
        found.append(f"It has to be kept until {until:%Y-%m-%d}, as {who}.")
    if facts["extended_by"]:
        found.append(f"Dataset {facts['extended_by']} extends it: delete that first.")
    elif facts["extended"]:
        found.append("Another dataset extends it, which you cannot see: ask those who operate the archive.")
    if requests.all(conn, "of_dataset_open", dataset=row["id"]):
        found.append("Files of it are being brought back, or lie in the buffer: wait, or end these requests.")
    if facts["releasing"]:
        found.append("Its source is being released. Wait until that has ended.")
    if facts["writing"]:
        found.append("It is being written to tape. Wait until that has ended.")
    return found


def delete(archive: Archive, dataset: str, *, person: str, reason: str, sight: Sequence[str] | None = None) -> None:
    """Delete a dataset, or ask for it where the profile wants two persons. Idempotent. `sight` is as for `plan`.

    Raises NotFound, InvalidInput (no reason), Conflict (something stands in the way).
    """
    if not reason.strip():
        raise InvalidInput(what="Say why: the reason stays on the tombstone.")
    with archive.database.transaction() as conn:
        row = _deletable(conn, dataset, sight)
        if row is None:
            return
        tombstone = {"person": person, "reason": reason.strip()}
        if contract(row).two_persons and row["state"] == "closed":
            if row["tombstone"] is None:
                datasets.run(conn, "ask_deletion", id=dataset, tombstone=Jsonb(tombstone))
                events.add(
                    conn, archive.site, "dataset.delete-asked", dataset=dataset, person=person, reason=reason.strip()
                )
            return
        _delete(archive, conn, row, tombstone, person=person)
    _remove(archive, row)


def confirm(archive: Archive, dataset: str, *, person: str, sight: Sequence[str] | None = None) -> None:
    """Delete a dataset that another person asked to delete. Idempotent. `sight` is as for `plan`. Raises NotFound, Conflict."""
    with archive.database.transaction() as conn:
        row = _deletable(conn, dataset, sight)
        if row is None:
            return
        if row["tombstone"] is None:
            raise Conflict(what=f"Nobody has asked for dataset {dataset} to be deleted.")
        if row["tombstone"]["person"] == person:
            raise Conflict(what="You have asked for it yourself: a second person has to confirm.")
        _delete(archive, conn, row, {**row["tombstone"], "confirmed_by": person}, person=person)
    _remove(archive, row)


def withdraw(archive: Archive, dataset: str, *, person: str) -> None:
    """Take back that a dataset shall be deleted. Idempotent. Raises NotFound, Conflict (it is deleted)."""
    with archive.database.transaction() as conn:
        conn.execute("select from dataset where id = %s for update", [dataset])
        row = dataset_row(conn, dataset)
        if row["state"] == "deleted":
            raise Conflict(what=f"Dataset {dataset} is deleted already.")
        if row["tombstone"] is not None:
            datasets.run(conn, "ask_deletion", id=dataset, tombstone=None)
            events.add(conn, archive.site, "dataset.delete-withdrawn", dataset=dataset, person=person)


def _deletable(conn: Connection, dataset: str, sight: Sequence[str] | None) -> Row | None:
    """Return the dataset, locked; None when it is deleted already. Raises NotFound, Conflict."""
    conn.execute("select from dataset where id = %s for update", [dataset])
    row = dataset_row(conn, dataset)
    if row["state"] == "deleted":
        return None
    if obstacles := _obstacles(conn, row, sight):
        raise Conflict(what=f"Dataset {dataset} cannot be deleted now. {' '.join(obstacles)}")
    return row


def _delete(archive: Archive, conn: Connection, row: Row, tombstone: dict[str, Any], *, person: str) -> None:
    dataset = row["id"]
    known = {**tombstone, "files": row["files"], "bytes": row["bytes"], "files_sha256": _digest_of_list(conn, dataset)}
    datasets.move(conn, "delete", to="deleted", id=dataset, tombstone=Jsonb(known))
    packages.moved(conn, "retire_all", to="retired", dataset=dataset)
    copies.moved(conn, "retire_all", to="retired", dataset=dataset)
    listings.delete(conn, dataset)
    landed.run(conn, "forget", dataset=dataset)
    uploads.run(conn, "forget", dataset=dataset)
    events.add(conn, archive.site, "dataset.deleted", dataset=dataset, person=person, tombstone=known)
    for serial in sorted({copy["tape"] for copy in copies.all(conn, "of_dataset", dataset=dataset) if copy["tape"]}):
        jobs.defer(conn, "erase", serial)


def _digest_of_list(conn: Connection, dataset: str) -> str:
    """Return the SHA-256 of the list of files, in path order: what was deleted can be recognised, not read."""
    hasher = hashlib.sha256()
    for _, packed in listings.walk(conn, dataset):
        if listings.is_last(packed):
            hasher.update(packed.file_digest.hex().encode() + b"  " + packed.entry.path + b"\n")
    return hasher.hexdigest()


def _remove(archive: Archive, row: Row) -> None:
    crash_point("delete.recorded")
    if row["landing"]:
        shutil.rmtree(landing.folder_of(archive, row["id"]), ignore_errors=True)
    sweep_staging(archive)


def sweep(archive: Archive) -> None:
    """Remove folders in landing of datasets that are deleted: who deleted them was killed."""
    names = [folder.name for folder in archive.settings.landing_path.glob("[!.]*")]
    if not names:
        return
    with archive.database.transaction() as conn:
        rows = datasets.all(conn, "deleted_in_landing", ids=names)
    for row in rows:
        shutil.rmtree(landing.folder_of(archive, row["id"]), ignore_errors=True)
