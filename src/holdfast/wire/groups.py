# SPDX-License-Identifier: Apache-2.0
"""Groups, their members, and proposals as a user office keeps them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field

from holdfast.model.rights import Role
from holdfast.wire.model import Model
from holdfast.wire.people import Mail, PersonName, Title

GroupName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="letters, digits, . _ -; 100 at most")
]
GroupTitle = Annotated[str, Field(max_length=1000)]
Folder = Annotated[
    str,
    Field(
        max_length=4096,
        pattern=r"^(/[^\x00]*[^\x00/][^\x00]*)?$",
        description="of the server: its writers may archive from it, its members have files brought to it",
    ),
]
From = Annotated[AwareDatetime | None, Field(description="null: since ever")]
Until = Annotated[AwareDatetime | None, Field(description="null: for ever")]


class Group(Model):
    """Persons who have roles together."""

    name: str
    kind: str = Field(description="group, or proposal: one that a user office keeps")
    title: str
    folder: str
    created_at: datetime
    created_by: str


class GroupPage(Model):
    """Groups by name; `next` asks for more."""

    items: list[Group]
    next: str | None = None


class Member(Model):
    """What somebody is, or will be, in a group."""

    person: str
    title: str
    role: Role
    origin: str = Field(
        description="who keeps it: hand, office, or the provider or directory at the last sign-in there, as oidc:ISSUER"
    )
    from_at: datetime | None
    until_at: datetime | None


class GroupDetail(Group):
    """A group with its members."""

    members: list[Member] | None = Field(description="null for those who may not know them")


class NewGroup(Model):
    """A group that an operator makes."""

    name: GroupName
    title: GroupTitle = ""
    folder: Folder = ""
    owner: str | None = Field(default=None, description="null: who makes it")


class GroupChange(Model):
    """What is to be another; what is left out stays as it is."""

    title: GroupTitle | None = None
    folder: Folder | None = None


class MemberWish(Model):
    """What somebody is to be in a group."""

    role: Role = "reader"
    from_at: From = None
    until_at: Until = None


class Investigator(Model):
    """Somebody whom the user office knows; title and mail are used for an account that is not there yet."""

    name: PersonName
    title: Title = ""
    mail: Mail = ""


class Collaborator(Investigator):
    """Somebody who works on a proposal."""

    role: Role = "reader"
    from_at: From = None
    until_at: Until = None


class Proposal(Model):
    """A proposal as it is to be, whole: who is not named any more leaves it."""

    title: GroupTitle
    folder: Folder = ""
    principal_investigator: Investigator
    collaborators: list[Collaborator] = Field(default=[], max_length=10_000)


class ProposalTable(Model):
    """Many proposals as CSV."""

    csv: str


class Changes(Model):
    """What became, or would become, another."""

    changes: list[str] = Field(description="one sentence each; none when all was so already")
    dry_run: bool
