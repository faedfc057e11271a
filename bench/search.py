# SPDX-License-Identifier: Apache-2.0
"""Search: milliseconds for each kind of question over a made-up catalogue, as the service asks it.

    nice -n 10 .venv/bin/python bench/search.py [--datasets 1000000] [--rounds 100] [--folder DIR]

Up to 200,000 datasets are made up, one by one; more are copies of them with other names and times, so that what is rare
among 200,000 is as rare, in percent, among all. Each dataset has 20 keys: names that are common and names that are rare, numbers with units, dates, a place on the sky and
words. A question is asked with other values in each round. One client, a warm cache. A million datasets take 5 GB.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from holdfast.catalog import search
from holdfast.catalog.database import Connection, Database
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.catalog.migrate import migrate
from holdfast.model.facts import Facts, facts, spelled_term
from holdfast.model.ids import new_id
from holdfast.model.query import parse
from holdfast.services import facets

BEGIN = datetime(2016, 1, 1, tzinfo=UTC)
DAYS = 3650
DISTINCT = 200_000
INSTRUMENTS = [f"P{number:02}" for number in range(1, 31)]
WORDS = [f"{a}{b}{c}" for a in ("ca", "ne", "to", "mi", "ra", "so", "lu", "pe", "vo", "gi") for b in
         ("bul", "ter", "mon", "sil", "dra", "fen", "gor", "pas", "kel", "wid") for c in
         ("a", "ium", "on", "ite", "er", "ix", "us", "al", "eth", "ory", "ane", "ide", "ose", "yl", "en", "ar", "op", "um", "is", "ex")]  # fmt: skip
LIST = "id, title, owner, created_at, metadata"


def main() -> None:
    """Fill a catalogue, ask, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--datasets", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder, prefix="holdfast-bench-") as name:
        server = EmbeddedPostgres(Path(name) / "database", durable=False)
        dsn = server.start()
        try:
            with psycopg.connect(dsn, row_factory=dict_row) as conn:
                migrate(conn)
                fill(conn, wanted.datasets)
            with psycopg.connect(dsn, row_factory=dict_row, autocommit=True) as conn:
                conn.execute("vacuum analyze")
                sizes(conn)
            database = Database(dsn, size=1)
            ask(database, wanted.datasets, wanted.rounds)
            database.close()
        finally:
            server.stop()


def about(number: int, datasets: int, rng: random.Random) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return a dataset's own values, its metadata, and who may see it."""
    common = min(int(rng.paretovariate(0.8)) - 1, 29)
    proposal = f"2{rng.randrange(max(datasets // 100, 1)):07}"
    owner = f"person{rng.randrange(1000)}"
    at = BEGIN + timedelta(days=DAYS * number / datasets)
    metadata = {
        "instrument": INSTRUMENTS[common], "proposal": proposal, "sample": f"S{rng.randrange(10_000)}",
        "technique": f"technique {rng.randrange(20)}", "detector": f"detector{rng.randrange(40)}",
        "energy": {"value": round(rng.lognormvariate(2.5, 0.6), 3), "unit": "keV"},
        "exposure": {"value": round(rng.expovariate(0.01), 2), "unit": "s"},
        "temperature": {"value": round(rng.uniform(4, 400), 1), "unit": "K"},
        "pressure": {"value": round(rng.expovariate(1), 4), "unit": "mbar"},
        "scan": number, "frames": rng.randrange(5000), "magnet": {"value": rng.randrange(15), "unit": "T"},
        "start": {"date": (at - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")},
        "ra": round(rng.uniform(0, 360), 5), "dec": round(math.degrees(math.asin(rng.uniform(-1, 1))), 5),
        "operator": f"operator{rng.randrange(200)}", "filter": f"F{rng.randrange(12)}",
        "cycle": f"{at.year}-{at.month // 7 + 1}", "scan_name": f"scan_{number:08}",
        "description": " ".join(word(rng) for _ in range(6)),
    }  # fmt: skip
    title = " ".join([*(word(rng) for _ in range(4)), str(rng.randrange(10_000))])
    own = {"id": new_id(), "title": title, "owner": owner, "group": proposal, "profile": "twin-tape", "created": at,
           "closed": at, "files": rng.randrange(1, 5000), "bytes": rng.randrange(10**12)}  # fmt: skip
    seen = [f"g:{proposal}", f"p:{owner}", *(["everyone"] if rng.random() < 0.05 else [])]  # noqa: PLR2004
    return own, metadata, seen


def word(rng: random.Random) -> str:
    """Return a word; a few are common, most are rare."""
    return WORDS[min(int(rng.paretovariate(0.5)) - 1, len(WORDS) - 1)]


def fill(conn: Connection, datasets: int) -> None:
    """Fill the tables that search reads, and index them afterwards."""
    began, rng = time.monotonic(), random.Random(1)
    conn.execute("insert into profile (name, version, body) values ('twin-tape', 1, '{}')")
    conn.execute("alter table dataset disable trigger user")
    conn.execute("alter table number drop constraint number_search_fkey")
    made = conn.execute(
        "select indexname as name, indexdef as made from pg_indexes where indexname = any(%s)",
        [["search_terms", "search_newest", "number_search", "dataset_visible", "dataset_newest", "dataset_source"]],
    ).fetchall()
    for row in made:
        conn.execute(f"drop index {row['name']}")
    conn.execute("alter table number drop constraint number_pkey")
    step = 20_000
    spelled: set[tuple[str, str]] = set()
    distinct = min(datasets, DISTINCT)
    for start in range(0, distinct, step):
        rows = []
        for number in range(start, min(start + step, distinct)):
            own, metadata, seen = about(number, distinct, rng)
            rows.append((number + 1, own, metadata, seen, facts(own, metadata)))
        copy(conn, rows)
        spelled |= {item for row in rows for item in row[4].spelled}
        conn.commit()
    with conn.cursor().copy("copy spelling (key, text, term) from stdin") as into:
        for key, text in spelled:
            into.write_row((key, text, spelled_term(key, text)))
    for turn in range(1, datasets // distinct):
        again(conn, distinct, turn)
    filled = time.monotonic()
    conn.execute("set maintenance_work_mem = '1GB'")
    conn.execute("set max_parallel_maintenance_workers = 0")
    conn.execute("alter table number add primary key (key, value, search)")
    for row in made:
        conn.execute(row["made"])
    print(f"{datasets:,} datasets: filled in {filled - began:.0f} s, indexed in {time.monotonic() - filled:.0f} s")


def again(conn: Connection, distinct: int, turn: int) -> None:
    """Copy the first datasets, under other names and a little later."""
    args = {"from": distinct * turn, "distinct": distinct, "turn": f"{turn:03}"}
    conn.execute(
        'insert into dataset (id, site, title, owner, state, profile, profile_version, server, metadata, "group", visible_to, '
        "files, bytes, created_at, closed_at, source_released_at) select %(turn)s || substr(id, 4), site, title, owner, state, "
        'profile, profile_version, server, metadata, "group", visible_to, files, bytes, created_at + %(turn)s::int * interval '
        "'7 seconds', closed_at, closed_at from dataset where id in (select dataset from search where id <= %(distinct)s)",
        args,
    )
    conn.execute(
        "insert into search (id, dataset, at, stale, visible_to, terms, texts, numbers) overriding system value select "
        "id + %(from)s, %(turn)s || substr(dataset, 4), at + %(turn)s::int * interval '7 seconds', false, visible_to, terms, "
        "texts, numbers from search where id <= %(distinct)s",
        args,
    )
    conn.execute(
        "insert into number (key, value, search) select key, value, search + %(from)s from number "
        "where search <= %(distinct)s",
        args,
    )
    conn.commit()


def copy(conn: Connection, rows: list[tuple[int, dict[str, Any], dict[str, Any], list[str], Facts]]) -> None:
    """Write some datasets and what they are found by."""
    with conn.cursor().copy(
        'copy dataset (id, site, title, owner, state, profile, profile_version, server, metadata, "group", visible_to, files, '
        "bytes, created_at, closed_at, source_released_at) from stdin"
    ) as into:
        for _, own, metadata, seen, _ in rows:
            into.write_row((
                own["id"], "s", own["title"], own["owner"], "closed", "twin-tape", 1, "s", json.dumps(metadata), own["group"],
                seen, own["files"], own["bytes"], own["created"], own["created"], own["created"],
            ))  # fmt: skip
    with conn.cursor().copy(
        "copy search (id, dataset, at, stale, visible_to, terms, texts, numbers) from stdin"
    ) as into:
        for number, own, _, seen, found in rows:
            into.write_row((
                number, own["id"], own["created"], False, seen, list(found.terms), json.dumps(found.texts),
                json.dumps(found.numbers),
            ))  # fmt: skip
    with conn.cursor().copy("copy number (key, value, search) from stdin") as into:
        for number, *_, found in rows:
            for key, value in found.ordered.items():
                into.write_row((key, value, number))


def sizes(conn: Connection) -> None:
    """Print how much each table takes."""
    for row in conn.execute(
        "select relname as name, pg_table_size(oid) / 1e6 as heap, pg_indexes_size(oid) / 1e6 as indexes from pg_class "
        "where relname in ('dataset', 'search', 'number', 'spelling') order by 1"
    ):
        print(f"  {row['name']:<9} {row['heap']:8.0f} MB, indexes {row['indexes']:8.0f} MB")


def questions(datasets: int) -> Iterator[tuple[str, Callable[[random.Random], str]]]:
    """Yield kinds of questions."""
    distinct = min(datasets, DISTINCT)
    day = lambda rng: (BEGIN + timedelta(days=rng.randrange(DAYS - 40))).date()  # noqa: E731 - four uses
    yield "everything", lambda _: ""
    yield "rare text", lambda rng: f"proposal = '2{rng.randrange(max(distinct // 100, 1)):07}'"
    yield "text of 0.01 %", lambda rng: f"sample = 'S{rng.randrange(10_000)}'"
    yield "text of 2.5 %", lambda rng: f"detector = 'detector{rng.randrange(40)}'"
    yield "text of 40 %", lambda _: "instrument = 'P01'"
    yield (
        "two common texts",
        lambda rng: f"instrument = 'P0{rng.randrange(1, 6)}' AND detector = 'detector{rng.randrange(40)}'",
    )
    yield (
        "three common texts",
        lambda rng: (
            f"filter = 'F{rng.randrange(12)}' AND operator = 'operator{rng.randrange(200)}' AND instrument = 'P02'"
        ),
    )
    yield "one of five", lambda rng: f"sample IN ({', '.join(repr(f'S{rng.randrange(10_000)}') for _ in range(5))})"
    yield "number = number", lambda rng: f"scan = {rng.randrange(distinct)}"
    yield "narrow range, unit", lambda rng: f"energy BETWEEN {(e := rng.uniform(5, 30)):.3f} AND {e + 0.005:.3f} keV"
    yield "wide range, other unit", lambda rng: f"energy > {rng.uniform(5000, 30000):.0f} eV"
    yield "text and range", lambda rng: f"instrument = 'P0{rng.randrange(1, 10)}' AND energy BETWEEN 12 AND 13 keV"
    yield (
        "rare text, wide range",
        lambda rng: f"sample = 'S{rng.randrange(10_000)}' AND temperature < {rng.randrange(100, 300)} K",
    )
    yield (
        "two ranges",
        lambda rng: f"temperature < {rng.randrange(5, 9)} K AND energy > 60 keV AND magnet > {rng.randrange(10)} T",
    )
    yield "prefix, few", lambda rng: f"scan_name LIKE 'scan\\_{rng.randrange(max(distinct // 10, 1)):07}%'"
    yield "prefix, many", lambda rng: f"scan_name LIKE 'scan\\_{rng.randrange(1):02}%'"
    yield "rare words", lambda rng: f"{rng.choice(WORDS[1000:])} {rng.choice(WORDS[1000:])}"
    yield "common words", lambda rng: f"{rng.choice(WORDS[:5])} {rng.choice(WORDS[:5])}"
    yield "common and rare word", lambda rng: f"{rng.choice(WORDS[:5])} {rng.choice(WORDS[500:])}"
    yield "beginning of a word", lambda rng: f"{rng.choice(WORDS[:50])[:4]}* {rng.choice(WORDS[100:200])}"
    yield "a day", lambda rng: f"start = '{day(rng)}'"
    yield (
        "a month and a text",
        lambda rng: (
            f"T_DURING(start, INTERVAL('{(d := day(rng))}', '{d + timedelta(days=30)}')) AND instrument = 'P03'"
        ),
    )
    yield "cone of 0.5 degrees", lambda rng: f"CONE({rng.uniform(0, 360):.3f}, {rng.uniform(-80, 80):.3f}, 0.5)"
    yield "cone of 10 degrees", lambda rng: f"CONE({rng.uniform(0, 360):.3f}, {rng.uniform(-60, 60):.3f}, 10)"
    yield "not, or", lambda rng: f"NOT instrument = 'P01' AND (sample = 'S{rng.randrange(10_000)}' OR filter = 'F1')"


def ask(database: Database, datasets: int, rounds: int) -> None:
    """Ask each kind of question and print how long it took, with the page of 50 datasets that answers it."""
    print(f"\n{'milliseconds':<37}{'median':>8} {'p95':>8} {'CPU':>8}   hits (of the last)")
    server = database.rows("select pg_backend_pid() as pid")[0]["pid"]
    member = ["p:person7", "g:20000042", "everyone", "members"]
    spent: list[tuple[float, float]] = []
    for suffix, sight in (("", None), (" (a member)", member)):
        for name, question in questions(datasets):
            rng = random.Random(7)
            work = partial(once, database, sight=sight)
            spent.append(
                line(server, name + suffix, rounds, lambda work=work, question=question, rng=rng: work(question(rng)))
            )
    turn = iter(range(10_000))
    spent.append(
        line(
            server,
            "sorted by energy",
            rounds,
            lambda: once(database, f"sample = 'S{next(turn)}'", order=search.Order("energy")),
        )
    )
    spent.append(
        line(
            server,
            "sorted by title",
            rounds,
            lambda: once(database, f"sample = 'S{next(turn)}'", order=search.Order("title")),
        )
    )
    walls, cpus = zip(*spent, strict=True)
    for what, all_kinds in (("wall", walls), ("CPU", cpus)):
        print(
            f"{what}: median of all kinds {statistics.median(all_kinds):.1f} ms, slowest kind {max(all_kinds):.1f} ms"
        )
    line(server, "facets of 10,000 hits", 10, lambda: facet(database))


def once(
    database: Database, text: str, sight: list[str] | None = None, order: search.Order = search.NEWEST
) -> search.Hits:
    """Ask once, and read the datasets of the page."""
    with database.transaction() as conn:
        hits = search.find(conn, parse(text), sight=sight, limit=50, order=order)
        conn.execute(
            f"select {LIST} from dataset where id = any(%s)", [[row["dataset"] for row in hits.rows]]
        ).fetchall()
    return hits


def facet(database: Database) -> None:
    """Count the instruments of a common question."""
    with database.transaction() as conn:
        facets.count(conn, parse("detector = 'detector3'"), ["instrument"], sight=None)


def line(server: int, name: str, rounds: int, work: Callable[[], search.Hits | None]) -> tuple[float, float]:
    """Print a line of the table and return both its medians: on the clock, and of the processors, ours and the server's."""
    walls, cpus, hits = [], [], None
    for turn in range(rounds + 3):
        wall, cpu = time.perf_counter(), busy(server)
        hits = work()
        if turn >= 3:  # noqa: PLR2004 - the first ones warm up
            walls.append((time.perf_counter() - wall) * 1e3)
            cpus.append(busy(server) - cpu)
    walls.sort()
    note = "" if hits is None or hits.count is None else f"{'' if hits.exact else 'about '}{hits.count:,}"
    median, of_cpu = statistics.median(walls), statistics.median(cpus)
    print(f"{name:<37}{median:8.1f} {walls[int(len(walls) * 0.95)]:8.1f} {of_cpu:8.1f}   {note}", flush=True)
    return median, of_cpu


def busy(server: int) -> float:
    """Return how many milliseconds of processors this process and the server's have used."""
    return time.process_time() * 1e3 + int(Path(f"/proc/{server}/schedstat").read_text().split()[0]) / 1e6


if __name__ == "__main__":
    main()
