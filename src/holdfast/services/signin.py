# SPDX-License-Identifier: Apache-2.0
"""From somebody whom another party vouches for to a person here: known, let in, or noted as an application.

Several credentials lead to one person, because an administrator said so; a name that is the same somewhere else proves
nothing. Groups that are claimed become memberships by rules of the settings, and end when they are claimed no more.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import credentials, groups, people
from holdfast.errors import NotSignedIn, SettingsError, SignInFailed
from holdfast.identity.jwt import ANY_AUDIENCE, Issuer, issuer_of, scopes_of
from holdfast.identity.recognised import Recognised, of_claims
from holdfast.model.rights import EVERYONE, MEMBERS, ROLES, USABLE, Membership, Person, Role
from holdfast.services.archive import Archive
from holdfast.services.groups import end_member, put_member
from holdfast.wire.groups import MemberWish

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._@+-]")
_LONGEST: Final = 56  # characters of a name, so that a number fits behind it
_KNOWN: Final[dict[str, Issuer]] = {}  # their keys are fetched once
_LOCK: Final = threading.Lock()
_NOT_YET: Final = "Your account waits until an administrator has approved it."
_NOT_HERE: Final = "You have no account here."


def person_of(archive: Archive, found: Recognised) -> Row:
    """Return the person (`name`, `role`) behind a credential, made or applied for if the settings say so.

    Raises NotSignedIn when there is none that may be used.
    """
    with archive.database.transaction() as conn:
        row = credentials.first(conn, "of_other", kind=found.kind, issuer=found.issuer, subject=found.subject)
        row = row or _newcomer(archive, conn, found)
        if row and row["state"] == "active":
            _keep_groups(archive, conn, row["name"], found.groups)
            return row
    if row is None or row["state"] == "disabled":
        raise SignInFailed(what=_NOT_HERE)
    raise SignInFailed(what=_NOT_YET)


def by_jwt(archive: Archive, token: str) -> Person:
    """Return who shows a JWT of an issuer that is trusted. Raises NotSignedIn, Unreachable."""
    issuer = issuer_of(token)
    audience = dict(_issuers(archive.settings.people.issuers)).get(issuer)
    if audience is None:
        raise NotSignedIn(what="This token is of an issuer that is not trusted here.")
    with _LOCK:
        known = _KNOWN.setdefault(issuer, Issuer(issuer))
    claims = known.claims(token, (audience, ANY_AUDIENCE))
    row = person_of(archive, of_claims("jwt", claims, groups="wlcg.groups"))
    with archive.database.transaction() as conn:
        found = people.all(conn, "groups", person=row["name"])
    standing = {group["name"]: Membership(group["role"], group["folder"]) for group in found}
    return Person(row["name"], row["role"], standing, scopes_of(claims) & set(USABLE[row["role"]]))


def _issuers(text: str) -> Iterator[tuple[str, str]]:
    """Yield (issuer, audience). Raises SettingsError."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        issuer, _, audience = part.rpartition("=")
        if not issuer or not audience:
            raise SettingsError(what=f"people.issuers: {part!r} is not ISSUER=AUDIENCE.")
        yield issuer, audience


def _newcomer(archive: Archive, conn: Connection, found: Recognised) -> Row | None:
    """Make an account for somebody who comes for the first time, or apply for one."""
    rule = archive.settings.people.newcomers
    if rule == "refuse":
        return None
    state = {"admit": "active", "apply": "applied"}[rule]
    name = next(
        name for name in _names(found)
        if not people.all(conn, "carries", name=name) and people.first(
            conn, "add", name=name, site=archive.site, title=found.title[:200], mail=found.mail[:254], role="member",
            state=state, reason=f"signed in by {found.kind} of {found.issuer}", by=None,
        )
    )  # fmt: skip
    credentials.run(conn, "add_other", person=name, kind=found.kind, issuer=found.issuer, subject=found.subject)
    told = {"name": name, "credential": found.kind, "issuer": found.issuer}
    if state == "active":
        events.add(conn, archive.site, "person.admitted", **told)
    else:
        events.add(conn, archive.site, "person.came", **told)
    return credentials.first(conn, "of_other", kind=found.kind, issuer=found.issuer, subject=found.subject)


def _names(found: Recognised) -> Iterator[str]:
    """Yield names that a newcomer may be called: the one that is wished, then with numbers."""
    wished = _NOT_IN_NAMES.sub(".", found.name.lower()).strip(".@+-_")[:_LONGEST] or "person"
    if wished not in {MEMBERS, EVERYONE}:
        yield wished
    number = 2
    while True:
        yield f"{wished}-{number}"
        number += 1


def _keep_groups(archive: Archive, conn: Connection, person: str, claimed: tuple[str, ...]) -> None:
    """Have the memberships that come from signing in be those that are claimed now."""
    wanted: dict[str, Role] = {}
    for group, role in _mapped(archive.settings.people.claims, claimed):
        if group not in wanted or ROLES.index(role) < ROLES.index(wanted[group]):
            wanted[group] = role
    for group, role in wanted.items():
        if groups.first(conn, "by_name", name=group):
            put_member(archive, conn, group, person, MemberWish(role=role), origin="login", by=person)
    for row in groups.all(conn, "by_login", person=person):
        if row["group"] not in wanted:
            end_member(archive, conn, row["group"], person, origin="login", by=person)


def _mapped(rules: str, claimed: tuple[str, ...]) -> Iterator[tuple[str, Role]]:
    """Yield (group, role) for each claim that a rule is for. Raises SettingsError for a rule that makes no sense."""
    for rule in filter(None, (part.strip() for part in rules.split(";"))):
        claim, _, target = rule.rpartition("=")
        group, _, named = target.rpartition(":")
        role = next((role for role in ROLES if role == named), None)
        if not claim or not group or role is None:
            raise SettingsError(what=f"people.claims: {rule!r} is not CLAIM=GROUP:ROLE.")
        for item in claimed:
            if claim.endswith("*") and item.startswith(claim[:-1]):
                yield group.replace("*", item[len(claim) - 1 :]), role
            elif item == claim:
                yield group, role
