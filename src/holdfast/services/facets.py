# SPDX-License-Identifier: Apache-2.0
"""Which values the hits of a search have, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from holdfast.catalog.database import Connection
from holdfast.catalog.queries import search
from holdfast.catalog.search import find
from holdfast.model.conditions import Condition

MOST_HITS: Final = 10_000  # of these the newest are counted
_VALUES: Final = 20  # of one key


@dataclass(frozen=True, slots=True)
class Facet:
    """The most frequent values of one key."""

    key: str
    values: tuple[tuple[str, int], ...]


def count(
    conn: Connection, condition: Condition, keys: Sequence[str], *, sight: Sequence[str] | None,
    files: Mapping[str, list[str]] | None = None,
) -> tuple[list[Facet], bool]:  # fmt: skip
    """Return the values of each key among the newest 10,000 hits that `sight` may see, and whether these are all."""
    hits = find(conn, condition, sight=sight, limit=MOST_HITS, files=files)
    ids = [row["id"] for row in hits.rows]
    found = [
        Facet(
            key,
            tuple((row["value"], row["count"]) for row in search.all(conn, "facet", key=key, ids=ids, limit=_VALUES)),
        )
        for key in keys
    ]
    return found, hits.exact and hits.count == len(ids)
