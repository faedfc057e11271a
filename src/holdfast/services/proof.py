# SPDX-License-Identifier: Apache-2.0
"""Recording proof, and freeing what proof allows to free (P2, P3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, datasets, packages
from holdfast.crashpoint import crash_point
from holdfast.services.archive import Archive, contract, dataset_row, staged_file
from holdfast.tape.library import TapeSession

DIGEST_ATTRIBUTE: Final = "ltfs.hash.blake3sum"
EVIDENCE_ATTRIBUTE: Final = "evidence"


def verified(archive: Archive, package: Row, copy: Row, *, digest: str) -> None:
    """Record that a copy was read back from its medium and matched."""
    with archive.database.transaction() as conn:
        arguments = {"id": copy["id"], "attempt": copy["attempt"], "digest": digest}
        moved = copies.move(conn, "verified", to="verified", **arguments) or copies.first(conn, "checked", **arguments)
        if moved:
            events.add(
                conn, archive.site, "copy.verified", dataset=package["dataset"], package=package["id"],
                tape=copy["tape"], blake3=digest,
            )  # fmt: skip


def testify(session: TapeSession, proven: Sequence[tuple[Row, Row]]) -> None:
    """Have the medium say itself how copies (copy, package) were written and that they were read back (P5).

    For the day without a catalogue. Raises MediumFailed.
    """
    for copy, package in proven:
        proof = {
            "generation": copy["generation"],
            "drive": copy["drive"],
            "rate": copy["rate"],
            "written_at": copy["written_at"].isoformat() if copy["written_at"] else None,
            "verified_at": datetime.now(UTC).isoformat(),
        }
        session.set_attributes(package["name"], {EVIDENCE_ATTRIBUTE: json.dumps(proof)})
    session.sync("holdfast: verified")


def release_if_proven(archive: Archive, package: str) -> None:
    """Free the staging of a package and report its dataset safe, each in the transaction that records the evidence."""
    with archive.database.transaction() as conn:
        row = packages.first(conn, "by_id", id=package)
        if row is None:
            return
        dataset = dataset_row(conn, row["dataset"])
        wanted = contract(dataset).copies
        released = packages.move(conn, "release_if_proven", to="released", id=package, wanted=wanted)
        if released:
            proof = evidence(conn, package=package)
            events.add(conn, archive.site, "package.released", dataset=row["dataset"], package=package, evidence=proof)
        report_safe(archive, conn, row["dataset"], wanted)
    if released:
        crash_point("release.committed")
        staged_file(archive, released).unlink(missing_ok=True)


def report_safe(archive: Archive, conn: Connection, dataset: str, wanted: int) -> None:
    """Say once that every package of a closed dataset has the proven copies that its profile wants."""
    # Two packages that end together must see each other: the second waits here for the first.
    conn.execute("select from dataset where id = %s for update", [dataset])
    if datasets.first(conn, "safe_if_proven", id=dataset, wanted=wanted):
        events.add(conn, archive.site, "dataset.safe", dataset=dataset, evidence=evidence(conn, dataset=dataset))


def evidence(conn: Connection, *, package: str = "", dataset: str = "") -> list[dict[str, Any]]:
    """Return which verified copies there are, on which media, proven when and by which digest."""
    rows = (
        copies.all(conn, "of_package", package=package) if package else copies.all(conn, "of_dataset", dataset=dataset)
    )
    return [
        {
            "package": row["package"],
            "tape": row["tape"],
            "verified_at": _iso(row["verified_at"]),
            "blake3": row["digest"],
        }
        for row in rows
        if row["state"] == "verified"
    ]


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
