# SPDX-License-Identifier: Apache-2.0
"""The gapless feed (P4): events commit with the facts they tell of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import queries
from holdfast.errors import InvalidInput

_SQL = queries("events")
_CURSOR: Final = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")  # two numbers that fit 64 bits
CHANNEL: Final = "holdfast_event"  # wakes readers; the table is the truth


def add(
    conn: Connection, site: str, kind: str, *, dataset: str | None = None, person: str | None = None, **body: Any
) -> None:
    """Record that something happened, in the caller's transaction."""
    args = {"site": site, "kind": kind, "dataset": dataset, "person": person, "body": Jsonb(body)}
    conn.execute(_SQL["add"], args)
    conn.execute("select pg_notify(%s, %s)", [CHANNEL, kind])


def after(
    conn: Connection, cursor: str, *, limit: int, dataset: str | None = None, sight: Sequence[str] | None = None,
    person: str = "", managed: Sequence[str] = (),
) -> tuple[list[Row], str]:  # fmt: skip
    """Return the events after `cursor` ("" is the beginning) and the cursor behind them.

    With `sight`, only those of datasets that are visible to it, as `person` may see them, who manages the groups `managed`.

    Raises InvalidInput for a cursor that this feed did not give.
    """
    xid, _, number = cursor.partition("-")
    if cursor and not _CURSOR.fullmatch(cursor):
        raise InvalidInput(what=f"{cursor!r} is not a cursor of the event feed.")
    args = {
        "xid": xid or "0",
        "id": int(number or 0),
        "limit": limit,
        "dataset": dataset,
        "sight": None if sight is None else list(sight),
        "person": person,
        "managed": list(managed),
    }
    rows = conn.execute(_SQL["after"], args).fetchall()
    return rows, f"{rows[-1]['xid']}-{rows[-1]['id']}" if rows else cursor


def of_dataset(conn: Connection, dataset: str) -> list[Row]:
    """Return all events of a dataset, oldest first."""
    return conn.execute(_SQL["of_dataset"], {"dataset": dataset}).fetchall()


def problems(conn: Connection, *, limit: int) -> list[Row]:
    """Return the newest things that went wrong."""
    return conn.execute(_SQL["newest_problems"], {"limit": limit}).fetchall()


def first_of_kind(conn: Connection, kind: str) -> Row | None:
    """Return the first event of a kind, None when there was none."""
    return conn.execute(_SQL["first_of_kind"], {"kind": kind}).fetchone()
