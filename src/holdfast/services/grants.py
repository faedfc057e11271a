# SPDX-License-Identifier: Apache-2.0
"""Sharing a dataset: its managers give roles to persons, groups and crowds, none above their own."""

from __future__ import annotations

from typing import Any, Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection
from holdfast.catalog.queries import datasets, grants, people
from holdfast.errors import Conflict, InvalidInput, NotAllowed, NotFound
from holdfast.model.profile import terms
from holdfast.model.rights import EVERYONE, MEMBERS, ROLES, Person, Role, allowed
from holdfast.services.archive import Archive, dataset_row
from holdfast.services.groups import group_row
from holdfast.services.rights import roles_to
from holdfast.wire.grants import Grant, Sharing

_GROUP: Final = "group:"
_USUAL_NOTICE: Final = terms()["notice_days"][0]  # days, of profiles that were made before they had this term


def sharing(archive: Archive, dataset: str) -> Sharing:
    """Return who has a role to a dataset. Raises NotFound."""
    with archive.database.reading() as conn:
        row = dataset_row(conn, dataset)
        found = [Grant(**grant) for grant in grants.all(conn, "of_dataset", dataset=dataset)]
    return Sharing(dataset=dataset, owner=row["owner"], group=row["group"], grants=found)


def share(archive: Archive, dataset: str, to: str, role: Role, *, by: Person) -> Sharing:
    """Give a role to a person, to `group:NAME`, to `members` or to `everyone`. Idempotent.

    Raises NotFound (nobody of this name, or a group that the giver is not in), NotAllowed (a role above one's own, or to oneself),
    InvalidInput (crowds only read), Conflict (it is the owner).
    """
    whom = _whom(to)
    if whom["audience"] and role != "reader":
        raise InvalidInput(what=f"{to} can only be given the role reader.")
    with archive.database.transaction() as conn:
        _up_to_own(conn, by, dataset, role, _role_of(conn, dataset, whom))
        if dataset_row(conn, dataset)["owner"] == to:
            raise Conflict(what=f"{to} is the owner of dataset {dataset}.")
        if to == by.name and not allowed(by, "manage", ()):
            raise NotAllowed(action=f"give yourself a role to dataset {dataset}: its owner, or another manager, does")
        _there(conn, whom, by)
        how = {"dataset": dataset, "role": role, "by": by.name, **whom}
        if grants.first(conn, "add", **how) or grants.first(conn, "change", **how):
            events.add(conn, archive.site, "dataset.shared", dataset=dataset, person=by.name, to=to, role=role)
    return sharing(archive, dataset)


def unshare(archive: Archive, dataset: str, to: str, *, by: Person) -> Sharing:
    """Take a role that was given. Idempotent. Raises NotAllowed (a role above one's own), Conflict (the last owner)."""
    whom = _whom(to)
    with archive.database.transaction() as conn:
        if dataset_row(conn, dataset)["owner"] == to:
            raise Conflict(what=f"{to} is the owner of dataset {dataset}: give it to somebody else instead.")
        role = _role_of(conn, dataset, whom)
        _up_to_own(conn, by, dataset, role)
        if grants.first(conn, "drop", dataset=dataset, **whom):
            events.add(conn, archive.site, "dataset.unshared", dataset=dataset, person=by.name, to=to, role=role)
    return sharing(archive, dataset)


def give(archive: Archive, dataset: str, to: str, *, by: Person) -> Sharing:
    """Make somebody else the owner; who it was keeps no role. Idempotent.

    Raises NotFound (person), InvalidInput (no person), NotAllowed (oneself).
    """
    whom = _whom(to)
    if whom["person"] is None:
        raise InvalidInput(what="A dataset can only be given to a person.")
    with archive.database.transaction() as conn:
        was = dataset_row(conn, dataset)["owner"]
        if to == by.name != was and not allowed(by, "give", ()):
            raise NotAllowed(action=f"make yourself the owner of dataset {dataset}: {was}, or an administrator, does")
        _there(conn, whom, by)
        if grants.first(conn, "give", dataset=dataset, owner=to):
            grants.first(conn, "drop", dataset=dataset, **whom)
            events.add(conn, archive.site, "dataset.given", dataset=dataset, person=by.name, to=to, was=was)
    return sharing(archive, dataset)


def open_embargoed(archive: Archive, conn: Connection, *, limit: int) -> None:
    """Let those read whom the profile names, of datasets whose embargo has ended; once, so that who takes it back is right.

    What ends soon is told once, so that an owner who does not want that can say so in time.
    """
    for row in datasets.all(conn, "ending", limit=limit, usual=_USUAL_NOTICE):
        events.add(
            conn, archive.site, "dataset.embargo-ending", dataset=row["id"], to=row["audience"],
            ends_at=row["ends_at"].isoformat(),
        )  # fmt: skip
    for row in datasets.all(conn, "opening", limit=limit):
        whom = _whom(row["audience"])
        if grants.first(conn, "add", dataset=row["id"], role="reader", by="profile", **whom):
            events.add(conn, archive.site, "dataset.opened", dataset=row["id"], to=row["audience"])


def _whom(to: str) -> dict[str, str | None]:
    if to in {MEMBERS, EVERYONE}:
        return {"person": None, "group": None, "audience": to}
    if to.startswith(_GROUP):
        return {"person": None, "group": to.removeprefix(_GROUP), "audience": None}
    return {"person": to, "group": None, "audience": None}


def _there(conn: Connection, whom: dict[str, str | None], by: Person) -> None:
    """Raise NotFound unless there is such a person, or a group that `by` may know of."""
    if whom["group"] is not None:
        if whom["group"] not in by.groups and not allowed(by, "belong", ()):
            raise NotFound(kind="group", name=whom["group"])
        group_row(conn, whom["group"])
    if whom["person"] is not None:
        row = people.first(conn, "by_name", name=whom["person"])
        if row is None or row["state"] != "active":
            raise NotFound(kind="person", name=whom["person"])


def _role_of(conn: Connection, dataset: str, whom: dict[str, Any]) -> Role | None:
    row = grants.first(conn, "role", dataset=dataset, **whom)
    return row["role"] if row else None


def _up_to_own(conn: Connection, by: Person, dataset: str, *roles: Role | None) -> None:
    """Raise NotAllowed for a role above the giver's own; administrators may give any."""
    if allowed(by, "manage", ()):
        return
    own = min(ROLES.index(role) for role in roles_to(conn, by, dataset))
    if any(role and ROLES.index(role) < own for role in roles):
        raise NotAllowed(action=f"give or take a role above your own, which is {ROLES[own]} of dataset {dataset}")
