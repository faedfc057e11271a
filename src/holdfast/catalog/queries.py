# SPDX-License-Identifier: Apache-2.0
"""Named queries: `sql/NOUN.sql` holds blocks that begin with `-- name --`; `Noun` runs them."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from typing import Any, Final, LiteralString, cast

from holdfast.catalog.database import Connection, Row
from holdfast.model.lifecycle import sources

_HEADER: Final = re.compile(r"^-- ([a-z_]+) --$", re.MULTILINE)


@cache
def queries(noun: str) -> dict[str, LiteralString]:
    """Return the queries of `sql/noun.sql` by name."""
    text = resources.files("holdfast.catalog").joinpath(f"sql/{noun}.sql").read_text("utf-8")
    parts = _HEADER.split(text)[1:]
    # The text ships with the program, so it is as literal as a string in a module.
    return {name: cast("LiteralString", body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}


class Noun:
    """The queries of one noun, run on the caller's connection."""

    def __init__(self, noun: str, thing: str = "") -> None:
        """`thing` is the name of the noun's life cycle, for moves."""
        self._sql = queries(noun)
        self._thing = thing

    def all(self, conn: Connection, query: str, **args: Any) -> list[Row]:
        """Run a query that returns rows."""
        return conn.execute(self._sql[query], args).fetchall()

    def first(self, conn: Connection, query: str, **args: Any) -> Row | None:
        """Run a query and return its first row, None when it has none."""
        return conn.execute(self._sql[query], args).fetchone()

    def run(self, conn: Connection, query: str, **args: Any) -> int:
        """Run a query and return the number of rows it touched."""
        return conn.execute(self._sql[query], args).rowcount

    def move(self, conn: Connection, query: str, to: str, **args: Any) -> Row | None:
        """Run a guarded move to the state `to`; None means that somebody else moved it first (P7)."""
        return conn.execute(self._sql[query], {**args, "from": sources(self._thing, to), "to": to}).fetchone()

    def moved(self, conn: Connection, query: str, to: str, **args: Any) -> list[Row]:
        """Run a guarded move of all that it is for, and return what was moved."""
        return conn.execute(self._sql[query], {**args, "from": sources(self._thing, to), "to": to}).fetchall()


datasets: Final = Noun("datasets", "dataset")
packages: Final = Noun("packages", "package")
copies: Final = Noun("copies", "copy")
locates: Final = Noun("locates")
tapes: Final = Noun("tapes", "tape")
requests: Final = Noun("requests", "request")
releases: Final = Noun("releases", "release")
reservations: Final = Noun("reservations")
profiles: Final = Noun("profiles")
landed: Final = Noun("landed")
uploads: Final = Noun("uploads")
mounts: Final = Noun("mounts")
drives: Final = Noun("drives")
numbers: Final = Noun("numbers")
status: Final = Noun("status")
idempotency: Final = Noun("idempotency")
people: Final = Noun("people", "person")
tokens: Final = Noun("tokens")
grants: Final = Noun("grants")
groups: Final = Noun("groups")
credentials: Final = Noun("credentials")
rights: Final = Noun("rights")
search: Final = Noun("search")
metadata: Final = Noun("metadata")
saved: Final = Noun("saved")
links: Final = Noun("links")
