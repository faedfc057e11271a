# SPDX-License-Identifier: Apache-2.0
"""/datasets/{id}/deletion: planned first, then done."""

from __future__ import annotations

from holdfast.services import deletion
from holdfast.services.rights import may, sight_aside
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.deletion import Deletion, DeletionWish

router = Router(tags=["deletion"])


@router.get("/datasets/{dataset}/deletion", responses=responses(404))
def plan(dataset: str, archive: TheArchive, person: Caller) -> Deletion:
    """Tell what deleting a dataset would take away, and what stands in the way."""
    may(archive, person, "delete", dataset)
    return deletion.plan(archive, dataset, sight=sight_aside(person))


@router.post("/datasets/{dataset}/deletion", responses=responses(404, 409))
def delete(dataset: str, wish: DeletionWish, archive: TheArchive, person: Caller) -> Deletion:
    """Delete a dataset, or ask for it, confirm it or take it back where two persons have to. Repeating it changes nothing."""
    may(archive, person, "delete", dataset)
    if wish.action == "apply":
        deletion.delete(archive, dataset, person=person.name, reason=wish.reason, sight=sight_aside(person))
    elif wish.action == "confirm":
        deletion.confirm(archive, dataset, person=person.name, sight=sight_aside(person))
    else:
        deletion.withdraw(archive, dataset, person=person.name)
    return deletion.plan(archive, dataset, sight=sight_aside(person))
