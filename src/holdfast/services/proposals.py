# SPDX-License-Identifier: Apache-2.0
"""Proposals: groups that a user office keeps, each given whole, as often as it likes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from holdfast.catalog.database import Connection
from holdfast.catalog.queries import groups, people
from holdfast.errors import Conflict, InvalidInput
from holdfast.services.archive import Archive
from holdfast.services.groups import add_group, change_group, end_member, group_row, put_member, real_folder
from holdfast.services.people import add_person
from holdfast.wire.groups import Changes, Collaborator, GroupChange, GroupName, Investigator, MemberWish, Proposal
from holdfast.wire.people import NewPerson

COLUMNS: Final = ("proposal", "title", "folder", "person", "name", "mail", "role", "from", "until")
# How a table calls what a person is told by.
_COLUMN: Final = {"name": "person", "title": "name", "from_at": "from", "until_at": "until"}
_INVESTIGATOR: Final = "pi"  # in the column `role`
_LAST_DAY: Final = timedelta(days=1)  # counts whole
_NAME: Final[TypeAdapter[str]] = TypeAdapter(GroupName)


def keep(archive: Archive, name: str, wish: Proposal, *, by: str, dry_run: bool) -> Changes:
    """Make a proposal be as it is wished; who is not named any more leaves it. Idempotent.

    Raises Conflict (there is a group of this name; its folder is another's; a name that nobody has checked), InvalidInput.
    """
    with archive.database.transaction() as conn, conn.transaction(force_rollback=dry_run):
        return Changes(changes=list(_keep(archive, conn, name, wish, by)), dry_run=dry_run)


def keep_table(archive: Archive, text: str, *, by: str, dry_run: bool) -> Changes:
    """Make the proposals of a CSV table be as they stand there, all or none. Idempotent. Raises InvalidInput."""
    wished = sorted(_proposals(text).items())  # in one order, so that two tables at once do not block each other
    changes: list[str] = []
    with archive.database.transaction() as conn, conn.transaction(force_rollback=dry_run):
        for name, (line, wish) in wished:
            try:
                changes += _keep(archive, conn, name, wish, by)
            except (Conflict, InvalidInput) as error:
                raise InvalidInput(what=f"Line {line}: {error} Nothing was changed.") from error
    return Changes(changes=changes, dry_run=dry_run)


def _keep(archive: Archive, conn: Connection, name: str, wish: Proposal, by: str) -> Iterator[str]:
    conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 2))", [name])
    members = _members(name, wish)
    if add_group(archive, conn, name, kind="proposal", title=wish.title, folder=real_folder(wish.folder), by=by):
        yield f"{name} is made."
    if group_row(conn, name)["kind"] != "proposal":
        raise Conflict(what=f"{name} is a group that is kept by hand.")
    if change_group(archive, conn, name, GroupChange(title=wish.title, folder=wish.folder), by=by):
        yield f"{name} has another title or folder."
    for member in members:
        made = NewPerson(name=member.name, title=member.title, mail=member.mail)
        if add_person(archive, conn, made, by=by):
            yield f"{member.name} gets an account."
        else:
            _check_known(conn, member.name)
        role = MemberWish(role=member.role, from_at=member.from_at, until_at=member.until_at)
        if put_member(archive, conn, name, member.name, role, origin="office", by=by):
            yield f"{member.name} is {member.role} of {name}{_frame(role)}."
    named = {member.name for member in members}
    for row in groups.all(conn, "members", group=name):
        if row["origin"] == "office" and row["person"] not in named:
            end_member(archive, conn, name, row["person"], origin="office", by=by)
            yield f"{row['person']} leaves {name}."


def _check_known(conn: Connection, person: str) -> None:
    """Raise Conflict for an account that somebody asked for, or came to, under a name that nobody has checked."""
    row = people.first(conn, "by_name", name=person)
    if row and row["decided_by"] is None:
        raise Conflict(
            what=f"Nobody has said yet that the account {person} is whose the user office means. An administrator does: holdfast "
            f"admin person approve {person}."
        )


def _members(name: str, wish: Proposal) -> list[Collaborator]:
    investigator = Collaborator(**wish.principal_investigator.model_dump(), role="owner")
    members = sorted([investigator, *wish.collaborators], key=lambda member: member.name)
    twice = {one.name for one, two in pairwise(members) if one.name == two.name}
    if twice:
        raise InvalidInput(what=f"{name} names {', '.join(sorted(twice))} twice.")
    return members


def _frame(role: MemberWish) -> str:
    begins = f" from {role.from_at:%Y-%m-%d}" if role.from_at else ""
    return begins + (f" until {role.until_at:%Y-%m-%d %H:%M}" if role.until_at else "")


def _proposals(text: str) -> dict[str, tuple[int, Proposal]]:
    """Return the proposals of a table by name, with the line where each begins. Raises InvalidInput."""
    begun: dict[str, int] = {}
    told: dict[str, dict[str, Any]] = {}
    for line, row in _rows(text):
        with _at_line(line, _COLUMN):
            name = row["proposal"]
            begun.setdefault(name, line)
            proposal = told.setdefault(name, {"title": "", "folder": "", "collaborators": []})
            for key in ("title", "folder"):
                if row[key] and proposal[key] not in {"", row[key]}:
                    raise ValueError(f"{name} has another {key} in a line above")
                proposal[key] = proposal[key] or row[key]
            _add_member(proposal, row)
    found: dict[str, tuple[int, Proposal]] = {}
    for name, line in begun.items():
        with _at_line(line):
            if "principal_investigator" not in told[name]:
                raise ValueError(f"{name} has no line with the role {_INVESTIGATOR}")
            found[_NAME.validate_python(name)] = line, Proposal.model_validate(told[name])
    return found


def _rows(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        if sorted(reader.fieldnames or ()) != sorted(COLUMNS):
            raise InvalidInput(what=f"Line 1: the columns are {', '.join(COLUMNS)}, in any order. Nothing was changed.")
        for row in reader:
            with _at_line(reader.line_num):
                if None in row or None in row.values():
                    raise ValueError(f"there are not {len(COLUMNS)} fields")
            yield reader.line_num, {key: value.strip() for key, value in row.items()}
    except csv.Error as error:
        raise InvalidInput(what=f"Line {reader.line_num}: {error}. Nothing was changed.") from None


def _add_member(proposal: dict[str, Any], row: dict[str, str]) -> None:
    who: dict[str, Any] = {"name": row["person"], "title": row["name"], "mail": row["mail"]}
    if row["role"] == _INVESTIGATOR:
        if row["from"] or row["until"]:
            raise ValueError("the principal investigator is not for a time only")
        if "principal_investigator" in proposal:
            raise ValueError("there is a principal investigator in a line above")
        proposal["principal_investigator"] = Investigator.model_validate(who)
        return
    until = _day(row["until"])
    times = {"from_at": _day(row["from"]), "until_at": until + _LAST_DAY if until else None}
    proposal["collaborators"].append(Collaborator.model_validate({**who, "role": row["role"] or "reader", **times}))


def _day(text: str) -> datetime | None:
    """Return the beginning of a day, UTC."""
    return datetime.combine(date.fromisoformat(text), time(), UTC) if text else None


@contextmanager
def _at_line(line: int, columns: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Have what is wrong be told with the number of its line, and the name of its column where that is another one."""
    try:
        yield
    except ValidationError as error:
        told = [(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors()]
        why = "; ".join(f"{columns.get(where, where)}: {what}" for where, what in told)
        raise InvalidInput(what=f"Line {line}: {why}. Nothing was changed.") from None
    except (ValueError, OverflowError) as error:
        raise InvalidInput(what=f"Line {line}: {error}. Nothing was changed.") from None
