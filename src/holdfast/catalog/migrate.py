# SPDX-License-Identifier: Apache-2.0
"""Numbered plain-SQL migrations, those of the job engine included; start-up refuses a schema it does not know."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, LiteralString

import procrastinate.schema

from holdfast.catalog.database import Connection
from holdfast.errors import SchemaMismatch

_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK: Final = 5_207_301  # any number; two programs that start together migrate one after the other


def _literal(text: str) -> LiteralString:
    """Vouch for SQL that ships with a program: it is as literal as a string in a module."""
    return text  # type: ignore[return-value, unused-ignore]


def migrations() -> dict[int, LiteralString]:
    """Return the SQL of each migration by its number."""
    found: dict[int, LiteralString] = {}
    for file in resources.files("holdfast.catalog").joinpath("sql/migrations").iterdir():
        if match := _NAME.fullmatch(file.name):
            found[int(match[1])] = _literal(file.read_text("utf-8"))
    return dict(sorted(found.items()))


def migrate(conn: Connection) -> int:
    """Bring the schema up to date in one transaction and return its version.

    Raises SchemaMismatch when a newer program made it.
    """
    known = migrations()
    with conn.transaction():
        conn.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
        conn.execute(
            "create table if not exists schema_version (version integer not null, at timestamptz default now())"
        )
        row = conn.execute("select coalesce(max(version), 0) as version from schema_version").fetchone()
        found = int(row["version"]) if row else 0
        _refuse_newer(found, max(known))
        if found == 0:
            # The job engine's tables: disposable, but in the same database, so that jobs commit with their cause.
            conn.execute(_literal(procrastinate.schema.SchemaManager.get_schema()))
        for number, sql in known.items():
            if number > found:
                conn.execute(sql)
                conn.execute("insert into schema_version (version) values (%s)", [number])
    return max(known)


def check_version(conn: Connection) -> None:
    """Raise SchemaMismatch unless the schema is exactly the one that this program knows."""
    newest = max(migrations())
    row = conn.execute("select to_regclass('schema_version') is not null as there").fetchone()
    found = 0
    if row and row["there"]:
        version = conn.execute("select coalesce(max(version), 0) as version from schema_version").fetchone()
        found = int(version["version"]) if version else 0
    if found != newest:
        raise SchemaMismatch(found=found, known=newest)


def _refuse_newer(found: int, newest: int) -> None:
    if found > newest:
        raise SchemaMismatch(found=found, known=newest)
