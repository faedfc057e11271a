# SPDX-License-Identifier: Apache-2.0
"""Calls about groups and proposals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from holdfast.client.connection import Connection, segment
from holdfast.model.rights import Role
from holdfast.wire.groups import (
    Changes,
    Group,
    GroupChange,
    GroupDetail,
    GroupPage,
    MemberWish,
    NewGroup,
    Proposal,
    ProposalTable,
)


class Groups(Connection):
    """Groups and their members."""

    def groups(self) -> Iterator[Group]:
        """Yield the groups that one is in, or all for who operates the archive, by name."""
        cursor: str | None = None
        while True:
            page = self._get("/groups", GroupPage, cursor=cursor)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def group(self, group: str) -> GroupDetail:
        """Return a group, with its members for those who may change them."""
        return self._get(f"/groups/{segment(group)}", GroupDetail)

    def add_group(self, group: NewGroup) -> GroupDetail:
        """Make a group."""
        return self._post("/groups", group, GroupDetail)

    def change_group(self, group: str, change: GroupChange) -> GroupDetail:
        """Change the title or the folder of a group."""
        return self._post(f"/groups/{segment(group)}/set", change, GroupDetail)

    def join_group(
        self, group: str, person: str, *, role: Role = "reader", since: datetime | None = None,
        until: datetime | None = None,
    ) -> GroupDetail:  # fmt: skip
        """Give somebody a role in a group, up to one's own; times are with a time zone."""
        wish = MemberWish(role=role, from_at=since, until_at=until)
        return self._put(f"/groups/{segment(group)}/members/{segment(person)}", wish, GroupDetail)

    def leave_group(self, group: str, person: str) -> GroupDetail:
        """Have somebody leave a group."""
        return self._delete(f"/groups/{segment(group)}/members/{segment(person)}", GroupDetail)

    def keep_proposal(self, name: str, proposal: Proposal, *, dry_run: bool = False) -> Changes:
        """Make a proposal be as it is given, whole; with `dry_run`, only tell what would change."""
        return self._put(f"/proposals/{segment(name)}", proposal, Changes, dry_run=dry_run)

    def keep_proposals(self, csv: str, *, dry_run: bool = False) -> Changes:
        """Make the proposals of a CSV table be as they stand there, all or none."""
        content = ProposalTable(csv=csv)
        return self._understood(Changes, self._send("POST", "/proposals", content, params={"dry_run": dry_run}).content)
