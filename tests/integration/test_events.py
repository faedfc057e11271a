# SPDX-License-Identifier: Apache-2.0
"""P4: the feed of events has no gaps, whatever the order in which transactions commit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from holdfast.catalog import events
from holdfast.catalog.database import Connection
from holdfast.errors import InvalidInput
from holdfast.testing.site import SmallSite


def connect(dsn: str) -> Connection:
    return psycopg.connect(dsn, row_factory=dict_row)


@pytest.fixture
def reader(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, row_factory=dict_row, autocommit=True) as connection:
        yield connection


def seen(reader: Connection, cursor: str, *, limit: int = 100) -> tuple[list[str], str]:
    rows, cursor = events.after(reader, cursor, limit=limit)
    return [row["kind"] for row in rows], cursor


def test_p4_an_event_behind_a_transaction_in_flight_waits_for_it(dsn: str, reader: Connection) -> None:
    with connect(dsn) as slow, connect(dsn) as fast:
        events.add(slow, "main", "first")
        events.add(fast, "main", "second")
        fast.commit()
        kinds, cursor = seen(reader, "")
        assert kinds == []
        slow.commit()
    assert seen(reader, cursor)[0] == ["first", "second"]


@given(
    plan=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["add", "commit", "roll back", "read"])), max_size=40),
    limit=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_p4_a_reader_sees_every_event_once_and_in_order(
    dsn: str, reader: Connection, plan: list[tuple[int, str]], limit: int
) -> None:
    start = reader.execute("select coalesce(max(id), 0) as last from event").fetchone()
    cursor = ""
    while (step := seen(reader, cursor, limit=1000))[0]:
        cursor = step[1]
    read: list[str] = []
    committed: set[str] = set()
    with ExitStack() as stack:
        writers = [stack.enter_context(connect(dsn)) for _ in range(4)]
        pending: list[set[str]] = [set() for _ in writers]
        for number, (who, what) in enumerate(plan):
            if what == "add":
                events.add(writers[who], "main", f"event {number}")
                pending[who].add(f"event {number}")
            elif what == "read":
                kinds, cursor = seen(reader, cursor, limit=limit)
                read += kinds
            else:
                if what == "commit":
                    writers[who].commit()
                    committed |= pending[who]
                else:
                    writers[who].rollback()
                pending[who] = set()
        for writer in writers:
            writer.rollback()
    while (step := seen(reader, cursor, limit=limit))[0]:
        read += step[0]
        cursor = step[1]
    assert start is not None
    assert sorted(read) == sorted(committed)


def test_p4_nothing_is_skipped_while_many_write_at_once(dsn: str, reader: Connection) -> None:
    done = threading.Event()
    read: list[str] = []

    def write(who: int) -> None:
        with connect(dsn) as connection:
            for number in range(60):
                events.add(connection, "main", f"{who}/{number}")
                if number % 3 == who % 3:
                    connection.commit()

    def follow() -> None:
        cursor = ""
        while True:
            last = done.is_set()
            rows, cursor = events.after(reader, cursor, limit=7)
            read.extend(row["kind"] for row in rows)
            if last and not rows:
                return

    following = threading.Thread(target=follow)
    following.start()
    writing = [threading.Thread(target=write, args=[who]) for who in range(4)]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    following.join()
    assert sorted(read) == sorted(f"{who}/{number}" for who in range(4) for number in range(60))
    for who in range(4):
        own = [int(kind.partition("/")[2]) for kind in read if kind.startswith(f"{who}/")]
        assert own == sorted(own)


def test_p4_a_fact_that_is_rolled_back_tells_nothing(dsn: str, reader: Connection) -> None:
    with connect(dsn) as writer:
        events.add(writer, "main", "never")
        writer.rollback()
    assert seen(reader, "")[0] == []


def test_the_feed_of_one_dataset_has_its_own_events_only(site: SmallSite) -> None:
    first = site.archive_folder({"a": b"a"}, name="one")
    site.archive_folder({"a": b"a"}, name="two")
    site.drain()
    with site.archive.database.transaction() as conn:
        rows, _ = events.after(conn, "", limit=1000, dataset=first)
    kinds = [row["kind"] for row in rows]
    assert {row["dataset"] for row in rows} == {first}
    assert kinds[:3] == ["dataset.registered", "dataset.closing", "package.staged"]
    assert kinds[-1] == "dataset.safe"


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1", "1-2-3", "-", "1-x", "9" * 50 + "-1", "²-1", "1-٣"])
def test_a_cursor_that_the_feed_did_not_give_is_refused(reader: Connection, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        events.after(reader, cursor, limit=10)
