# SPDX-License-Identifier: Apache-2.0
"""What operators do with tapes: look, add, take out of use, take into use again, export, retire.

A disabled tape is neither written nor read; copies on it still count, for the bytes are there. So it is with an exported
one, which is out of the library on purpose. A retired tape leaves the library: that is allowed only when every package
on it has its proven copies elsewhere (P3).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, tapes
from holdfast.errors import Conflict, NotFound
from holdfast.model.health import wear
from holdfast.model.problem import told
from holdfast.services.archive import Archive
from holdfast.services.blame import verdict
from holdfast.services.planner import survey_tapes
from holdfast.services.show import problem_of
from holdfast.tape.library import TapeInfo
from holdfast.wire.status import Count
from holdfast.wire.tapes import NewTape, Retirement, Tape, TapeDetail, Wear

_TOLD: Final = (
    "serial", "media_type", "state", "batch", "families", "capacity", "free", "copies", "last_verified",
    "last_mounted",
)  # fmt: skip


def tape_list(archive: Archive) -> list[Tape]:
    """Return all tapes that were ever in use, by serial."""
    with archive.database.reading() as conn:
        return [Tape(**_fields(row)) for row in tapes.all(conn, "used", serial=None)]


def tape(archive: Archive, serial: str) -> TapeDetail:
    """Return all that is known of a tape, without mounting it. Raises NotFound."""
    with archive.database.reading() as conn:
        row = _row(conn, serial)
        held = [Count(**count) for count in tapes.all(conn, "held", serial=serial)]
        undecided = [drive for tape, drive in verdict(archive, conn).undecided if tape == serial]
    return TapeDetail(
        **_fields(row), generation=row["generation"], lock_state=hex(row["lock_state"]), held=held,
        undecided=undecided, health=row["health"] or {},
    )  # fmt: skip


def add(archive: Archive, wish: NewTape, *, person: str) -> TapeDetail:
    """Take a new tape into use, and record what it is; a simulated one is made if it is not there. Idempotent.

    Raises Conflict (it is not in the library, or cannot be used), InvalidInput (it cannot be made so).
    """
    said = _said(archive, wish.serial)
    if said is None and archive.settings.library.kind == "simulator":
        capacity = wish.capacity or archive.settings.library.capacity
        archive.library.make_tape(wish.serial, capacity=capacity, media_type=wish.media_type or "")
        said = _said(archive, wish.serial)
    elif wish.capacity or wish.media_type:
        raise Conflict(what=f"Tape {wish.serial} is there already: its capacity and its type are what they are.")
    if said is None or said.state not in {"active", "full"}:
        found = said.state if said else "not there"
        raise Conflict(what=f"Tape {wish.serial} is {found}, says the library. Put it in, then add it.")
    with archive.database.transaction() as conn:
        survey_tapes(archive, conn)
        changed = tapes.first(conn, "add", serial=wish.serial, batch=wish.batch, families=wish.families)
        row = _row(conn, wish.serial)
        if row["state"] == "new":
            changed = tapes.move(conn, "state", to=said.state, serial=wish.serial, problem=None)
        if changed:
            told = {"tape": wish.serial, "batch": row["batch"], "families": row["families"]}
            events.add(conn, archive.site, "tape.added", person=person, **told)
    return tape(archive, wish.serial)


def export(archive: Archive, serial: str, *, person: str, reason: str) -> TapeDetail:
    """Note that a tape is taken out of the library on purpose; `enable` takes it into use again when it is back.

    Idempotent. Raises NotFound, Conflict.
    """
    return _out(archive, serial, "exported", f"Taken out of the library: {reason}", person=person, reason=reason)


def disable(archive: Archive, serial: str, *, person: str, reason: str) -> TapeDetail:
    """Take a tape out of use, with a reason that everybody sees who waits for it. Idempotent. Raises NotFound, Conflict."""
    return _out(archive, serial, "disabled", f"Taken out of use: {reason}", person=person, reason=reason)


def _out(archive: Archive, serial: str, to: str, sentence: str, *, person: str, reason: str) -> TapeDetail:
    problem = told(to, sentence)
    with archive.database.transaction() as conn:
        row = _row(conn, serial)
        if tapes.move(conn, "state", to=to, serial=serial, problem=Jsonb(problem)):
            events.add(conn, archive.site, f"tape.{to}", person=person, tape=serial, reason=reason)
        elif row["state"] != to:
            raise Conflict(what=f"Tape {serial} is {row['state']}: there is nothing to take out of use.")
    return tape(archive, serial)


def _said(archive: Archive, serial: str) -> TapeInfo | None:
    return next((info for info in archive.library.inventory() if info.serial == serial), None)


def enable(archive: Archive, serial: str, *, person: str) -> TapeDetail:
    """Take a tape into use again, if its volume is sound. Idempotent. Raises NotFound, Conflict."""
    said = _said(archive, serial)
    with archive.database.transaction() as conn:
        row = _row(conn, serial)
        if said is None or said.state == "missing":
            raise Conflict(what=f"Tape {serial} is not in the library. Put it in, then enable it.")
        if row["state"] == "new":
            raise Conflict(what=f"Tape {serial} is new: add it, then it is in use.")
        lock = archive.library.stat(serial).lock_state
        if lock:
            raise Conflict(
                what=f"Tape {serial} is frozen by a permanent write error (lock state {lock:#x}): it can be read, never "
                "written again. Its packages are served from it and its twin; retire it when they have other copies."
            )
        if tapes.move(conn, "state", to=said.state, serial=serial, problem=None):
            copies.moved(conn, "surplus", to="retired")  # it was to be emptied, perhaps
            tapes.run(conn, "trust", serial=serial)
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
        **{key: row[key] for key in _TOLD},
        "wear": Wear(**asdict(wear(row["health"]))) if row["health"] else None,
        "used": used,
        "dead": max(used - row["live"], 0),
        "twin": row["twin"] or None,
        "problem": problem_of(row),
    }
