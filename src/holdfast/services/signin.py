# SPDX-License-Identifier: Apache-2.0
"""From somebody whom another party vouches for to a person here: known, let in, or noted as an application.

Several credentials lead to one person, because an administrator said so; a name that is the same somewhere else proves
nothing. Groups that are claimed become memberships by rules of the settings, and end when who claimed them does so no more.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
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
from holdfast.services.rights import standing
from holdfast.wire.groups import MemberWish

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9._@+-]")
_LONGEST: Final = 56  # characters of a name, so that a number fits behind it
_KNOWN: Final[dict[str, Issuer]] = {}  # their keys are fetched once
_LATEST: Final = 253_402_300_799  # seconds since 1970: the last ones of the year 9999, after which there are no dates
_LOCK: Final = threading.Lock()
_CLAIMING: Final = frozenset({"oidc", "ldap"})  # whose groups are kept; of a JWT they count while it is shown
_NOT_YET: Final = "Your account waits until an administrator has approved it."
_NOT_HERE: Final = "You have no account here."


def person_of(archive: Archive, found: Recognised) -> Row:
    """Return the person (`name`, `role`) behind a credential, made or applied for if the settings say so.

    Raises NotSignedIn when there is none that may be used.
    """
    with archive.database.reading() as conn:  # of a JWT, this is for each call
        row = _known(conn, found)
    if row is None:
        with archive.database.transaction() as conn:
            credentials.run(conn, "coming", kind=found.kind, issuer=found.issuer, subject=found.subject)
            row = _known(conn, found) or _newcomer(archive, conn, found)
    if row and row["stale"]:
        with archive.database.reading() as conn:
            credentials.run(conn, "shown", id=row["credential"])
    if row and row["state"] == "active":
        if found.kind in _CLAIMING:
            with archive.database.transaction() as conn:
                _keep_groups(archive, conn, row["name"], found)
        return row
    if row is None or row["state"] == "disabled":
        raise SignInFailed(what=_NOT_HERE)
    raise SignInFailed(what=_NOT_YET)


def _known(conn: Connection, found: Recognised) -> Row | None:
    return credentials.first(conn, "of_other", kind=found.kind, issuer=found.issuer, subject=found.subject)


def by_jwt(archive: Archive, token: str) -> Person:
    """Return who shows a JWT of an issuer that is trusted. Raises NotSignedIn, Unreachable."""
    issuer = issuer_of(token)
    audience = dict(_issuers(archive.settings.people.issuers)).get(issuer)
    if audience is None:
        raise NotSignedIn(what="This token is of an issuer that is not trusted here.")
    with _LOCK:
        known = _KNOWN.setdefault(issuer, Issuer(issuer))
    claims = known.claims(token, (audience, ANY_AUDIENCE))
    found = of_claims("jwt", claims, groups="wlcg.groups")
    row = person_of(archive, found)
    with archive.database.reading() as conn:
        groups_of = standing(conn, row["name"])
        claimed = _claimed(archive, conn, found)
    groups_of |= {name: more for name, more in claimed.items() if not _above(groups_of.get(name), more.role)}
    scopes = scopes_of(claims) & set(USABLE[row["role"]])
    until = datetime.fromtimestamp(min(int(claims["exp"]), _LATEST), UTC)
    return Person(row["name"], row["role"], groups_of, scopes, until=until)


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
    return _known(conn, found)


def _names(found: Recognised) -> Iterator[str]:
    """Yield names that a newcomer may be called: the one that is wished, then with numbers."""
    letters = unicodedata.normalize("NFKD", found.name.casefold())  # Renée is renee, not ren.e: a name stays for good
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    wished = _NOT_IN_NAMES.sub(".", plain).strip(".@+-_")[:_LONGEST] or "person"
    if wished not in {MEMBERS, EVERYONE}:
        yield wished
    number = 2
    while True:
        yield f"{wished}-{number}"
        number += 1


def end_groups(
    archive: Archive, conn: Connection, person: str, origin: str, *, by: str, but: Collection[str] = ()
) -> None:
    """End the memberships that `origin` claimed, all `but` some."""
    for row in groups.all(conn, "by_origin", person=person, origin=origin):
        if row["group"] not in but:
            end_member(archive, conn, row["group"], person, origin=origin, by=by)


def origin_of(kind: str, issuer: str) -> str:
    """Return under which name memberships are kept that somebody else claims."""
    return f"{kind}:{issuer}"


def _keep_groups(archive: Archive, conn: Connection, person: str, found: Recognised) -> None:
    """Have the memberships that this provider or directory claims be those that it claims now."""
    origin, wanted = origin_of(found.kind, found.issuer), _claimed(archive, conn, found)
    for group, membership in wanted.items():
        put_member(archive, conn, group, person, MemberWish(role=membership.role), origin=origin, by=person)
    end_groups(archive, conn, person, origin, by=person, but=wanted)


def _claimed(archive: Archive, conn: Connection, found: Recognised) -> dict[str, Membership]:
    """Return what somebody is in groups of this archive, as the rules read the claims."""
    wanted: dict[str, Membership] = {}
    for name, role in _mapped(archive.settings.people.claims, found):
        group = groups.first(conn, "by_name", name=name)
        if group and not _above(wanted.get(name), role):
            wanted[name] = Membership(role, group["folder"])
    return wanted


def _above(known: Membership | None, role: Role) -> bool:
    return known is not None and ROLES.index(known.role) <= ROLES.index(role)


def _mapped(rules: str, found: Recognised) -> Iterator[tuple[str, Role]]:
    """Yield (group, role) for each claim that a rule is for. Raises SettingsError for a rule that makes no sense.

    A rule that names no issuer is for the provider and the directory of the settings, not for all whose JWTs are good.
    """
    for rule in filter(None, (part.strip() for part in rules.split(";"))):
        claim, _, target = rule.rpartition("=")
        group, _, named = target.rpartition(":")
        role = next((role for role in ROLES if role == named), None)
        issuer, _, rest = claim.partition(" ")
        if "://" in issuer and rest:
            claim = rest
        else:
            issuer = found.issuer if found.kind != "jwt" else ""
        if not claim or not group or role is None:
            raise SettingsError(what=f"people.claims: {rule!r} is not CLAIM=GROUP:ROLE, or ISSUER CLAIM=GROUP:ROLE.")
        for item in found.groups if issuer == found.issuer else ():
            if claim.endswith("*") and item.startswith(claim[:-1]):
                yield group.replace("*", item[len(claim) - 1 :]), role
            elif item == claim:
                yield group, role
