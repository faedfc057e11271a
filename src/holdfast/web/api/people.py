# SPDX-License-Identifier: Apache-2.0
"""Logging in, tokens, applications for accounts, and what administrators do with accounts."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Request, Response

from holdfast.errors import NotAllowed
from holdfast.model.rights import RIGHTS
from holdfast.services import login, people, tokens
from holdfast.services.rights import may
from holdfast.web import paging
from holdfast.web.api.datasets import Cursor, Limit
from holdfast.web.caller import Caller, TheArchive, Visitor, address_of, cookie_of
from holdfast.web.problems import responses
from holdfast.web.routing import Router
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
    TokenPage,
    TokenWish,
)

router = Router(tags=["people"])
State = Literal["applied", "active", "disabled"]
Search = Annotated[str, Query(max_length=200, description="part of a name, title or mail address")]


@router.post("/login", status_code=201, responses=responses(429))
def log_in(wish: Login, archive: TheArchive, request: Request) -> MadeToken:
    """Give a token for name and password; needs no token. The secret is in this answer only.

    The answer to an unknown name, a wrong password and an account that is not in use is the same. One that says
    `password-change-needed` means that the password is good only for `POST /password`.
    """
    return login.login(archive, address=address_of(request), **wish.model_dump())


@router.post("/logout", status_code=204, responses=responses(409))
def log_out(archive: TheArchive, person: Caller) -> Response:
    """End the token that is shown, and none that was made with it; a browser forgets it."""
    tokens.log_out(archive, person)
    answer = Response(status_code=204)
    answer.delete_cookie(cookie_of(archive))
    return answer


@router.post("/password", status_code=204, responses=responses(429))
def change_password(wish: PasswordChange, archive: TheArchive, person: Visitor, request: Request) -> Response:
    """Choose another password; needs the old one and no token. All other tokens of this person are revoked."""
    keep = person.token if person.name == wish.name else ""
    login.change_password(archive, address=address_of(request), keep=keep, **wish.model_dump())
    return Response(status_code=204)


@router.get("/whoami", responses=responses())
def whoami(archive: TheArchive, person: Caller) -> Self:
    """Tell who calls, in which groups, and what the token is good for."""
    return people.whoami(archive, person)


@router.get("/tokens", responses=responses(404))
def token_list(archive: TheArchive, person: Caller, of: str | None = None, *, ended: bool = False) -> TokenPage:
    """List one's tokens or, as an administrator, those `of` somebody; with `ended`, also those that are good no more."""
    if of not in {None, person.name}:
        may(archive, person, "administer")
        people.person(archive, str(of))
    elif "read" not in person.scopes:
        raise NotAllowed(action=RIGHTS["own"].does)
    return TokenPage(items=tokens.token_list(archive, of or person.name, ended=ended))


@router.post("/tokens", status_code=201, responses=responses())
def add_token(wish: TokenWish, archive: TheArchive, person: Caller) -> MadeToken:
    """Make another token, good for what the one shown is at most and, unless that is of a login, until it ends.

    The secret is in this answer only.

    Repeating the call makes another token: the secret of the first is not kept, so it could not be told again.
    """
    may(archive, person, "own")
    return tokens.another(archive, person, **wish.model_dump())


@router.post("/tokens/{token}/revoke", responses=responses(404, 409))
def revoke_token(token: str, archive: TheArchive, person: Caller) -> EndedToken:
    """End a token for good, with all that were made with it. Repeating it changes nothing."""
    may(archive, person, "own")
    return tokens.revoke(archive, token, person=person)


@router.post("/applications", status_code=202, responses=responses(409, 429))
def apply(wish: Application, archive: TheArchive, request: Request) -> Applied:
    """Ask for an account; needs no token. It can be used once an administrator has approved it."""
    return people.apply(archive, wish, address=address_of(request))


@router.get("/people", responses=responses())
def person_list(
    archive: TheArchive, person: Caller, state: State | None = None, search: Search = "", cursor: Cursor = None,
    limit: Limit = 100,
) -> PersonPage:  # fmt: skip
    """List persons by name."""
    may(archive, person, "administer")
    [after] = paging.take(cursor, 1) or [""]
    items = people.person_list(archive, after=after, limit=limit, state=state, search=search)
    return PersonPage(items=items, next=paging.give(items[-1].name) if len(items) == limit else None)


@router.get("/people/{name}", responses=responses(404))
def one_person(name: str, archive: TheArchive, person: Caller) -> Person:
    """Tell all that is known of an account."""
    may(archive, person, "administer")
    return people.person(archive, name)


@router.post("/people", status_code=201, responses=responses(409))
def add_person(wish: NewPerson, archive: TheArchive, person: Caller) -> Person:
    """Make an account, without any way to log in yet. Repeating it changes nothing."""
    may(archive, person, "administer")
    return people.add(archive, wish, by=person.name)


@router.post("/people/{name}/approve", responses=responses(404, 409))
def approve(name: str, archive: TheArchive, person: Caller) -> Person:
    """Take an account into use that was applied for, or say that one that was admitted is whose name it has.

    Repeating it changes nothing.
    """
    may(archive, person, "administer")
    return people.approve(archive, name, by=person.name)


@router.post("/people/{name}/disable", responses=responses(404, 409))
def disable(name: str, wish: DisableWish, archive: TheArchive, person: Caller) -> Person:
    """Take an account out of use and revoke its tokens, or decline an application. Repeating it changes nothing."""
    may(archive, person, "administer")
    return people.disable(archive, name, reason=wish.reason, by=person.name)


@router.post("/people/{name}/enable", responses=responses(404, 409))
def enable(name: str, archive: TheArchive, person: Caller) -> Person:
    """Take an account into use again. Repeating it changes nothing."""
    may(archive, person, "administer")
    return people.enable(archive, name, by=person.name)


@router.post("/people/{name}/set", responses=responses(404, 409))
def change(name: str, wish: PersonChange, archive: TheArchive, person: Caller) -> Person:
    """Change title, mail address or role. Repeating it changes nothing."""
    may(archive, person, "administer")
    return people.change(archive, name, wish, by=person.name)


@router.post("/people/{name}/password", responses=responses(404, 409))
def give_password(name: str, archive: TheArchive, person: Caller) -> OncePassword:
    """Make a password that is good once, within a week, to choose another; the one before it and all tokens end."""
    may(archive, person, "administer")
    return login.give_password(archive, name, by=person)
