# SPDX-License-Identifier: Apache-2.0
"""Calls about who has which role to a dataset."""

from __future__ import annotations

from holdfast.client.connection import Connection, segment
from holdfast.model.rights import Role
from holdfast.wire.grants import GiveWish, GrantWish, Sharing


class Grants(Connection):
    """Who has which role to a dataset."""

    def sharing(self, dataset: str) -> Sharing:
        """Return who has a role to a dataset."""
        return self._get(f"/datasets/{segment(dataset)}/grants", Sharing)

    def share(self, dataset: str, to: str, *, role: Role = "reader") -> Sharing:
        """Give a role to a person, to `group:NAME`, to `members` or to `everyone`."""
        return self._put(f"/datasets/{segment(dataset)}/grants/{segment(to)}", GrantWish(role=role), Sharing)

    def unshare(self, dataset: str, to: str) -> Sharing:
        """Take a role that was given."""
        return self._delete(f"/datasets/{segment(dataset)}/grants/{segment(to)}", Sharing)

    def give(self, dataset: str, to: str) -> Sharing:
        """Make somebody else the owner of a dataset."""
        return self._post(f"/datasets/{segment(dataset)}/give", GiveWish(to=to), Sharing)
