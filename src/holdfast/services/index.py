# SPDX-License-Identifier: Apache-2.0
"""Keeping up to date what datasets are found by. Whatever changes a dataset marks its row as stale (a trigger does)."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import search
from holdfast.model.facts import facts, spelled_term


def index(conn: Connection, *, dataset: str | None = None, limit: int = 1) -> int:
    """Note what a dataset, or some whose facts changed, are found by; return how many these were."""
    rows = search.all(conn, "stale", dataset=dataset, limit=limit)
    for row in rows:
        _index(conn, row)
    return len(rows)


def _index(conn: Connection, row: Row) -> None:
    own = {key: row[key] for key in ("id", "title", "owner", "group", "profile", "files", "bytes")}
    found = facts({**own, "created": row["created_at"], "closed": row["closed_at"]}, row["metadata"])
    search.run(
        conn,
        "write",
        search=row["search"],
        terms=sorted(found.terms),
        texts=Jsonb(found.texts),
        numbers=Jsonb(found.numbers),
    )
    search.run(conn, "forget_numbers", search=row["search"])
    search.run(conn, "add_numbers", search=row["search"], keys=list(found.ordered), values=list(found.ordered.values()))
    spelled = sorted(found.spelled)
    search.run(
        conn, "add_spellings", keys=[key for key, _ in spelled], texts=[text for _, text in spelled],
        terms=[spelled_term(*item) for item in spelled],
    )  # fmt: skip
