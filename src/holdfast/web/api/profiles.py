# SPDX-License-Identifier: Apache-2.0
"""/profiles: the contracts that a site offers, and under which one a dataset is."""

from __future__ import annotations

from typing import Any

from holdfast.catalog.database import Row
from holdfast.errors import InvalidInput
from holdfast.model.rights import Person, allowed
from holdfast.services import profiles, show
from holdfast.services.rights import may, sight_aside
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.datasets import DatasetDetail
from holdfast.wire.profiles import Profile, ProfileChange, ProfilePage, ProfileWish

router = Router(tags=["profiles"])


def _profile(row: Row, person: Person) -> Profile:
    terms: dict[str, Any] = dict(row["body"])
    rest = {key: row[key] for key in ("used", "created_at", "retired_at")}
    datasets = row["datasets"] if allowed(person, "operate", ()) else None  # P8: also those that others may not see
    return Profile(name=terms.pop("name"), version=terms.pop("version"), terms=terms, datasets=datasets, **rest)


@router.get("/profiles", responses=responses())
def profile_list(archive: TheArchive, person: Caller, *, retired: bool = False) -> ProfilePage:
    """List the newest version of each profile that is offered, with `retired` also the others."""
    return ProfilePage(
        items=[_profile(row, person) for row in profiles.listed(archive, person=person.name, retired=retired)]
    )


@router.get("/profiles/{name}", responses=responses(404))
def one_profile(name: str, archive: TheArchive, person: Caller) -> ProfilePage:
    """Tell all versions of a profile, the oldest first."""
    return ProfilePage(items=[_profile(row, person) for row in profiles.versions(archive, name, person=person.name)])


@router.put("/profiles/{name}", responses=responses())
def put_profile(name: str, wish: ProfileWish, archive: TheArchive, person: Caller) -> Profile:
    """Make a profile, or a new version of one if its terms changed; datasets keep the version that they have."""
    may(archive, person, "administer")
    if wish.terms.get("name", name) != name:
        raise InvalidInput(what=f"The terms are those of {wish.terms['name']}, not of {name}.")
    profiles.put(archive, {**wish.terms, "name": name}, person=person.name)
    return _profile(profiles.versions(archive, name, person=person.name)[-1], person)


@router.post("/profiles/{name}/retire", responses=responses(404))
def retire(name: str, archive: TheArchive, person: Caller) -> Profile:
    """Offer a profile no more; datasets that are under it stay under it. Repeating it changes nothing."""
    may(archive, person, "administer")
    profiles.retire(archive, name, person=person.name)
    return _profile(profiles.versions(archive, name, person=person.name)[-1], person)


@router.post("/datasets/{dataset}/profile", responses=responses(404, 409))
def change_profile(dataset: str, wish: ProfileChange, archive: TheArchive, person: Caller) -> DatasetDetail:
    """Put a dataset under the newest version of a profile; copies are added, or retired when the others are proven."""
    may(archive, person, "manage", dataset)
    profiles.change(archive, dataset, wish.profile, person=person.name, role=person.role)
    return show.dataset(archive, dataset, sight=sight_aside(person))
