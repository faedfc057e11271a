# SPDX-License-Identifier: Apache-2.0
"""The one question that every way in asks: whether a person may do something, to a dataset."""

from __future__ import annotations

from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import people, requests, rights
from holdfast.errors import Conflict, NotAllowed, NotFound, NotSignedIn
from holdfast.model.rights import RIGHTS, Action, Membership, Person, allowed, verdict
from holdfast.services.archive import Archive


def may(
    archive: Archive, person: Person, action: Action, dataset: str | None = None, *, by: tuple[str, str] | None = None
) -> None:
    """Raise unless `person` may do `action`, to `dataset` if it is done to one.

    `by` is what the caller named instead of the dataset, as ("link", its id): who may not know of the dataset is told
    that this is not there, and learns of neither.

    Raises NotSignedIn for a visitor, whatever there is; NotFound for a dataset that is not there or that the person may
    not know of (P8), in the same words; NotAllowed otherwise; Conflict when the dataset's state does not admit it now.
    """
    roles, state = set[str](), None
    if dataset is not None:
        with archive.database.reading() as conn:
            roles, state = _standing(person, dataset, rights.first(conn, "standing", **_asked(person, dataset)))
    _decide(person, action, roles, state, dataset, by)


def seen(archive: Archive, person: Person, dataset: str) -> str:
    """Return what the catalogue tells of a dataset, as JSON, to a person who may see it. Raises as `may`."""
    with archive.database.reading() as conn:
        row = rights.first(conn, "seen", **_asked(person, dataset))
    _decide(person, "see", *_standing(person, dataset, row), dataset, None)
    return str(row and row["told"])


def _decide(
    person: Person, action: Action, roles: set[str], state: str | None, dataset: str | None, by: tuple[str, str] | None
) -> None:
    right = RIGHTS[action]
    match verdict(person, action, roles, state):
        case "sign in":
            raise NotSignedIn
        case "hidden":
            kind, name = by or ("dataset", dataset)
            raise NotFound(kind=kind, name=name)
        case "no":
            raise NotAllowed(action=right.does)
        case "not now":
            raise Conflict(
                what=f"Dataset {dataset} is {state}. One can {right.does} only while it is {' or '.join(right.states)}."
            )


def roles_to(conn: Connection, person: Person, dataset: str) -> set[str]:
    """Return the roles that a person has to a dataset. Raises NotFound, for a visitor NotSignedIn."""
    return _standing(person, dataset, rights.first(conn, "standing", **_asked(person, dataset)))[0]


def standing(conn: Connection, person: str) -> dict[str, Membership]:
    """Return what somebody is in groups now, by the memberships that are kept."""
    return {row["name"]: Membership(row["role"], row["folder"]) for row in people.all(conn, "groups", person=person)}


def still_may(archive: Archive, name: str, action: Action, dataset: str) -> bool:
    """Say whether somebody who is not here now may do `action` to a dataset, whatever its state. Raises NotFound."""
    with archive.database.reading() as conn:
        row = people.first(conn, "by_name", name=name)
        if row is None or row["state"] != "active":
            return False
        person = Person(name, row["role"], standing(conn, name))
        return allowed(person, action, roles_to(conn, person, dataset))


def _asked(person: Person, dataset: str) -> dict[str, object]:
    return {"dataset": dataset, "person": person.name, "groups": list(person.groups), "audiences": person.audiences}


def _standing(person: Person, dataset: str, row: Row | None) -> tuple[set[str], str]:
    """Return the roles that a person has to a dataset, and its state. Raises NotFound, for a visitor NotSignedIn."""
    if row is None:
        raise NotSignedIn if person.role == "visitor" else NotFound(kind="dataset", name=dataset)
    found = set(row["granted"])
    if person.name and row["owner"] == person.name:
        found.add("owner")
    if row["group"] in person.groups:
        found.add(person.groups[row["group"]].role)
    return found, row["state"]


def sight(person: Person, action: Action = "see") -> list[str] | None:
    """Return under which names of `dataset.visible_to` a person sees, or may read, datasets; None: all of them.

    Raises NotAllowed for a token that is not made for reading.
    """
    if "read" not in person.scopes:
        raise NotAllowed(action=RIGHTS["see"].does)
    return None if allowed(person, action, ()) else person.principals


def sight_aside(person: Person) -> list[str] | None:
    """Return the same for what an answer tells of other datasets: nothing, for a token that is not made for reading."""
    return sight(person) if "read" in person.scopes else []


def contributes(person: Person, group: str | None) -> bool:
    """Say whether `person` may make datasets of `group`."""
    membership = person.groups.get(group or "")
    return allowed(person, "contribute", [membership.role] if membership else ())


def may_with_request(archive: Archive, person: Person, request: str) -> None:
    """Raise unless `person` asked for `request`, or operates the archive. Raises NotFound, NotAllowed."""
    whose = whose_requests(person)
    with archive.database.reading() as conn:
        row = requests.first(conn, "by_id", id=request)
    if row is None or whose not in {None, row["person"]}:
        raise NotFound(kind="request", name=request)


def whose_requests(person: Person) -> str | None:
    """Return whose requests a person may see; None: all. Raises NotAllowed."""
    if "read" not in person.scopes:
        raise NotAllowed(action=RIGHTS["read"].does)
    return None if allowed(person, "operate", ()) else person.name


def usable(person: Person, *, writing: bool) -> list[str] | None:
    """Return below which folders of its server the archive may work on behalf of `person`; None: below any of the roots.

    Those who are no operators may use the folders of their groups: to have files brought there (`writing`), or to archive
    from there, which wants the role of a writer.
    """
    if allowed(person, "serve", ()):
        return None
    memberships = person.groups.values()
    return [one.folder for one in memberships if one.folder and (writing or one.role != "reader")]
