# SPDX-License-Identifier: Apache-2.0
"""Logging in with name and password, and choosing another password.

Whether a name is unknown, the password wrong or the account not in use: the answer has the same words and takes the same
time. Attempts are counted before anything is compared, for the name and for the address, in the catalogue: so no number
of web processes, and no calls at the same time, give anybody more of them.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import credentials, people
from holdfast.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PasswordChangeNeeded,
    SignInFailed,
    TooManyAttempts,
    TransientError,
)
from holdfast.identity import ldap
from holdfast.identity.password import hashed, made, matches, renewed, same
from holdfast.identity.recognised import Recognised
from holdfast.model.rights import Person, Scope
from holdfast.services.archive import Archive
from holdfast.services.signin import person_of
from holdfast.services.tokens import add_token, end_all
from holdfast.wire.people import MadeToken, OncePassword

_ADDRESS_SHARE: Final = 10  # times as many attempts from one address, behind which a whole institute may be
_NETWORK: Final = 64  # bits of an IPv6 address that are those of the network (RFC 4291)
_ONCE: Final = 7 * 86400.0  # seconds that a password is good which somebody else made
_WRONG: Final = "The name or the password is wrong, or the account is not in use."


def login(
    archive: Archive,
    *,
    name: str,
    password: str,
    address: str,
    label: str = "",
    scopes: Sequence[Scope] = (),
    lifetime: float | None = None,
) -> MadeToken:
    """Return a token for who knows the password. `lifetime` in seconds.

    Raises NotSignedIn, TooManyAttempts, PasswordChangeNeeded, InvalidInput, NotAllowed (scopes beyond the role).
    """
    kind = "token" if scopes or lifetime else "login"  # what was asked for as less makes nothing that is more
    attempt(archive, "login", name=name, address=address)
    try:
        found = _in_directory(archive, name, password)
    except TransientError:  # it compared nothing
        forgive(archive, "login", name=name, address=address)
        raise
    row = None if found else _local(archive, name, password)
    forgive(archive, "login", name=name, address=address)
    if row and row["once_until"] is not None:
        raise PasswordChangeNeeded
    secret = renewed(password, row["secret"]) if row else ""
    person = person_of(archive, found) if found else None
    with archive.database.transaction() as conn:
        if row:
            credentials.run(conn, "used", id=row["id"], secret=secret)
            person = people.first(conn, "by_name", name=row["person"])
        if person is None:
            raise SignInFailed(what=_WRONG)
        return add_token(
            archive, conn, person=person["name"], role=person["role"], by=person["name"], label=label, scopes=scopes,
            lifetime=lifetime, kind=kind,
        )  # fmt: skip


def change_password(archive: Archive, *, name: str, old: str, new: str, address: str, keep: str = "") -> None:
    """Have a person choose another password; all tokens of the person but `keep` are good no more.

    Raises NotSignedIn, TooManyAttempts, InvalidInput.
    """
    attempt(archive, "login", name=name, address=address)
    row = _local(archive, name, old)
    forgive(archive, "login", name=name, address=address)
    if same(old, new):  # one that somebody else made would stay known to who made it
        raise InvalidInput(what="The new password is the old one. Choose another one.")
    secret = hashed(new)  # it costs as much as a login, so only for who proved to be the person
    with archive.database.transaction() as conn:
        credentials.run(conn, "set_local", name=row["person"], secret=secret, once=None)
        ended = end_all(conn, row["person"], but=keep)
        events.add(
            conn, archive.site, "person.password-changed", person=row["person"], name=row["person"], tokens=ended
        )


def give_password(archive: Archive, name: str, *, by: Person) -> OncePassword:
    """Return a password that is good once, to choose another; it replaces the one that there was, and ends all tokens.

    Raises NotFound, Conflict (the account is not in use).
    """
    password = made()
    secret = hashed(password)
    with archive.database.transaction() as conn:
        person = people.first(conn, "by_name", name=name)
        if person is None:
            raise NotFound(kind="person", name=name)
        if person["state"] != "active":
            raise Conflict(what=f"The account of {name} is {person['state']}. Approve or enable it first.")
        credentials.run(conn, "set_local", name=name, secret=secret, once=_ONCE)
        ended = end_all(conn, name, but=by.token)
        events.add(conn, archive.site, "person.password-given", person=by.name, name=name, tokens=ended)
    return OncePassword(name=name, password=password)


def attempt(archive: Archive, what: str, *, name: str | None, address: str) -> None:
    """Count that somebody tries. Raises TooManyAttempts. The first refusal is told by an event."""
    settings = archive.settings.people
    refused, admitted = 0.0, list[bytes]()
    with archive.database.transaction() as conn:
        for who, most in _counted(what, name, address, settings.attempts):
            row = credentials.first(conn, "attempt", what=what, who=who, window=settings.attempts_window, most=most)
            if row is None or not row["refused"]:
                admitted.append(who)
                continue
            refused = max(refused, row["seconds"])
            if row["refused"] == 1:
                known = name is not None and people.first(conn, "by_name", name=name) is not None
                events.add(
                    conn, archive.site, "login.failed", what=what, name=name if known else None, address=address,
                    attempts=most,
                )  # fmt: skip
        if refused:  # by one of them: it counts for none
            credentials.run(conn, "forgive", what=what, whos=admitted)
    if refused:
        raise TooManyAttempts(seconds=max(1, round(refused)))


def forgive(archive: Archive, what: str, *, name: str | None, address: str) -> None:
    """Count an attempt no more: it succeeded."""
    with archive.database.transaction() as conn:
        credentials.run(conn, "forgive", what=what, whos=[who for who, _ in _counted(what, name, address, 0)])


def expire_attempts(archive: Archive, conn: Connection) -> None:
    """Forget what counts no more, and sign-ins that nobody came back from."""
    credentials.run(conn, "forget_begun")
    credentials.run(conn, "forget_attempts", window=archive.settings.people.attempts_window)


def _counted(what: str, name: str | None, address: str, most: int) -> list[tuple[bytes, int]]:
    """Return whose attempts are counted, with how many each may make; always in the same order, so none deadlocks."""
    names = [] if name is None else [(_digest("name", _letters(name)), most)]
    return [*names, (_digest("address", _network(address)), most if what == "application" else most * _ADDRESS_SHARE)]


def _in_directory(archive: Archive, name: str, password: str) -> Recognised | None:
    """Return who has this name and password in the directory, if there is one and no local account has the name.

    Raises Unreachable, Busy.
    """
    if not archive.settings.ldap.url:
        return None
    with archive.database.reading() as conn:
        row = credentials.first(conn, "local", name=name)
    if row and row["state"] == "active":  # who applies for a name keeps nobody out who has it in the directory
        return None
    return ldap.recognise(archive.settings.ldap, name, password)


def _letters(name: str) -> str:
    """Return letters and digits of a name: directories differ in what else they pass over, and guesses count together."""
    return "".join(char for char in unicodedata.normalize("NFKD", name).casefold() if char.isalnum())


def _network(address: str) -> str:
    """Return the network of an IPv6 address, of which anybody has 2^64; another address as it is."""
    try:
        found = ip_address(address)
    except ValueError:  # of a socket that has none
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or IPv6Network((int(found), _NETWORK), strict=False))
    return address


def _digest(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}:{text}".encode("utf-8", "surrogatepass")).digest()


def _local(archive: Archive, name: str, password: str) -> Row:
    """Return the credential of who knows its password. Raises SignInFailed."""
    with archive.database.reading() as conn:
        row = credentials.first(conn, "local", name=name)
    usable = row is not None and row["state"] == "active" and not row["over"]
    if not matches(password, row["secret"] if row and usable else None) or row is None:
        raise SignInFailed(what=_WRONG)
    return row
