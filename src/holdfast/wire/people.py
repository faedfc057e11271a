# SPDX-License-Identifier: Apache-2.0
"""Persons, their tokens, and how they log in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from holdfast.model.rights import EVERYONE, MEMBERS, Role, Scope
from holdfast.wire.model import Model

WorkingRole = Literal["admin", "operator", "member"]


def _no_crowd(name: str) -> str:
    if name in {MEMBERS, EVERYONE}:
        raise ValueError("this name stands for many people")
    return name


PersonName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9._@+-]{0,63}$", description="lower-case letters, digits, . _ @ + -; 64 at most"),
    AfterValidator(_no_crowd),
]
Title = Annotated[str, Field(max_length=200, description="as people write the whole name: Dr Marie Curie")]
Mail = Annotated[str, Field(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$")]
Password = Annotated[str, Field(max_length=1024)]
NewPassword = Annotated[str, Field(min_length=12, max_length=1024)]
Reason = Annotated[str, Field(max_length=1000)]
Label = Annotated[str, Field(max_length=200, description="what it is for")]
Scopes = Annotated[list[Scope], Field(description="what it is good for; empty: all that it may be")]
Lifetime = Annotated[float | None, Field(gt=0, description="seconds; null: people.token_lifetime")]


class Login(Model):
    """Somebody wants a token for name and password."""

    name: Annotated[str, Field(max_length=200)]
    password: Password
    label: Label = ""
    scopes: Scopes = Field(default=[])
    lifetime: Lifetime = None


class PasswordChange(Model):
    """Somebody chooses another password."""

    name: Annotated[str, Field(max_length=200)]
    old: Password
    new: NewPassword


class OncePassword(Model):
    """A password that is good once, to choose another; it is told here and never again."""

    name: str
    password: str


class TokenWish(Model):
    """Somebody wants another token."""

    label: Label = ""
    scopes: Scopes = Field(default=[])
    lifetime: Lifetime = None


class Token(Model):
    """A token, without its secret."""

    id: str
    person: str
    kind: str = Field(
        description="login (somebody signed in), token, session (of a browser), or folder (the one of the data folder)"
    )
    label: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None = Field(description="to the minute")
    used_from: str | None = Field(description="the address")
    good: bool


class MadeToken(Token):
    """A token with its secret, which is told here and never again."""

    secret: str


class EndedToken(Token):
    """A token that was revoked."""

    others: list[str] = Field(description="those that were made with it, and ended now as well")


class TokenPage(Model):
    """Tokens, the newest first."""

    items: list[Token]


class Standing(Model):
    """What somebody is in a group."""

    group: str
    role: Role


class Self(Model):
    """Who calls, and what the token that was shown is good for."""

    name: str
    title: str
    mail: str
    role: WorkingRole
    groups: list[Standing]
    token: Token | None = Field(description="null: a JWT of somebody else was shown")


class Application(Model):
    """Somebody asks for an account."""

    name: PersonName
    title: Title
    mail: Mail
    reason: Reason = ""
    password: NewPassword


class Applied(Model):
    """The application waits for an administrator."""

    name: str
    state: str


class Person(Model):
    """An account."""

    name: str
    title: str
    mail: str
    role: WorkingRole
    state: str = Field(description="applied, active or disabled")
    reason: str = Field(description="of the application, or why it is disabled")
    credentials: list[str] = Field(description="how this person can log in: local, ...")
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None


class PersonPage(Model):
    """Persons by name; `next` asks for more."""

    items: list[Person]
    next: str | None = None


class NewPerson(Model):
    """An account that an administrator makes."""

    name: PersonName
    title: Title = ""
    mail: Mail = ""
    role: WorkingRole = "member"


class PersonChange(Model):
    """What is to be another; what is left out stays as it is."""

    title: Title | None = None
    mail: Mail | None = None
    role: WorkingRole | None = None


class DisableWish(Model):
    """Why an account is taken out of use."""

    reason: str = Field(min_length=1, max_length=1000)
