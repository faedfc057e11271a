# SPDX-License-Identifier: Apache-2.0
"""Datasets made by hand: an open one is made, files are added to it from several places, and it is closed.

Its folder in landing is its source. From closing on it is a dataset like any other: surveyed, packed, written, proven;
then the archive releases that folder itself, by the code and on the evidence of any release (P3).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Connection
from holdfast.catalog.queries import datasets, uploads
from holdfast.errors import Conflict, HoldfastError, InvalidInput
from holdfast.model.metadata import RESERVED, digest, missing
from holdfast.model.names import printable
from holdfast.model.profile import DEFAULT, Profile
from holdfast.model.rights import Person
from holdfast.services import landing, profiles
from holdfast.services.archive import Archive, contract, dataset_row, described
from holdfast.services.index import index
from holdfast.services.metadata import by_hand
from holdfast.services.rights import contributes

_TITLE_LIMIT: Final = 1000  # characters
_CHAIN: Final = 100  # datasets that extend one another


@dataclass(frozen=True, slots=True)
class Wish:
    """What a new dataset shall be; what is None is as in the dataset that it extends, or as the profile says."""

    title: str
    profile: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    keep_days: int | None = None
    extends: str | None = None


def create(archive: Archive, wish: Wish, *, person: Person, ident: str) -> None:
    """Make an open dataset, to which files can be added; `ident` makes it repeatable.

    Raises InvalidInput, NotAllowed (profile), NotFound and Conflict (what it extends).
    """
    folder = landing.folder_of(archive, ident)
    with archive.database.transaction() as conn:
        if datasets.first(conn, "by_id", id=ident):
            return
        insert(archive, conn, wish, ident=ident, person=person, source=os.fsencode(folder), landing=True)
    folder.mkdir(exist_ok=True)


def insert(
    archive: Archive, conn: Connection, wish: Wish, *, ident: str, person: Person, source: bytes, landing: bool
) -> None:
    """Add a dataset in the caller's transaction. Raises as `create`."""
    if not wish.title.strip() or len(wish.title) > _TITLE_LIMIT:
        raise InvalidInput(what=f"A dataset needs a title of 1 to {_TITLE_LIMIT} characters.")
    group, metadata = wish.group, by_hand(wish.metadata)
    name = wish.profile or DEFAULT
    if wish.extends:
        first = _extended(conn, wish.extends)
        name = wish.profile or first["profile"]
        if group is None and contributes(person, first["group"]):  # who only reads makes nothing for others
            group = first["group"]
        inherited = {key: value for key, value in first["metadata"].items() if not key.startswith(RESERVED)}
        metadata = {**inherited, **metadata}
    profile = profiles.offered(conn, name, role=person.role)
    keep_days = _keep_days(profile, wish.keep_days)
    lacking = [] if landing else lacks(profile, metadata)
    datasets.run(
        conn, "insert", id=ident, site=archive.site, title=wish.title.strip(), owner=person.name, profile=profile.name,
        profile_version=profile.version, server=archive.settings.site.server, source=source, metadata=Jsonb(metadata), digest=digest(metadata),
        group=group, landing=landing, extends=wish.extends, keep_days=keep_days,
    )  # fmt: skip
    events.add(
        conn, archive.site, "dataset.registered", dataset=ident, person=person.name, title=wish.title,
        profile=profile.name, extends=wish.extends, lacking=lacking,
    )  # fmt: skip
    index(conn, dataset=ident)


def _extended(conn: Connection, ident: str) -> Mapping[str, Any]:
    """Return the dataset that another one shall extend, which is not deleted meanwhile. Raises NotFound, Conflict."""
    conn.execute("select from dataset where id = %s for share", [ident])
    row = dataset_row(conn, ident)
    if row["state"] == "deleted" or (row["state"] == "open" and not row["close_wanted"]):
        raise Conflict(what=f"Dataset {ident} is {row['state']}: only one that is closed can be extended.")
    if len(datasets.all(conn, "chain", id=ident, sight=None)) >= _CHAIN:
        raise Conflict(what=f"{_CHAIN} datasets extend one another already. Make a new one of all files.")
    return row


def _keep_days(profile: Profile, wanted: int | None) -> int | None:
    if wanted is not None and not profile.keep_days <= wanted <= profile.longest_keep_days:
        raise InvalidInput(
            what=f"Datasets of the profile {profile.name} are kept for {profile.keep_days} to {profile.longest_keep_days} days, "
            f"not {wanted}."
        )
    return wanted


def close(archive: Archive, dataset: str, *, person: str) -> None:
    """Have a dataset closed: nothing is added from now on, and its files go onto their tapes. Idempotent.

    Raises NotFound, Conflict (it is deleted, or a file is still being sent), InvalidInput (it is empty, or lacks metadata).
    """
    with archive.database.transaction() as conn:
        conn.execute("select from dataset where id = %s for update", [dataset])
        row = dataset_row(conn, dataset)
        if (
            row["state"] in {"closing", "closed"}
            or row["close_wanted"]
            or (row["state"] == "open" and not row["landing"])
        ):
            return
        landing.open_dataset(conn, dataset)
        under_way = uploads.all(conn, "of_dataset", dataset=dataset)
        if under_way:
            first = printable(bytes(under_way[0]["path"]))
            raise Conflict(
                what=f"{len(under_way)} files are still on their way into dataset {dataset}, such as {first}. Send the rest of "
                "them, or take them out of it (holdfast remove)."
            )
        if not row["files"]:
            raise InvalidInput(what=f"Dataset {dataset} holds no files: add some before you close it, or delete it.")
        lacking = lacks(contract(row), row["metadata"])
        datasets.first(conn, "close_wanted", id=dataset)
        events.add(
            conn,
            archive.site,
            "dataset.close-wanted",
            dataset=dataset,
            person=person,
            files=row["files"],
            bytes=row["bytes"],
            lacking=lacking,
        )
        jobs.defer(conn, "survey", dataset)


def lacks(profile: Profile, metadata: Mapping[str, Any]) -> list[str]:
    """Return what metadata lack by the contract and may. Raises InvalidInput for what they may not lack."""
    found = missing(profile.requirements, dict(metadata))
    refused = [lack.sentence for lack in found if lack.severity == "reject"]
    if refused:
        raise InvalidInput(what=f"The profile {profile.name} wants more metadata. {' '.join(refused)}")
    return [lack.sentence for lack in found]


def reopen(archive: Archive, dataset: str, error: HoldfastError) -> bool:
    """Open a dataset in landing again that could not be closed, with the reason; False for one that has another source."""
    problem = described(error)["problem"]
    with archive.database.transaction() as conn:
        if not datasets.first(conn, "reopened", id=dataset, problem=problem):
            return False
        events.add(conn, archive.site, "dataset.reopened", dataset=dataset, **problem.obj)
    return True
