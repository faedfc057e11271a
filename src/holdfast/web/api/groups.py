# SPDX-License-Identifier: Apache-2.0
"""/groups and /proposals: persons who have roles together."""

from __future__ import annotations

from holdfast.errors import NotAllowed
from holdfast.model.rights import RIGHTS
from holdfast.services import groups, proposals
from holdfast.services.groups import may_in_group
from holdfast.services.rights import may
from holdfast.web import paging
from holdfast.web.api.datasets import Cursor, Limit
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.groups import (
    Changes,
    GroupChange,
    GroupDetail,
    GroupName,
    GroupPage,
    MemberWish,
    NewGroup,
    Proposal,
    ProposalTable,
)

router = Router(tags=["groups"])


@router.get("/groups", responses=responses())
def group_list(archive: TheArchive, person: Caller, cursor: Cursor = None, limit: Limit = 100) -> GroupPage:
    """List the groups that one is in, or all for who operates the archive, by name."""
    if "read" not in person.scopes:
        raise NotAllowed(action=RIGHTS["belong"].does)
    [after] = paging.take(cursor, 1) or [""]
    items = groups.group_list(archive, person, after=after, limit=limit)
    return GroupPage(items=items, next=paging.give(items[-1].name) if len(items) == limit else None)


@router.post("/groups", status_code=201, responses=responses(404, 409))
def add_group(wish: NewGroup, archive: TheArchive, person: Caller) -> GroupDetail:
    """Make a group with an owner, and with a folder of the server if it has one. Repeating it changes nothing."""
    may(archive, person, "operate")
    return groups.add(archive, wish, by=person)


@router.get("/groups/{group}", responses=responses(404))
def one_group(group: str, archive: TheArchive, person: Caller) -> GroupDetail:
    """Tell what a group is; its members to those who may change them."""
    may_in_group(archive, person, "belong", group)
    return groups.group(archive, group, person)


@router.post("/groups/{group}/set", responses=responses(404, 409))
def change_group(group: str, wish: GroupChange, archive: TheArchive, person: Caller) -> GroupDetail:
    """Change the title or the folder of a group. Repeating it changes nothing."""
    may(archive, person, "operate")
    return groups.change(archive, group, wish, by=person)


@router.put("/groups/{group}/members/{member}", responses=responses(404, 409))
def join(group: str, member: str, wish: MemberWish, archive: TheArchive, person: Caller) -> GroupDetail:
    """Give somebody else a role in a group, up to one's own and until that ends, or for a shorter time.

    Repeating it changes nothing.
    """
    may_in_group(archive, person, "lead", group)
    return groups.join(archive, group, member, wish, by=person)


@router.delete("/groups/{group}/members/{member}", responses=responses(404, 409))
def leave(group: str, member: str, archive: TheArchive, person: Caller) -> GroupDetail:
    """Have somebody leave a group, or leave it oneself. Repeating it changes nothing."""
    may(archive, person, "own")
    may_in_group(archive, person, "belong" if member == person.name else "lead", group)
    return groups.leave(archive, group, member, by=person)


@router.put("/proposals/{proposal}", responses=responses(409))
def keep_proposal(
    proposal: GroupName, wish: Proposal, archive: TheArchive, person: Caller, *, dry_run: bool = False
) -> Changes:
    """Make a proposal be as it is given, whole: for user offices, with a token that has the scope `office`.

    Who is not named any more leaves it. An account is made for who has none, without a way to log in. Members that were
    added by hand stay. Repeating it changes nothing; `dry_run` only tells what would change.
    """
    may(archive, person, "office")
    return proposals.keep(archive, proposal, wish, by=person.name, dry_run=dry_run)


@router.post("/proposals", responses=responses())
def keep_proposals(wish: ProposalTable, archive: TheArchive, person: Caller, *, dry_run: bool = False) -> Changes:
    """Do the same for all proposals of a table, all or none; an error names the line. Repeating it changes nothing.

    The columns are `proposal`, `title`, `folder`, `person`, `name`, `mail`, `role`, `from` and `until`, with one line for
    each person of a proposal. The role is `pi` (one in each proposal), `owner`, `manager`, `writer` or `reader` (also when
    it is empty); days are written as 2026-12-31, and `until` is the last one.
    """
    may(archive, person, "office")
    return proposals.keep_table(archive, wish.csv, by=person.name, dry_run=dry_run)
