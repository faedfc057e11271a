# SPDX-License-Identifier: Apache-2.0
"""The catalogue: its schema, its migrations, its queries, and what becomes of a lost server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import dict_row

from holdfast.catalog.database import Database
from holdfast.catalog.migrate import check_version, migrate, migrations
from holdfast.catalog.queries import Noun, datasets, queries
from holdfast.errors import DatabaseUnavailable, InvalidInput, SchemaMismatch
from holdfast.model.lifecycle import MOVES, states
from holdfast.testing.site import SmallSite

_NOUNS = sorted(
    file.name.removesuffix(".sql")
    for file in resources.files("holdfast.catalog").joinpath("sql").iterdir()
    if file.name.endswith(".sql")
)
_QUERIES = [(noun, name) for noun in _NOUNS for name in queries(noun)]
_SCHEMA = """
    select table_name, column_name, data_type, is_nullable, column_default, '' as definition from information_schema.columns
    where table_schema = 'public'
    union all select tablename, indexname, '', '', '', indexdef from pg_indexes where schemaname = 'public'
    union all select conrelid::regclass::text, conname, '', '', '', pg_get_constraintdef(oid) from pg_constraint
    where connamespace = 'public'::regnamespace order by 1, 2, 6
"""


@pytest.mark.parametrize(("noun", "name"), _QUERIES, ids=[f"{noun}.{name}" for noun, name in _QUERIES])
def test_every_query_fits_the_schema(database: psycopg.Connection[dict[str, object]], noun: str, name: str) -> None:
    sql = str(queries(noun)[name])
    if sql.lstrip().lower().startswith("copy "):
        sql = re.sub(r"copy (\w+) \((.*?)\).*", r"select \2 from \1", sql, flags=re.DOTALL)
    numbers: dict[str, int] = {}
    with_numbers = re.sub(r"%\((\w+)\)s", lambda m: f"${numbers.setdefault(m[1], len(numbers) + 1)}", sql)
    database.execute(f"prepare this as {with_numbers.replace('%%', '%')}".encode())
    database.execute("deallocate this")


def test_every_query_is_used() -> None:
    root = Path(str(resources.files("holdfast")))
    program = "\n".join(file.read_text("utf-8") for file in root.rglob("*.py"))
    run = {found[1:] for found in re.findall(r"\b((\w+)\.(?:all|first|run|moved?)\(\s*conn,\s*\"(\w+)\")", program)}
    run |= {(noun, name) for noun in ("events", "listings") for name in re.findall(r'_SQL\["(\w+)"\]', program)}
    assert [pair for pair in _QUERIES if pair not in run] == []


@pytest.fixture(scope="module")
def database(postgres: str, template: str) -> Iterator[psycopg.Connection[dict[str, object]]]:
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f"create database queries_test template {template}")
        with psycopg.connect(postgres, dbname="queries_test", autocommit=True, row_factory=dict_row) as connection:
            yield connection
        server.execute("drop database queries_test with (force)")


def test_migrations_that_were_applied_change_nothing(dsn: str) -> None:
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        before = connection.execute(_SCHEMA).fetchall()
        rows = connection.execute("select * from schema_version order by version").fetchall()
        assert migrate(connection) == max(migrations())
        assert connection.execute(_SCHEMA).fetchall() == before
        assert connection.execute("select * from schema_version order by version").fetchall() == rows
        assert [row["version"] for row in rows] == sorted(migrations())


def test_migration_numbers_have_no_gap() -> None:
    assert list(migrations()) == list(range(1, len(migrations()) + 1))


def test_a_schema_of_a_newer_program_is_refused(dsn: str) -> None:
    newer = max(migrations()) + 1
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        connection.execute("insert into schema_version (version) values (%s)", [newer])
        for refusal in (check_version, migrate):
            with pytest.raises(SchemaMismatch, match=f"version {newer}") as caught:
                refusal(connection)
            assert "install a newer Holdfast" in caught.value.sentence


def test_a_catalogue_without_schema_is_refused_until_it_is_set_up(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True, row_factory=dict_row) as connection:
        connection.execute("create database bare_test")
        try:
            with psycopg.connect(postgres, dbname="bare_test", row_factory=dict_row) as bare:
                with pytest.raises(SchemaMismatch):
                    check_version(bare)
                migrate(bare)
                check_version(bare)
        finally:
            connection.execute("drop database bare_test with (force)")


@pytest.mark.parametrize("thing", sorted(MOVES))
def test_the_schema_knows_exactly_the_states_of_the_life_cycle(dsn: str, thing: str) -> None:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conrelid = %s::regclass and contype = 'c' "
            "and pg_get_constraintdef(oid) like '%%state%%'",
            [thing],
        ).fetchall()
    assert set(re.findall(r"'([a-z]+)'::text", rows[0][0])) == states(thing)


def test_p3_two_live_copies_of_a_package_are_never_on_one_tape(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    [tape, _] = site.tapes(dataset)
    with pytest.raises(psycopg.errors.UniqueViolation):
        site.rows("update copy set tape = %s", tape)


def test_p7_a_move_from_a_wrong_state_changes_nothing(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    with site.archive.database.transaction() as conn:
        assert datasets.move(conn, "closing", to="closing", id=dataset, segments=9, files=9, bytes=9) is None
    assert site.show(dataset).files == 1


def test_a_value_that_no_database_takes_is_the_callers_mistake(dsn: str) -> None:
    database = Database(dsn)
    try:
        with pytest.raises(InvalidInput), database.transaction() as conn:
            Noun("datasets").all(conn, "by_id", id="nul \0 byte")
    finally:
        database.close()


def test_a_server_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    database = Database(f"host={tmp_path} dbname=none connect_timeout=1")
    try:
        with pytest.raises(DatabaseUnavailable), database.claim("thing"):
            raise AssertionError("the claim was given")
    finally:
        database.close()


def test_p6_a_claim_is_one_at_a_time_and_ends_with_its_holder(dsn: str) -> None:
    database = Database(dsn)
    try:
        with database.claim("thing") as first, database.claim("thing") as second, database.claim("other") as other:
            assert (first, second, other) == (True, False, True)
        with database.claim("thing") as third:
            assert third
    finally:
        database.close()
