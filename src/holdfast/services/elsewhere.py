# SPDX-License-Identifier: Apache-2.0
"""Sign-ins at the provider of the settings, from their beginning here to the token or session at their end."""

from __future__ import annotations

import hmac
import secrets
import threading
from typing import Final

from holdfast.catalog import events
from holdfast.catalog.queries import credentials, people
from holdfast.errors import Conflict, NotFound, NotSignedIn, SettingsError, SignInFailed
from holdfast.identity.certificate import common_name
from holdfast.identity.oidc import Provider
from holdfast.identity.password import digest
from holdfast.identity.recognised import Recognised
from holdfast.services.archive import Archive
from holdfast.services.login import attempt, forgive
from holdfast.services.signin import end_groups, origin_of, person_of
from holdfast.services.tokens import add_token
from holdfast.settings import Oidc
from holdfast.wire.people import MadeToken
from holdfast.wire.signin import Credential, DeviceSignIn, NewCredential

SESSION: Final = 12 * 3600.0  # seconds that a browser stays signed in
_PROVIDERS: Final[dict[Oidc, Provider]] = {}  # each describes itself once
_LOCK: Final = threading.Lock()
_WHAT: Final = "sign-in"  # is counted for each address: the provider is asked, whoever begins one
_OVER: Final = "This sign-in is over, or was not begun here."


def begin(archive: Archive, *, redirect: str, then: str, address: str) -> tuple[str, str]:
    """Begin a sign-in with a browser; return where to send it, and what it has to bring back.

    `then` is a path of the archive to go to in the end. Raises SettingsError, TooManyAttempts, Unreachable.
    """
    attempt(archive, _WHAT, name=None, address=address)
    begun = _provider(archive).begin(redirect)
    with archive.database.transaction() as conn:
        credentials.run(
            conn, "begin", digest=digest(begun.state), nonce=begun.nonce, verifier=begun.verifier, next=then,
            device_code=None, pause=0,
        )  # fmt: skip
    return begun.url, begun.state


def finish(archive: Archive, *, state: str, kept: str, code: str, redirect: str, address: str) -> tuple[MadeToken, str]:
    """End a sign-in with a browser; return the session's token, and where to go.

    `kept` is what the browser kept, which must be the `state` that the provider gives back: nobody is signed in as somebody
    else by a link. Raises NotSignedIn, Unreachable, Busy.
    """
    if not hmac.compare_digest(state.encode(), kept.encode()):
        raise SignInFailed(what=_OVER)
    provider = _provider(archive)
    with provider.place():  # before it is over: who finds none comes again
        with archive.database.transaction() as conn:
            row = credentials.first(conn, "end", digest=digest(state))
        if row is None:
            raise SignInFailed(what=_OVER)
        found = provider.finish(code, nonce=row["nonce"], verifier=row["verifier"], redirect=redirect)
    forgive(archive, _WHAT, name=None, address=address)
    return _token(archive, found, label="a browser", kind="session", lifetime=SESSION), row["next"]


def begin_device(archive: Archive, *, address: str) -> DeviceSignIn:
    """Begin a sign-in on another device. Raises SettingsError, TooManyAttempts, Unreachable, Busy."""
    attempt(archive, _WHAT, name=None, address=address)
    provider, handle = _provider(archive), secrets.token_urlsafe(32)
    with provider.place():
        device = provider.begin_device()
    with archive.database.transaction() as conn:
        credentials.run(
            conn, "begin", digest=digest(handle), device_code=device.device_code, pause=device.interval, nonce="",
            verifier="", next="",
        )  # fmt: skip
    return DeviceSignIn(
        handle=handle, address=device.address, code=device.user_code, interval=device.interval, expires=device.expires
    )


def finish_device(archive: Archive, handle: str, *, label: str, address: str) -> MadeToken | None:
    """Return a token for who signed in on another device, None as long as nobody did.

    However often this is called, the provider is asked no more often than it wants to be. Raises NotSignedIn, Unreachable, Busy.
    """
    with archive.database.transaction() as conn:
        row = credentials.first(conn, "ask", digest=digest(handle))
    if row is None:
        raise SignInFailed(what=_OVER)
    if not row["due"]:
        return None
    provider = _provider(archive)
    with provider.place():
        found = provider.finish_device(row["device_code"])
    if not isinstance(found, Recognised):
        if found == "slow_down":
            with archive.database.transaction() as conn:
                credentials.run(conn, "slower", digest=digest(handle))
        return None
    with archive.database.transaction() as conn:
        if credentials.first(conn, "end", digest=digest(handle)) is None:
            raise SignInFailed(what=_OVER)
    forgive(archive, _WHAT, name=None, address=address)
    return _token(archive, found, label=label, kind="login", lifetime=None)


def believe_proxy(archive: Archive, secret: str) -> None:
    """Raise NotSignedIn unless the proxy in front says what follows, and not somebody who calls."""
    wanted = archive.settings.x509.secret
    if not wanted or not hmac.compare_digest(secret.encode("utf-8", "replace"), wanted.encode()):
        raise NotSignedIn(what="What this proxy says of certificates is not believed here.")


def by_certificate(archive: Archive, *, subject: str, issuer: str, label: str) -> MadeToken:
    """Return a token for whose certificate was checked. Raises NotSignedIn."""
    if not subject or not issuer:
        raise SignInFailed(what="You sent no certificate, or one that is not believed.")
    common = common_name(subject)
    found = Recognised("x509", issuer, subject, name=common, title=common)
    return _token(archive, found, label=label, kind="login", lifetime=None)


def credential_list(archive: Archive, name: str) -> list[Credential]:
    """Return how a person is recognised. Raises NotFound."""
    with archive.database.reading() as conn:
        if people.first(conn, "by_name", name=name) is None:
            raise NotFound(kind="person", name=name)
        return [Credential(**row) for row in credentials.all(conn, "all_of", person=name)]


def add_credential(archive: Archive, name: str, wish: NewCredential, *, by: str) -> list[Credential]:
    """Have a person be recognised in one more way. Idempotent. Raises NotFound, Conflict (it is another's)."""
    with archive.database.transaction() as conn:
        if people.first(conn, "by_name", name=name) is None:
            raise NotFound(kind="person", name=name)
        if credentials.run(conn, "add_other", person=name, **wish.model_dump()):
            events.add(
                conn, archive.site, "person.recognised", person=by, name=name, credential=wish.kind, issuer=wish.issuer
            )
        else:
            row = credentials.first(conn, "of_other", **wish.model_dump())
            if row is None or row["name"] != name:
                whose = row["name"] if row else "somebody else"
                raise Conflict(
                    what=f"This credential is of {whose}. Take it from there first: holdfast admin person credentials {whose}."
                )
    return credential_list(archive, name)


def remove_credential(archive: Archive, name: str, credential: int, *, by: str) -> list[Credential]:
    """Have a person be recognised in one way less; what it claimed of groups ends. Idempotent. Raises NotFound."""
    with archive.database.transaction() as conn:
        if row := credentials.first(conn, "remove", person=name, id=credential):
            end_groups(archive, conn, name, origin_of(row["kind"], row["issuer"]), by=by)
            events.add(
                conn,
                archive.site,
                "person.forgotten",
                person=by,
                name=name,
                credential=row["kind"],
                issuer=row["issuer"],
            )
    return credential_list(archive, name)


def _token(archive: Archive, found: Recognised, *, label: str, kind: str, lifetime: float | None) -> MadeToken:
    person = person_of(archive, found)
    with archive.database.transaction() as conn:
        return add_token(
            archive, conn, person=person["name"], role=person["role"], by=person["name"], label=label, kind=kind,
            lifetime=lifetime,
        )  # fmt: skip


def _provider(archive: Archive) -> Provider:
    wanted = archive.settings.oidc
    if not wanted.issuer:
        raise SettingsError(what="This archive has no provider to sign in at (setting oidc.issuer).")
    with _LOCK:
        if wanted not in _PROVIDERS:
            _PROVIDERS[wanted] = Provider(
                wanted.issuer, client=wanted.client, secret=wanted.secret, scopes=wanted.scopes, groups=wanted.groups
            )
        return _PROVIDERS[wanted]
