# SPDX-License-Identifier: Apache-2.0
"""What operators do with tapes: look, take out of use, take into use again, retire.

A disabled tape is neither written nor read; copies on it still count, for the bytes are there. A retired tape leaves
the library: that is allowed only when every package on it has its proven copies elsewhere (P3).
"""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, tapes
from holdfast.errors import Conflict, NotFound
from holdfast.model.problem import told
from holdfast.services.archive import Archive
from holdfast.services.show import problem_of
from holdfast.wire.status import Count
from holdfast.wire.tapes import Retirement, Tape, TapeDetail


def tape_list(archive: Archive) -> list[Tape]:
    """Return all tapes that were ever in use, by serial."""
    with archive.database.transaction() as conn:
        return [Tape(**_fields(row)) for row in tapes.all(conn, "used", serial=None)]


def tape(archive: Archive, serial: str) -> TapeDetail:
    """Return all that is known of a tape, without mounting it. Raises NotFound."""
    with archive.database.transaction() as conn:
        row = _row(conn, serial)
        held = [Count(**count) for count in tapes.all(conn, "held", serial=serial)]
    try:
        health = dict(archive.library.stat(serial).health)
    except NotFound:  # it left the library
        health = {}
    return TapeDetail(
        **_fields(row), generation=row["generation"], lock_state=hex(row["lock_state"]), held=held, health=health
    )


def disable(archive: Archive, serial: str, *, person: str, reason: str) -> TapeDetail:
    """Take a tape out of use, with a reason that everybody sees who waits for it. Idempotent. Raises NotFound, Conflict."""
    problem = told("disabled", f"Taken out of use: {reason}")
    with archive.database.transaction() as conn:
        row = _row(conn, serial)
        if tapes.move(conn, "state", to="disabled", serial=serial, problem=Jsonb(problem)):
            events.add(conn, archive.site, "tape.disabled", person=person, tape=serial, reason=reason)
        elif row["state"] != "disabled":
            raise Conflict(what=f"Tape {serial} is {row['state']}: there is nothing to take out of use.")
    return tape(archive, serial)


def enable(archive: Archive, serial: str, *, person: str) -> TapeDetail:
    """Take a tape into use again, if its volume is sound. Idempotent. Raises NotFound, Conflict."""
    said = next((info for info in archive.library.inventory() if info.serial == serial), None)
    with archive.database.transaction() as conn:
        row = _row(conn, serial)
        if said is None or said.state == "missing":
            raise Conflict(what=f"Tape {serial} is not in the library. Put it in, then enable it.")
        lock = archive.library.stat(serial).lock_state
        if lock:
            raise Conflict(
                what=f"Tape {serial} is frozen by a permanent write error (lock state {lock:#x}): it can be read, never "
                "written again. Its packages are served from it and its twin; retire it when they have other copies."
            )
        if tapes.move(conn, "state", to=said.state, serial=serial, problem=None):
            copies.moved(conn, "surplus", to="retired")  # it was to be emptied, perhaps
            events.add(conn, archive.site, "tape.enabled", person=person, tape=serial, was=row["state"])
        elif row["state"] not in {"active", "full"}:
            raise Conflict(what=f"Tape {serial} is {row['state']} and stays so.")
    return tape(archive, serial)


def retire(archive: Archive, serial: str, *, person: str, apply: bool) -> Retirement:
    """Plan that a tape leaves for good and, with `apply`, record it. Idempotent.

    Raises NotFound, Conflict (with `apply`, when packages would have too few verified copies, or it is being written).
    """
    with archive.database.transaction() as conn:
        # As allocation does: nothing may be planned onto the tape meanwhile.
        conn.execute("select pg_advisory_xact_lock(hashtextextended('allocation', 0))")
        row = _row(conn, serial)
        held = tapes.all(conn, "needed", serial=serial)
        short = [item["package"] for item in held if item["elsewhere"] < item["wanted"]]
        if apply and row["state"] != "retired":
            if short:
                raise Conflict(
                    what=f"Tape {serial} cannot be retired: {len(short)} packages have too few verified copies without "
                    f"it, {short[0]} for one."
                )
            if any(item["writing"] for item in held):
                raise Conflict(
                    what=f"Tape {serial} is being written. Disable it first, and retire it when that has ended."
                )
            copies.move(conn, "retire_on_tape", to="retired", tape=serial)
            if not tapes.move(conn, "state", to="retired", serial=serial, problem=None):
                raise Conflict(what=f"Tape {serial} is {row['state']}: it cannot be retired.")
            events.add(conn, archive.site, "tape.retired", person=person, tape=serial, copies=len(held))
        state = _row(conn, serial)["state"]
    return Retirement(serial=serial, state=state, copies=len(held), short=short, applied=state == "retired")


def _row(conn: Connection, serial: str) -> Row:
    row = tapes.first(conn, "used", serial=serial)
    if row is None:
        raise NotFound(kind="tape", name=serial)
    return row


def _fields(row: Row) -> dict[str, Any]:
    used = max(row["capacity"] - row["free"], 0)
    return {
        **{key: row[key] for key in ("serial", "media_type", "state", "capacity", "free", "copies", "last_verified")},
        "used": used,
        "dead": max(used - row["live"], 0),
        "twin": row["twin"] or None,
        "problem": problem_of(row),
    }
