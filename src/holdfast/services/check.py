# SPDX-License-Identifier: Apache-2.0
"""Reading copies again: asked for, or because something was wrong with them; a bad one is replaced from its twin."""

from __future__ import annotations

from typing import Final

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, packages, tapes
from holdfast.errors import HoldfastError, LibraryUnavailable, MediumFailed, NotFound, TransientError
from holdfast.model.lifecycle import OUT_OF_USE
from holdfast.services.archive import Archive, contract, dataset_row, described
from holdfast.services.doubt import suspect
from holdfast.services.mounts import mounted
from holdfast.services.pack import plan_copies
from holdfast.services.proof import EVIDENCE_ATTRIBUTE, release_if_proven, verified
from holdfast.services.twins import files_of, read_back
from holdfast.services.write import moved
from holdfast.wire.datasets import CheckAsked

# A copy that cannot be read at all is given up after so many tries; wrong bytes are given up at the second.
_TRIES: Final = 3


def want_check(archive: Archive, dataset: str, *, person: str) -> CheckAsked:
    """Ask for all verified copies of a dataset to be read again; the time is the catalogue's. Raises NotFound."""
    with archive.database.transaction() as conn:
        dataset_row(conn, dataset)
        rows = copies.all(conn, "want_check", dataset=dataset)
        for row in rows:
            jobs.defer(conn, "check", str(row["id"]))
        events.add(conn, archive.site, "dataset.check-wanted", dataset=dataset, person=person, copies=len(rows))
        now = conn.execute("select now() as at").fetchall()[0]["at"]
    return CheckAsked(dataset=dataset, copies=[row["id"] for row in rows], asked_at=now)


def check(archive: Archive, copy_id: str) -> None:
    """Read one copy whole and compare its digest, if nobody else does."""
    with archive.database.claim(f"copy:{copy_id}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            copy = copies.first(conn, "by_id", id=int(copy_id))
            package = packages.first(conn, "by_id", id=copy["package"]) if copy else None
        if copy is None or package is None or copy["state"] not in {"written", "verified", "suspect"}:
            return
        if copy["tape_state"] in OUT_OF_USE:
            return  # the planner has it read when the tape is in use again
        try:
            with mounted(archive, [copy["tape"]], "read", "check") as (session,):
                read_back(session, package, moved(archive, [copy["id"]]))
        except (TransientError, LibraryUnavailable) as error:
            # Nothing was learnt of the copy.
            _later(archive, copy, error)
        except HoldfastError as error:
            _bad(archive, package, copy, error)
        else:
            verified(archive, package, copy, digest=package["digest"])
            release_if_proven(archive, package["id"])


def _later(archive: Archive, copy: Row, error: HoldfastError) -> None:
    with archive.database.transaction() as conn:
        copies.run(conn, "problem", id=copy["id"], attempt=copy["attempt"], **described(error, copy["problem"]))


def _bad(archive: Archive, package: Row, copy: Row, error: HoldfastError) -> None:
    """Suspect a copy at the first sign, give it up when it was suspect already and stays bad."""
    if isinstance(error, (MediumFailed, NotFound)) and copy["state"] == "suspect":
        with archive.database.transaction() as conn:
            waiting = described(error, copy["problem"])
            if waiting["problem"].obj["tries"] <= _TRIES:
                copies.run(conn, "problem", id=copy["id"], attempt=copy["attempt"], **waiting)
                return
    if copy["state"] != "suspect":
        suspect(archive, package, copy, error)
        return
    with archive.database.transaction() as conn:
        found = described(error, copy["problem"])["problem"]
        if copies.move(conn, "lost", to="lost", id=copy["id"], attempt=copy["attempt"], problem=found):
            # A tape that lost one package gets no more until somebody has looked at it.
            tapes.run(conn, "state", serial=copy["tape"], to="suspect", problem=found, **{"from": ["active", "full"]})
            events.add(
                conn, archive.site, "copy.lost", dataset=package["dataset"], package=package["id"], tape=copy["tape"],
                **found.obj,
            )  # fmt: skip
            plan_copies(conn, package["id"], contract(dataset_row(conn, package["dataset"])).copies)
            jobs.defer(conn, "write", package["id"])


def erase(archive: Archive, copy_id: str) -> None:
    """Have a tape forget a copy that counts no more, so that a rebuild from the media does not bring it back.

    A retired copy is deleted. A lost one stays, for a bad copy may be all that is left one day, but its tape vouches
    for it no more.
    """
    with archive.database.claim(f"copy:{copy_id}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            copy = copies.first(conn, "by_id", id=int(copy_id))
            package = packages.first(conn, "by_id", id=copy["package"]) if copy else None
        if copy is None or package is None or copy["erased_at"] or not copy["tape"]:
            return
        try:
            with mounted(archive, [copy["tape"]], "write", "erase") as (session,):
                if copy["state"] == "retired":
                    for name in files_of(package):
                        session.delete(name)
                elif copy["state"] == "lost" and session.find(package["name"]):
                    session.set_attributes(package["name"], {EVIDENCE_ATTRIBUTE: "{}"})
                session.sync(f"holdfast forgot {package['id']}")
        except HoldfastError as error:
            _later(archive, copy, error)
            return
        with archive.database.transaction() as conn:
            copies.run(conn, "erased", id=copy["id"])
