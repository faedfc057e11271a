# SPDX-License-Identifier: Apache-2.0
"""Calls about persons: logging in, tokens, accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import httpx

from holdfast.client.connection import Connection, segment
from holdfast.model.rights import Scope
from holdfast.wire.people import (
    Application,
    Applied,
    DisableWish,
    EndedToken,
    Login,
    MadeToken,
    NewPerson,
    OncePassword,
    PasswordChange,
    Person,
    PersonChange,
    PersonPage,
    Self,
    Token,
    TokenPage,
    TokenWish,
)
from holdfast.wire.signin import Credential, CredentialPage, DeviceSignIn, NewCredential

_PATIENCE: Final = 30.0  # seconds; who waits sits in front of it


class People(Connection):
    """Persons and their tokens."""

    def login(self, name: str, password: str, *, label: str = "") -> MadeToken:
        """Return a token for name and password; this connection goes on with the one that it has."""
        return self._understood(
            MadeToken, self._sign_in("/login", Login(name=name, password=password, label=label)).content
        )

    def login_by_certificate(self, *, label: str = "") -> MadeToken:
        """Return a token for the certificate of this connection."""
        response = self._send("POST", "/login/certificate", None, params={"label": label})
        return self._understood(MadeToken, response.content)

    def begin_sign_in(self) -> DeviceSignIn:
        """Begin to sign in with a browser on any device."""
        return self._understood(DeviceSignIn, self._sign_in("/login/device", None).content)

    def sign_in(self, handle: str, *, label: str = "") -> MadeToken | None:
        """Return a token once somebody has signed in on the other device, None until then."""
        response = self._sign_in(f"/login/device/{segment(handle)}", None, params={"label": label})
        return self._understood(MadeToken, response.content) if response.content else None

    def _sign_in(self, route: str, wish: Login | None, **how: Any) -> httpx.Response:
        """Call what is busy for a moment when many sign in at once."""
        content = wish.model_dump_json() if wish else None
        headers = {"Content-Type": "application/json"}
        response = self._patiently(lambda: self._http.post(route, content=content, headers=headers, **how), _PATIENCE)
        if not response.is_success:
            self._refuse(response)
        return response

    def credentials(self, name: str) -> list[Credential]:
        """Return how a person is recognised."""
        return self._get(f"/people/{segment(name)}/credentials", CredentialPage).items

    def add_credential(self, name: str, wish: NewCredential) -> list[Credential]:
        """Have a person be recognised in one more way."""
        return self._post(f"/people/{segment(name)}/credentials", wish, CredentialPage).items

    def remove_credential(self, name: str, credential: int) -> list[Credential]:
        """Have a person be recognised in one way less."""
        response = self._send("DELETE", f"/people/{segment(name)}/credentials/{credential}", None)
        return self._understood(CredentialPage, response.content).items

    def logout(self) -> None:
        """Revoke the token of this connection."""
        self._send("POST", "/logout", None)

    def change_password(self, name: str, *, old: str, new: str) -> None:
        """Choose another password; all other tokens of this person are revoked."""
        self._send("POST", "/password", PasswordChange(name=name, old=old, new=new))

    def whoami(self) -> Self:
        """Return who calls, in which groups, and what the token is good for."""
        return self._get("/whoami", Self)

    def tokens(self, *, of: str | None = None, ended: bool = False) -> list[Token]:
        """Return one's tokens or, as an administrator, those of somebody, the newest first."""
        return self._get("/tokens", TokenPage, of=of, ended=ended).items

    def add_token(self, *, label: str = "", scopes: Sequence[Scope] = (), lifetime: float | None = None) -> MadeToken:
        """Make another token, good for so many seconds; its secret is in this answer only."""
        return self._post("/tokens", TokenWish(label=label, scopes=list(scopes), lifetime=lifetime), MadeToken)

    def revoke_token(self, token: str) -> EndedToken:
        """End a token for good, by its id, with all that were made with it."""
        return self._post(f"/tokens/{segment(token)}/revoke", None, EndedToken)

    def apply(self, application: Application) -> Applied:
        """Ask for an account; needs no token."""
        return self._post("/applications", application, Applied)

    def people(self, *, state: str | None = None, search: str = "") -> Iterator[Person]:
        """Yield persons by name."""
        cursor: str | None = None
        while True:
            page = self._get("/people", PersonPage, cursor=cursor, state=state, search=search)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def person(self, name: str) -> Person:
        """Return all that is known of an account."""
        return self._get(f"/people/{segment(name)}", Person)

    def add_person(self, person: NewPerson) -> Person:
        """Make an account, without any way to log in yet."""
        return self._post("/people", person, Person)

    def approve_person(self, name: str) -> Person:
        """Take an account into use that was applied for."""
        return self._post(f"/people/{segment(name)}/approve", None, Person)

    def disable_person(self, name: str, reason: str) -> Person:
        """Take an account out of use, or decline an application."""
        return self._post(f"/people/{segment(name)}/disable", DisableWish(reason=reason), Person)

    def enable_person(self, name: str) -> Person:
        """Take an account into use again."""
        return self._post(f"/people/{segment(name)}/enable", None, Person)

    def change_person(self, name: str, change: PersonChange) -> Person:
        """Change title, mail address or role."""
        return self._post(f"/people/{segment(name)}/set", change, Person)

    def give_password(self, name: str) -> OncePassword:
        """Make a password for somebody that is good once, to choose another."""
        return self._post(f"/people/{segment(name)}/password", None, OncePassword)
