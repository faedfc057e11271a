# SPDX-License-Identifier: Apache-2.0
"""Persons and their tokens."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

from holdfast.catalog.database import Connection
from holdfast.catalog.queries import people
from holdfast.errors import NotSignedIn
from holdfast.model.ids import new_id
from holdfast.model.rights import SCOPES, Membership, Person
from holdfast.services.archive import Archive

ADMIN: Final = "admin"  # who has the token of the data folder


def by_token(archive: Archive, token: str, *, used_from: str) -> Person:
    """Return who shows `token`, and note that it was used. Raises NotSignedIn when it is not, or no more, good."""
    with archive.database.transaction() as conn:
        row = people.first(conn, "by_token", digest=digest_of(token))
        if row is None:
            raise NotSignedIn(what="This token is not valid: it is unknown, has expired or was revoked.")
        if row["stale"]:
            people.run(conn, "used", id=row["token"], used_from=used_from)
    groups = {group: Membership(role, folder) for group, (role, folder) in row["groups"].items()}
    return Person(row["name"], row["role"], groups, frozenset(row["scopes"]), row["token"])


def add_token(
    conn: Connection, *, person: str, token: str, kind: str, label: str, scopes: list[str], expires_at: datetime | None
) -> str:
    """Make `token` good for a person and return its id; the token itself is not kept."""
    ident = new_id()
    people.run(
        conn, "add_token", id=ident, person=person, kind=kind, digest=digest_of(token), label=label, scopes=scopes,
        expires_at=expires_at,
    )  # fmt: skip
    return ident


def admit_admin(archive: Archive, token: str) -> None:
    """Make the token of the data folder good for the administrator. Idempotent."""
    with archive.database.transaction() as conn:
        people.run(
            conn,
            "add",
            name=ADMIN,
            site=archive.site,
            title="The administrator of this archive",
            role="admin",
            by=ADMIN,
        )
        add_token(
            conn, person=ADMIN, token=token, kind="token", label="the file `token` of the data folder",
            scopes=list(SCOPES), expires_at=None,
        )  # fmt: skip


def digest_of(token: str) -> bytes:
    """Return what is kept of a token: tokens are random and long, so that a plain digest cannot be guessed back."""
    return hashlib.sha256(token.encode()).digest()
