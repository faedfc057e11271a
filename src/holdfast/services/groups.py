# SPDX-License-Identifier: Apache-2.0
"""Groups: operators make them and give them folders; their managers say who is in them, up to their own role.

A membership is kept by hand, by the user office or by a login, and changed only by that; the highest role counts.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import groups, people
from holdfast.errors import Conflict, InvalidInput, NotAllowed, NotFound
from holdfast.model.rights import RIGHTS, ROLES, Action, Person, Role, allowed
from holdfast.services.archive import Archive
from holdfast.wire.groups import Group, GroupChange, GroupDetail, Member, MemberWish, NewGroup


def may_in_group(archive: Archive, person: Person, action: Action, group: str) -> None:
    """Raise unless `person` may do `action` in a group.

    Raises NotFound for one that is not there or that the person may not know of (P8), NotAllowed otherwise.
    """
    roles = _roles(person, group)
    if not allowed(person, "belong", roles) and not allowed(person, action, roles):
        raise NotFound(kind="group", name=group)
    if not allowed(person, action, roles):
        raise NotAllowed(action=RIGHTS[action].does)
    with archive.database.reading() as conn:
        group_row(conn, group)


def group_list(archive: Archive, person: Person, *, after: str, limit: int) -> list[Group]:
    """Return groups by name, after a name: those of a person, or all for who operates the archive."""
    names = None if allowed(person, "belong", ()) else list(person.groups)
    with archive.database.reading() as conn:
        rows = groups.all(conn, "page", after=after, limit=limit, names=names)
    return [Group(**{key: row[key] for key in Group.model_fields}) for row in rows]


def group(archive: Archive, name: str, person: Person) -> GroupDetail:
    """Return a group, with its members for who may change them or operates the archive. Raises NotFound."""
    knows = allowed(person, "operate", ()) or allowed(person, "lead", _roles(person, name))
    with archive.database.reading() as conn:
        row = group_row(conn, name)
        members = [Member(**member) for member in groups.all(conn, "members", group=name)]
    return GroupDetail(**{key: row[key] for key in Group.model_fields}, members=members if knows else None)


def add(archive: Archive, wish: NewGroup, *, by: Person) -> GroupDetail:
    """Make a group. Idempotent. Raises Conflict, NotFound (owner)."""
    owner, folder = wish.owner or by.name, real_folder(wish.folder)
    with archive.database.transaction() as conn:
        if add_group(archive, conn, wish.name, kind="group", title=wish.title, folder=folder, by=by.name):
            put_member(archive, conn, wish.name, owner, MemberWish(role="owner"), origin="hand", by=by.name)
        row = group_row(conn, wish.name)
        if (row["kind"], row["title"], row["folder"]) != ("group", wish.title, folder):
            raise Conflict(
                what=f"There is a {row['kind']} {wish.name} already, with another title or folder. Choose another name, or change "
                "that one."
            )
    return group(archive, wish.name, by)


def change(archive: Archive, name: str, wish: GroupChange, *, by: Person) -> GroupDetail:
    """Change title or folder. Idempotent. Raises NotFound, Conflict (the folder is another group's)."""
    with archive.database.transaction() as conn:
        change_group(archive, conn, name, wish, by=by.name)
    return group(archive, name, by)


def join(archive: Archive, name: str, person: str, wish: MemberWish, *, by: Person) -> GroupDetail:
    """Give somebody else a role in a group for a time, until one's own ends at the latest. Idempotent.

    Raises NotFound (person), NotAllowed (a role above one's own), Conflict (the last owner), InvalidInput.
    """
    if person == by.name and not allowed(by, "lead", ()):
        raise NotAllowed(action="give yourself a role in a group: another manager does, and anybody can leave")
    with archive.database.transaction() as conn:
        groups.run(conn, "lock", group=name)  # so that two owners cannot leave at the same time
        known = _by_hand(conn, name, person)
        _up_to_own(by, name, wish.role, *([known["role"]] if known else []))
        wish = _while_own(conn, by, name, wish)
        if wish.role != "owner" or wish.until_at:
            _keep_an_owner(conn, name, known)
        put_member(archive, conn, name, person, wish, origin="hand", by=by.name)
    return group(archive, name, by)


def leave(archive: Archive, name: str, person: str, *, by: Person) -> GroupDetail:
    """End what somebody is in a group, by hand. Idempotent.

    Raises NotAllowed (of a role above one's own), Conflict (the last owner; the user office keeps it).
    """
    with archive.database.transaction() as conn:
        groups.run(conn, "lock", group=name)
        known = _by_hand(conn, name, person)
        if known:
            if person != by.name:
                _up_to_own(by, name, known["role"])
            _keep_an_owner(conn, name, known)
            end_member(archive, conn, name, person, origin="hand", by=by.name)
        elif any(row["person"] == person for row in groups.all(conn, "members", group=name)):
            raise Conflict(what=f"{person} is in {name} because the user office or the login says so: change it there.")
    return group(archive, name, by)


# ---- also for those who keep groups otherwise; in the caller's transaction ----


def group_row(conn: Connection, name: str) -> Row:
    """Return a group. Raises NotFound."""
    row = groups.first(conn, "by_name", name=name)
    if row is None:
        raise NotFound(kind="group", name=name)
    return row


def add_group(archive: Archive, conn: Connection, name: str, *, kind: str, title: str, folder: str, by: str) -> bool:
    """Make a group unless there is one, and say whether it was made. Raises Conflict (the folder is another's)."""
    _own_folder(conn, name, folder)
    told = {"title": title, "folder": folder}
    if not groups.first(conn, "add", name=name, site=archive.site, kind=kind, by=by, **told):
        return False
    events.add(conn, archive.site, "group.added", person=by, group=name, proposal=kind == "proposal", **told)
    return True


def change_group(archive: Archive, conn: Connection, name: str, wish: GroupChange, *, by: str) -> bool:
    """Change title or folder, and say whether anything did. Raises NotFound, Conflict (the folder is another's)."""
    row = group_row(conn, name)
    folder = None if wish.folder is None else real_folder(wish.folder)
    _own_folder(conn, name, folder or "")
    wanted = {"title": wish.title, "folder": folder}
    if not groups.first(conn, "change", name=name, **wanted):
        return False
    changed = {key: value for key, value in wanted.items() if value is not None and value != row[key]}
    events.add(conn, archive.site, "group.changed", person=by, group=name, changed=changed)
    return True


def put_member(
    archive: Archive, conn: Connection, name: str, person: str, wish: MemberWish, *, origin: str, by: str
) -> bool:
    """Record what somebody is in a group, and say whether that is new. Raises NotFound (person), InvalidInput."""
    if wish.until_at and wish.until_at <= (wish.from_at or datetime.min.replace(tzinfo=UTC)):
        raise InvalidInput(what=f"{person} would leave {name} before joining it.")
    known = people.first(conn, "by_name", name=person)
    if known is None or known["state"] == "applied":
        raise NotFound(kind="person", name=person)
    if not groups.first(conn, "put_member", group=name, person=person, origin=origin, **wish.model_dump()):
        return False
    told = wish.model_dump(mode="json")
    events.add(conn, archive.site, "group.joined", person=by, group=name, name=person, origin=origin, **told)
    return True


def end_member(archive: Archive, conn: Connection, name: str, person: str, *, origin: str, by: str) -> None:
    """End what somebody is in a group, as far as `origin` keeps it."""
    if groups.first(conn, "end_member", group=name, person=person, origin=origin):
        events.add(conn, archive.site, "group.left", person=by, group=name, name=person, origin=origin)


def real_folder(folder: str) -> str:
    """Return a folder as it is kept: without links, so that it can be compared with where things really are."""
    return os.path.realpath(folder) if folder else ""


def group_of_folder(conn: Connection, folder: Path) -> str | None:
    """Return the group whose folder has `folder` in it, the closest one; `folder` is without links."""
    row = groups.first(conn, "by_folder", folders=[str(path) for path in (folder, *folder.parents)])
    return row["name"] if row else None


def _own_folder(conn: Connection, name: str, folder: str) -> None:
    row = groups.first(conn, "by_folder", folders=[folder]) if folder else None
    if row and row["name"] != name:
        raise Conflict(what=f"{folder} is the folder of group {row['name']} already.")


def _roles(person: Person, group: str) -> list[Role]:
    return [person.groups[group].role] if group in person.groups else []


def _by_hand(conn: Connection, name: str, person: str) -> Row | None:
    rows = groups.all(conn, "members", group=name)
    return next((row for row in rows if row["person"] == person and row["origin"] == "hand"), None)


def _up_to_own(by: Person, name: str, *roles: Role) -> None:
    if allowed(by, "lead", ()):
        return
    own = ROLES.index(by.groups[name].role)
    if any(ROLES.index(role) < own for role in roles):
        raise NotAllowed(action=f"give or take a role above your own, which is {ROLES[own]} of {name}")


def _while_own(conn: Connection, by: Person, name: str, wish: MemberWish) -> MemberWish:
    """Return a wish that ends when the role ends by which it is granted: that of a time makes none for ever."""
    if allowed(by, "lead", ()):
        return wish
    roles = ROLES[: min(ROLES.index(wish.role), ROLES.index("manager")) + 1]
    row = groups.first(conn, "leads", group=name, person=by.name, roles=list(roles))
    ends = [at for at in (wish.until_at, row["until_at"] if row and row["kept"] else by.until) if at]
    return wish.model_copy(update={"until_at": min(ends, default=None)})


def _keep_an_owner(conn: Connection, name: str, known: Row | None) -> None:
    if known and known["role"] == "owner" and not groups.all(conn, "other_owners", group=name, person=known["person"]):
        raise Conflict(what=f"{known['person']} is the last owner of {name} who stays. Make somebody else one first.")
