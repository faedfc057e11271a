# SPDX-License-Identifier: Apache-2.0
"""Persons: who there is, who wants to be, and what administrators decide about them."""

from __future__ import annotations

from typing import Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import credentials, people
from holdfast.errors import Conflict, NotFound
from holdfast.identity.password import hashed
from holdfast.model.rights import Person
from holdfast.services.archive import Archive
from holdfast.services.login import attempt
from holdfast.services.tokens import admit_folder, end_all
from holdfast.wire import people as wire
from holdfast.wire.people import Application, Applied, NewPerson, PersonChange, Self, Standing

ADMIN: Final = "admin"  # who has the token of the data folder


def admit_admin(archive: Archive, secret: str) -> None:
    """Make the token of the data folder good for the administrator. Idempotent."""
    title = "The administrator of this archive"
    with archive.database.transaction() as conn:
        _insert(archive, conn, ADMIN, title=title, mail="", role="admin", state="active", reason="", by=ADMIN)
        admit_folder(archive, conn, person=ADMIN, secret=secret)


def whoami(archive: Archive, person: Person) -> Self:
    """Return who calls."""
    with archive.database.reading() as conn:
        row = people.first(conn, "self", name=person.name, token=person.token)
    if row is None:
        raise NotFound(kind="person", name=person.name)
    groups = [Standing(group=name, role=membership.role) for name, membership in sorted(person.groups.items())]
    return Self(**row, groups=groups)


def person_list(
    archive: Archive, *, after: str, limit: int, state: str | None = None, search: str = ""
) -> list[wire.Person]:
    """Return persons by name, after a name; `search` is part of a name, title or mail."""
    with archive.database.reading() as conn:
        rows = people.all(conn, "page", after=after, limit=limit, state=state, search=search)
    return [_told(row) for row in rows]


def person(archive: Archive, name: str) -> wire.Person:
    """Return an account. Raises NotFound."""
    with archive.database.reading() as conn:
        return _told(_row(conn, name))


def apply(archive: Archive, wish: Application, *, address: str) -> Applied:
    """Record that somebody asks for an account, with the password for it. Raises TooManyAttempts, Conflict."""
    attempt(archive, "application", name=None, address=address)
    secret = hashed(wish.password)
    with archive.database.transaction() as conn:
        told = {"title": wish.title, "mail": wish.mail, "reason": wish.reason}
        carries = people.all(conn, "carries", name=wish.name)
        if carries or not _insert(archive, conn, wish.name, role="member", state="applied", by=None, **told):
            raise Conflict(what=f"The name {wish.name} is taken. Choose another one.")
        credentials.run(conn, "set_local", name=wish.name, secret=secret, once=None)
        events.add(conn, archive.site, "person.applied", name=wish.name, title=wish.title)
    return Applied(name=wish.name, state="applied")


def add(archive: Archive, wish: NewPerson, *, by: str) -> wire.Person:
    """Make an account, without any way to log in yet. Raises Conflict."""
    with archive.database.transaction() as conn:
        if not add_person(archive, conn, wish, by=by):
            row = _row(conn, wish.name)
            if row["state"] != "active" or any(row[key] != value for key, value in wish.model_dump().items()):
                raise Conflict(
                    what=f"There is a person {wish.name} already, and not as you say. Choose another name, or change that one."
                )
        return _told(_row(conn, wish.name))


def add_person(archive: Archive, conn: Connection, wish: NewPerson, *, by: str) -> bool:
    """Make an account unless the name is taken, and say whether it was made."""
    if not _insert(archive, conn, **wish.model_dump(), state="active", reason="", by=by):
        return False
    events.add(conn, archive.site, "person.added", person=by, name=wish.name, role=wish.role)
    return True


def approve(archive: Archive, name: str, *, by: str) -> wire.Person:
    """Take an account into use that was applied for, or say of one that was admitted whose it is. Idempotent.

    Raises NotFound, Conflict.
    """
    with archive.database.transaction() as conn:
        row = _row(conn, name)
        if row["state"] == "disabled":
            raise Conflict(what=f"The account of {name} is disabled. Enable it instead.")
        vouched = people.first(conn, "vouch", name=name, by=by)
        if vouched or people.move(conn, "state", to="active", name=name, was="applied", reason=row["reason"], by=by):
            events.add(conn, archive.site, "person.approved", person=by, name=name)
        return _told(_row(conn, name))


def disable(archive: Archive, name: str, *, reason: str, by: str) -> wire.Person:
    """Take an account out of use; its tokens are good no more, and an application is declined. Idempotent.

    Raises NotFound, Conflict (nobody else is administrator).
    """
    with archive.database.transaction() as conn:
        row = _row(conn, name)
        _keep_an_admin(conn, row)
        if people.move(conn, "state", to="disabled", name=name, was=row["state"], reason=reason, by=by):
            end_all(conn, name)
            events.add(conn, archive.site, "person.disabled", person=by, name=name, was=row["state"], reason=reason)
        return _told(_row(conn, name))


def enable(archive: Archive, name: str, *, by: str) -> wire.Person:
    """Take an account into use again. Idempotent. Raises NotFound, Conflict."""
    with archive.database.transaction() as conn:
        row = _row(conn, name)
        if row["state"] == "applied":
            raise Conflict(what=f"{name} has applied for an account. Approve that instead.")
        if people.move(conn, "state", to="active", name=name, was="disabled", reason="", by=by):
            events.add(conn, archive.site, "person.enabled", person=by, name=name)
        return _told(_row(conn, name))


def change(archive: Archive, name: str, wish: PersonChange, *, by: str) -> wire.Person:
    """Change title, mail or role. Idempotent. Raises NotFound, Conflict (nobody else is administrator)."""
    with archive.database.transaction() as conn:
        row = _row(conn, name)
        if wish.role not in {None, "admin"}:
            _keep_an_admin(conn, row)
        if people.first(conn, "change", name=name, **wish.model_dump()):
            changed = {key: value for key, value in wish.model_dump(exclude_none=True).items() if row[key] != value}
            events.add(conn, archive.site, "person.changed", person=by, name=name, changed=changed)
        return _told(_row(conn, name))


def _keep_an_admin(conn: Connection, row: Row) -> None:
    others = people.all(conn, "other_admins", name=row["name"])
    if row["role"] == "admin" and row["state"] == "active" and not others:
        raise Conflict(
            what=f"{row['name']} is the only administrator who can sign in. Make somebody else one first, "
            "who logs in once."
        )


def _insert(
    archive: Archive, conn: Connection, name: str, *, title: str, mail: str, role: str, state: str, reason: str,
    by: str | None,
) -> bool:  # fmt: skip
    made = people.first(
        conn, "add", name=name, site=archive.site, title=title, mail=mail, role=role, state=state, reason=reason, by=by
    )
    return made is not None


def _row(conn: Connection, name: str) -> Row:
    row = people.first(conn, "by_name", name=name)
    if row is None:
        raise NotFound(kind="person", name=name)
    return row


def _told(row: Row) -> wire.Person:
    return wire.Person(**{key: row[key] for key in wire.Person.model_fields})
