# SPDX-License-Identifier: Apache-2.0
"""Who may do what: the one table that joins actions with roles, and the question that is asked of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from holdfast.model.lifecycle import MOVES

SiteRole = Literal["admin", "operator", "member", "visitor"]  # a visitor did not sign in
Role = Literal["owner", "manager", "writer", "reader"]  # to a dataset, or in a group
Scope = Literal["read", "write", "operate", "office", "admin"]  # what a token is good for
Action = Literal[
    "see", "read", "write", "who", "manage", "release", "check", "delete", "give", "belong", "contribute", "lead",
    "create", "own", "serve", "operate", "office", "administer",
]  # fmt: skip

SITE_ROLES: Final[tuple[SiteRole, ...]] = ("admin", "operator", "member", "visitor")
ROLES: Final[tuple[Role, ...]] = ("owner", "manager", "writer", "reader")  # each may do what those behind it may
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "operate", "office", "admin")
USABLE: Final[Mapping[SiteRole, tuple[Scope, ...]]] = {  # what a token of somebody can be good for at most
    "admin": SCOPES,
    "operator": ("read", "write", "operate"),
    "member": ("read", "write"),
    "visitor": ("read",),
}
PUBLIC: Final[frozenset[Action]] = frozenset({"see", "read"})  # what a visitor may do to what is shared with everyone
Verdict = Literal["yes", "no", "hidden", "not now", "sign in"]  # 200, 403, 404, 409, 401
STATES: Final = tuple(MOVES["dataset"])
THERE: Final = tuple(state for state in STATES if state != "deleted")
MEMBERS: Final = "members"  # everybody who signed in
EVERYONE: Final = "everyone"


@dataclass(frozen=True, slots=True)
class Right:
    """What an action needs: a scope, and a role at the site or, if it is done to a dataset, the least role to that.

    Once it is known that somebody may do it at all, the state of the dataset says whether it can be done now.
    """

    does: str  # as it stands in "You may not ..."
    scope: Scope
    site: frozenset[SiteRole]
    least: Role | None = None
    states: tuple[str, ...] = STATES  # of the dataset in which it is possible


def _right(
    does: str, scope: Scope, *site: SiteRole, least: Role | None = None, states: tuple[str, ...] = STATES
) -> Right:
    return Right(does, scope, frozenset(site), least, states)


RIGHTS: Final[Mapping[Action, Right]] = {
    "see": _right("look at this dataset", "read", "admin", "operator", least="reader"),
    "read": _right("read the files of this dataset", "read", "admin", least="reader", states=("closed",)),
    "write": _right("add files or metadata to this dataset", "write", "admin", least="writer", states=THERE),
    "who": _right(
        "see who has this dataset, and what became of its source", "read", "admin", "operator", least="manager"
    ),
    "manage": _right("manage this dataset", "write", "admin", least="manager", states=THERE),
    "release": _right(
        "remove the source of this dataset", "write", "admin", "operator", least="manager", states=("closed",)
    ),
    "check": _right(
        "have this dataset read again", "write", "admin", "operator", least="manager", states=("closing", "closed")
    ),
    "delete": _right("delete this dataset", "write", "admin", least="owner"),  # also again: it is answered the same
    "give": _right("give this dataset to another owner", "write", "admin", least="owner", states=THERE),
    "belong": _right("look at this group", "read", "admin", "operator", least="reader"),
    "contribute": _right("make datasets of this group", "write", "admin", least="writer"),
    "lead": _right("change the members of this group", "write", "admin", least="manager"),
    "create": _right("make datasets", "write", "admin", "operator", "member"),
    "own": _right("change your account, and make tokens", "write", "admin", "operator", "member"),
    "serve": _right("have the archive read and write any folder of its roots", "write", "admin", "operator"),
    "operate": _right("operate the archive", "operate", "admin", "operator"),
    "office": _right("keep proposals, as a user office does", "office", "admin"),
    "administer": _right("administer people and profiles", "admin", "admin"),
}


@dataclass(frozen=True, slots=True)
class Membership:
    """What somebody is in a group, and the folder of the server that is the group's."""

    role: Role
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who was recognised, with what the token is good for that was shown."""

    name: str
    role: SiteRole
    groups: Mapping[str, Membership] = field(default_factory=dict)
    scopes: frozenset[Scope] = frozenset(SCOPES)
    token: str = ""  # its id
    until: datetime | None = None  # when what was shown ends; None: never, or somebody signed in for it

    @property
    def audiences(self) -> list[str]:
        """The crowds that this person is one of."""
        return [EVERYONE] if self.role == "visitor" else [EVERYONE, MEMBERS]

    @property
    def principals(self) -> list[str]:
        """Under which names this person may have been let in: compare with `dataset.visible_to`."""
        own = [] if self.role == "visitor" else [f"p:{self.name}"]
        return [*own, *(f"g:{group}" for group in self.groups), *self.audiences]


VISITOR: Final = Person("", "visitor", scopes=frozenset({"read"}))


def allowed(person: Person, action: Action, roles: Collection[str]) -> bool:
    """Say whether `person`, who has `roles` to the dataset in question, may do `action`."""
    right = RIGHTS[action]
    if right.scope not in person.scopes:
        return False
    if person.role in right.site:
        return True
    return right.least is not None and any(role in roles for role in ROLES[: ROLES.index(right.least) + 1])


def verdict(person: Person, action: Action, roles: Collection[str], state: str | None = None) -> Verdict:
    """Say what `person`, who has `roles` to a dataset in `state` (None: it is done to none), is answered."""
    right = RIGHTS[action]
    if person.role == "visitor" and action not in PUBLIC:
        return "sign in"
    if allowed(person, action, roles):
        return "yes" if state in {None, *right.states} else "not now"
    if person.role == "visitor":
        return "sign in"
    if state is not None and not allowed(person, "see", roles):
        return "hidden"
    return "no"
