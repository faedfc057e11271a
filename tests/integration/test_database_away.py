# SPDX-License-Identifier: Apache-2.0
"""P6: a database that goes away and comes back costs nothing that was acknowledged, and nobody has to do anything."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select

import psycopg
import pytest

from holdfast.app import set_up
from holdfast.catalog import jobs
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.errors import DatabaseUnavailable
from holdfast.services import planner
from holdfast.testing.faults import sample
from holdfast.testing.proxy import Proxy
from holdfast.testing.site import SmallSite, small_site
from holdfast.workers.planner import run_planner
from holdfast.workers.worker import HANDLERS

FILES = {f"sub{n}/f": sample(200_000, f"{n}") for n in range(4)}


@pytest.fixture
def away(tmp_path: Path, proxy: Proxy) -> Iterator[SmallSite]:
    with small_site(tmp_path, proxy.dsn) as site:
        yield site


def test_p6_every_job_survives_connections_that_break_at_any_moment(away: SmallSite, proxy: Proxy) -> None:
    rng = random.Random(2)
    dataset = away.archive_folder(FILES)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.wait(rng.uniform(0.02, 0.3)):
            proxy.drop()

    disturbing = threading.Thread(target=disturb)
    disturbing.start()
    failed = 0
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline and failed < 25:
        try:
            away.drain()
        except DatabaseUnavailable:
            failed += 1
        else:
            break
    stop.set()
    disturbing.join()
    away.drain()
    assert away.show(dataset).level == "preserved"
    assert away.staged() == []
    away.ask(dataset)
    away.drain()
    assert (away.destinations / "back" / "sub3" / "f").read_bytes() == FILES["sub3/f"]


def test_p6_a_server_that_goes_away_while_a_job_is_deferred_is_told_as_anywhere_else(away: SmallSite) -> None:
    with away.archive.database.transaction() as conn:
        conn.execute(
            "create function die() returns trigger language plpgsql as "
            "$$ begin perform pg_terminate_backend(pg_backend_pid()); return new; end $$"
        )
        conn.execute("create trigger die before insert on procrastinate_jobs for each row execute function die()")

    def deferred() -> None:
        with away.archive.database.transaction() as conn:
            jobs.defer(conn, "check", "HF0001L8")

    with pytest.raises(DatabaseUnavailable):
        deferred()
    assert away.rows("select 1 from procrastinate_jobs where task_name = 'check'") == []


def test_nobody_waits_for_connections_that_were_dropped_while_they_lay_idle(away: SmallSite) -> None:
    database = away.archive.database
    with ExitStack() as held:
        mine = [held.enter_context(database.reading()) for _ in range(8)]
    with psycopg.connect(database.dsn, autocommit=True) as other:
        pids = [conn.info.backend_pid for conn in mine]
        other.execute("select pg_terminate_backend(pid, 10000) from unnest(%s::int[]) as pid", [pids])
    for conn in mine:  # what the server says of it comes through the proxy
        assert select([conn.fileno()], [], [], 30)[0]
    began = time.monotonic()
    assert away.rows("select 1 as n") == [{"n": 1}]
    assert time.monotonic() - began < 1  # the pool's own check would pause longer after each: 15 s for these


@pytest.mark.parametrize("job", ["survey", "pack", "write", "recall"])
def test_p6_a_job_whose_server_is_gone_ends_and_is_done_later(away: SmallSite, proxy: Proxy, job: str) -> None:
    away.archive.database._pool.timeout = 0.5
    dataset = away.archive_folder(FILES)
    if job == "recall":
        away.drain()
        away.ask(dataset)
    queue = "select task_name, args from procrastinate_jobs where status = 'todo' order by id limit 1"
    away.drain(until=lambda: (rows := away.rows(queue)) != [] and rows[0]["task_name"] == job)
    [waiting] = away.rows(queue)
    proxy.cut()
    with pytest.raises(DatabaseUnavailable):
        HANDLERS[job](away.archive, waiting["args"]["thing"])
    with pytest.raises(DatabaseUnavailable):
        planner.plan(away.archive)
    proxy.mend()
    away.archive.database._pool.timeout = 15
    away.drain()
    assert away.show(dataset).level == "preserved"


def test_p6_the_planner_waits_for_the_database_and_goes_on(away: SmallSite, proxy: Proxy) -> None:
    away.archive.database._pool.timeout = 0.5
    stopping = threading.Event()
    planning = threading.Thread(target=run_planner, args=[away.archive, stopping])
    planning.start()
    try:
        proxy.cut()
        proxy.mend()
        dataset = away.archive_folder(FILES)
        away.rows("delete from procrastinate_jobs")  # as if the queue had been lost
        deadline = time.monotonic() + 20
        while not away.rows("select 1 from procrastinate_jobs where task_name = 'survey'"):
            assert time.monotonic() < deadline
            stopping.wait(0.05)
    finally:
        stopping.set()
        planning.join()
    away.drain()
    assert away.show(dataset).safe_at


def test_p6_a_server_that_was_stopped_and_started_serves_the_same_archive(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "database", durable=False)
    dsn = server.start()
    try:
        with small_site(tmp_path, dsn) as site:
            dataset = site.archive_folder(FILES)
            site.drain(until=lambda: site.show(dataset).state == "closed")
            server.stop()
            site.archive.database._pool.timeout = 0.5
            with pytest.raises(DatabaseUnavailable):
                site.show(dataset)
            server.start()
            site.archive.database._pool.timeout = 15
            site.drain()
            assert site.show(dataset).level == "preserved"
            set_up(site.archive.settings, dsn)
            site.ask(dataset)
            site.drain()
            assert (site.destinations / "back" / "sub0" / "f").read_bytes() == FILES["sub0/f"]
    finally:
        server.stop()
