# SPDX-License-Identifier: Apache-2.0
"""Profiles as contracts: shipped ones, those of the site, their versions, and which one a dataset is under."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from typing import Any

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, profiles
from holdfast.errors import Conflict, InvalidInput, NotAllowed, NotFound
from holdfast.model.profile import Profile, checked
from holdfast.services.archive import Archive, contract, dataset_row


def shipped() -> list[Profile]:
    """Return the profiles that come with the program."""
    folder = resources.files("holdfast").joinpath("profiles")
    return sorted(
        (checked(tomllib.loads(file.read_text("utf-8"))) for file in folder.iterdir() if file.name.endswith(".toml")),
        key=lambda profile: profile.name,
    )


def prepare(conn: Connection) -> None:
    """Record the shipped profiles that are not known. Idempotent; what a site made of them stays."""
    for profile in shipped():
        profiles.run(conn, "insert", name=profile.name, version=profile.version, body=Jsonb(profile.to_json()))


def offered(conn: Connection, name: str, *, role: str) -> Profile:
    """Return the newest version of a profile for somebody who makes a dataset.

    Raises InvalidInput (no such profile), NotAllowed (not for this role at the site).
    """
    row = profiles.first(conn, "newest", name=name)
    if row is None or row["retired_at"]:
        known = ", ".join(row["name"] for row in profiles.all(conn, "offered", retired=False))
        raise InvalidInput(what=f"There is no profile {name!r}. Choose one of: {known}.")
    found = Profile.from_json(row["body"])
    if role not in found.roles:
        raise NotAllowed(action=f"make datasets of the profile {name}: it is for {', '.join(found.roles)}")
    return found


def listed(archive: Archive, *, person: str, retired: bool) -> list[Row]:
    """Return the newest version of each profile, by name, with what the person has `used` of its quota."""
    with archive.database.reading() as conn:
        return [_with_used(conn, row, person) for row in profiles.all(conn, "offered", retired=retired)]


def versions(archive: Archive, name: str, *, person: str) -> list[Row]:
    """Return all versions of a profile, the oldest first, with what the person has `used` of each quota. Raises NotFound."""
    with archive.database.reading() as conn:
        rows = [_with_used(conn, row, person) for row in profiles.all(conn, "versions", name=name)]
    if not rows:
        raise NotFound(kind="profile", name=name)
    return rows


def _with_used(conn: Connection, row: Row, person: str) -> Row:
    profile = Profile.from_json(row["body"])
    used = profile.quota_bytes and datasets.first(conn, "used", profile=profile.name, id=None, owner=person, group=None)
    return {**row, "used": used["bytes"] if used else None}


def put(archive: Archive, terms: Mapping[str, Any], *, person: str) -> None:
    """Make a profile, or a new version of one if its terms changed; a retired one is offered again.

    Datasets keep the version that they have. Raises InvalidInput.
    """
    wanted = checked(terms)
    with archive.database.transaction() as conn:
        conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"profile:{wanted.name}"])
        row = profiles.first(conn, "newest", name=wanted.name)
        newest = Profile.from_json(row["body"]) if row else None
        if row and newest and wanted.same_terms(newest) and not row["retired_at"]:
            return
        made = replace(wanted, version=newest.version + 1 if newest else 1)
        profiles.run(conn, "insert", name=made.name, version=made.version, body=Jsonb(made.to_json()))
        events.add(conn, archive.site, "profile.set", person=person, profile=made.name, version=made.version)


def retire(archive: Archive, name: str, *, person: str) -> None:
    """Offer a profile no more; datasets under it stay under it. Idempotent. Raises NotFound."""
    versions(archive, name, person=person)
    with archive.database.transaction() as conn:
        if profiles.all(conn, "retire", name=name):
            events.add(conn, archive.site, "profile.retired", person=person, profile=name)


def change(archive: Archive, dataset: str, name: str, *, person: str, role: str) -> None:
    """Put a dataset under the newest version of a profile; the planner adds or retires copies. Idempotent.

    Only an administrator takes protection from what is closed. Raises NotFound, InvalidInput, NotAllowed, Conflict
    (deleted, or packed in another way).
    """
    with archive.database.transaction() as conn:
        conn.execute("select from dataset where id = %s for update", [dataset])
        row = dataset_row(conn, dataset)
        was, wanted = contract(row), offered(conn, name, role=role)
        if (was.name, was.version) == (wanted.name, wanted.version):
            return
        if row["state"] == "deleted":
            raise Conflict(what=f"Dataset {dataset} is deleted.")
        if row["segments"] and was.packaging != wanted.packaging:
            raise Conflict(
                what=f"Dataset {dataset} is packed as {was.packaging}; the profile {name} wants {wanted.packaging}. Make a new "
                "dataset of its files."
            )
        if row["state"] != "open" and role != "admin" and (less := wanted.less_than(was)):
            raise NotAllowed(
                action=f"put dataset {dataset} under the profile {name}, which promises less ({', '.join(less)}) than "
                f"{was.name}; an administrator may"
            )
        datasets.run(conn, "change_profile", id=dataset, profile=wanted.name, version=wanted.version)
        events.add(
            conn, archive.site, "dataset.profile-changed", dataset=dataset, person=person, profile=wanted.name,
            version=wanted.version, was=was.name, was_version=was.version,
        )  # fmt: skip
