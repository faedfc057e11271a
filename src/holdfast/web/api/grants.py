# SPDX-License-Identifier: Apache-2.0
"""/datasets/{dataset}/grants: who has which role to a dataset."""

from __future__ import annotations

from holdfast.services import grants
from holdfast.services.rights import may
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.grants import GiveWish, GrantWish, Sharing

router = Router(tags=["grants"])


@router.get("/datasets/{dataset}/grants", responses=responses(404))
def sharing(dataset: str, archive: TheArchive, person: Caller) -> Sharing:
    """Tell who has a role to a dataset; those of its group stand in the group."""
    may(archive, person, "who", dataset)
    return grants.sharing(archive, dataset)


@router.put("/datasets/{dataset}/grants/{to}", responses=responses(404, 409))
def share(dataset: str, to: str, wish: GrantWish, archive: TheArchive, person: Caller) -> Sharing:
    """Give a role, up to one's own, to another person, `group:NAME`, `members` or `everyone`. Repeating it changes nothing."""
    may(archive, person, "manage", dataset)
    return grants.share(archive, dataset, to, wish.role, by=person)


@router.delete("/datasets/{dataset}/grants/{to}", responses=responses(404, 409))
def unshare(dataset: str, to: str, archive: TheArchive, person: Caller) -> Sharing:
    """Take a role that was given. Repeating it changes nothing."""
    may(archive, person, "manage", dataset)
    return grants.unshare(archive, dataset, to, by=person)


@router.post("/datasets/{dataset}/give", responses=responses(404, 409))
def give(dataset: str, wish: GiveWish, archive: TheArchive, person: Caller) -> Sharing:
    """Make somebody else the owner; who it was keeps no role of its own. Repeating it changes nothing."""
    may(archive, person, "give", dataset)
    return grants.give(archive, dataset, wish.to, by=person)
