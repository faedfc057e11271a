# SPDX-License-Identifier: Apache-2.0
"""Tokens: what a person shows with each call. The secret is told once and never kept; only its digest is."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import tokens
from holdfast.errors import Conflict, InvalidInput, NotAllowed, NotFound, NotSignedIn
from holdfast.identity.password import digest
from holdfast.model.ids import new_id
from holdfast.model.rights import SCOPES, USABLE, Membership, Person, Scope, SiteRole, allowed
from holdfast.services.archive import Archive
from holdfast.wire.people import EndedToken, MadeToken, Token

_PREFIX: Final = "hf_"  # so that programs that look for secrets in public places find ours
_BYTES: Final = 32  # 256 bits
_LISTED: Final = 1000
_MOMENT: Final = 1.0  # seconds for which somebody is remembered
_MOST: Final = 10_000  # persons who are remembered, some 1 KB each
_NOT_GOOD: Final = "This token is not valid: it is unknown, has expired or was revoked."


def new_secret() -> str:
    """Return a token that nobody has."""
    return _PREFIX + secrets.token_urlsafe(_BYTES)


def by_token(archive: Archive, secret: str, *, used_from: str) -> Person:
    """Return who shows a token, and note that it was used. Raises NotSignedIn when it is not, or no more, good."""
    with archive.database.reading() as conn:
        row = tokens.first(conn, "good", digest=digest(secret))
        if row is None:
            raise NotSignedIn(what=_NOT_GOOD)
        if row["stale"]:
            tokens.run(conn, "used", id=row["token"], used_from=used_from)
    groups = {name: Membership(role, folder) for name, role, folder in row["groups"]}
    return Person(row["name"], row["role"], groups, frozenset(row["scopes"]), row["token"], row["until_at"])


class Known:
    """Who showed which token a moment ago: a page is many calls, and the catalogue need not be asked at each.

    What this process changes it knows of at once; what another one changes (a token that is revoked by a server beside
    this one), or what time does, after a second at most.
    """

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[Person, float, object]] = {}

    def person(self, archive: Archive, secret: str) -> Person | None:
        """Return who showed this token a moment ago, None if nobody did."""
        person, until, change = self._found.get(digest(secret), (None, 0.0, None))
        return person if change is archive.database.change and time.monotonic() < until else None

    def ask(self, archive: Archive, secret: str, *, used_from: str) -> Person:
        """Return who shows a token, and remember it. Raises NotSignedIn."""
        change, until = archive.database.change, time.monotonic() + _MOMENT  # of before it is asked
        person = by_token(archive, secret, used_from=used_from)
        if len(self._found) >= _MOST:
            self._found.clear()
        self._found[digest(secret)] = person, until, change
        return person


def add_token(
    archive: Archive,
    conn: Connection,
    *,
    person: str,
    role: SiteRole,
    by: str,
    label: str,
    scopes: Sequence[Scope] = (),
    lifetime: float | None = None,
    until: datetime | None = None,
    kind: str = "token",
    made_with: str | None = None,
) -> MadeToken:
    """Make a token of a person, with its secret; no scopes: all that the role admits. `lifetime` in seconds, to `until` at most.

    `made_with` is the token that was shown for that: when it is revoked, this one is.

    Raises InvalidInput, NotAllowed (scopes beyond the role).
    """
    limits, chosen = archive.settings.people, list(scopes) or list(USABLE[role])
    seconds = limits.token_lifetime if lifetime is None else lifetime
    if not 0 < seconds <= limits.token_longest:
        raise InvalidInput(what=f"A token lives for at most {limits.token_longest:.0f} seconds (people.token_longest).")
    if beyond := set(chosen) - set(USABLE[role]):
        raise NotAllowed(action=f"have a token for {', '.join(sorted(beyond))}: {person} is {role} here")
    ident, secret = new_id(), new_secret()
    tokens.run(
        conn, "add", id=ident, person=person, kind=kind, digest=digest(secret), label=label,
        scopes=sorted(set(chosen), key=SCOPES.index), seconds=seconds, until=until, made_with=made_with,
    )  # fmt: skip
    events.add(conn, archive.site, "token.added", person=by, token=ident, name=person, label=label, scopes=chosen)
    row = tokens.first(conn, "by_id", id=ident)
    return MadeToken(**_told(row or {}), secret=secret)


def another(
    archive: Archive, person: Person, *, label: str, scopes: Sequence[Scope], lifetime: float | None
) -> MadeToken:
    """Make another token of who calls, never good for more than the one shown, nor, unless somebody signed in for that, for longer.

    Raises InvalidInput, NotAllowed, NotSignedIn (it has ended meanwhile).
    """
    chosen = list(scopes) or sorted(person.scopes & set(USABLE[person.role]), key=SCOPES.index)
    if beyond := set(chosen) - person.scopes:
        raise NotAllowed(action=f"make a token for {', '.join(sorted(beyond))} with one that is not good for it")
    with archive.database.transaction() as conn:
        if person.token and tokens.first(conn, "hold", id=person.token) is None:
            raise NotSignedIn(what=_NOT_GOOD)
        return add_token(
            archive, conn, person=person.name, role=person.role, by=person.name, label=label, scopes=chosen,
            lifetime=lifetime, until=person.until, made_with=person.token or None,
        )  # fmt: skip


def token_list(archive: Archive, person: str, *, ended: bool) -> list[Token]:
    """Return the tokens of a person, the newest first; `ended`: also those that are good no more."""
    with archive.database.reading() as conn:
        return [Token(**_told(row)) for row in tokens.all(conn, "of_person", person=person, ended=ended, limit=_LISTED)]


def revoke(archive: Archive, ident: str, *, person: Person) -> EndedToken:
    """End a token for good, one's own or as an administrator anybody's, with all that were made with it. Idempotent.

    Raises NotFound, Conflict.
    """
    with archive.database.transaction() as conn:
        row = tokens.first(conn, "by_id", id=ident)
        if row is None or not (row["person"] == person.name or allowed(person, "administer", ())):
            raise NotFound(kind="token", name=ident)
        _not_of_folder(row)
        ended = _revoke(archive, conn, ident, by=person.name)
        row = tokens.first(conn, "by_id", id=ident)
    return EndedToken(**_told(row or {}), others=[other for other in ended if other != ident])


def end_all(conn: Connection, person: str, *, but: str = "") -> int:
    """End all tokens of a person, `but` one, and return how many; that of the data folder stays good for who has the folder."""
    ended = 0
    while some := tokens.run(
        conn, "revoke_all", person=person, **{"except": but}
    ):  # again: one may have been made while others were waited for
        ended += some
    return ended


def log_out(archive: Archive, person: Person) -> None:
    """End the token that was shown, and none that was made with it. Raises Conflict."""
    with archive.database.transaction() as conn:
        row = tokens.first(conn, "by_id", id=person.token)
        if row is None:
            raise Conflict(
                what="This is a token of another issuer: it is good until it ends, or its issuer says otherwise."
            )
        _not_of_folder(row)
        if tokens.first(conn, "end", id=person.token):
            events.add(conn, archive.site, "token.revoked", person=person.name, token=person.token, name=row["person"])


def admit_folder(archive: Archive, conn: Connection, *, person: str, secret: str) -> None:
    """Make the token of the data folder good for a person, and the one before it no more. Idempotent."""
    kept = digest(secret)
    for row in tokens.all(conn, "folders_before", digest=kept):
        _revoke(archive, conn, row["id"], by=person)
    tokens.run(conn, "of_folder", id=new_id(), person=person, digest=kept, scopes=list(SCOPES))


def _revoke(archive: Archive, conn: Connection, ident: str, *, by: str) -> list[str]:
    """End a token and all that were made with it, and return which that were."""
    ended: list[str] = []
    while rows := tokens.all(conn, "revoke", id=ident):  # again: one may have been made while others were waited for
        for row in rows:
            events.add(conn, archive.site, "token.revoked", person=by, token=row["id"], name=row["person"])
            ended.append(row["id"])
    return ended


def _not_of_folder(row: Row) -> None:
    if row["kind"] == "folder":
        raise Conflict(
            what="This is the token of the data folder: whoever has the folder has it. Remove the file `token` "
            "there and start the archive again to get another one."
        )


def _told(row: Row) -> Row:
    return {key: row[key] for key in Token.model_fields}
