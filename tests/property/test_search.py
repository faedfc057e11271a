# SPDX-License-Identifier: Apache-2.0
"""Search finds exactly what a plain reading of the query says, for whoever asks, and nothing that may not be seen (P8)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from holdfast.catalog import search
from holdfast.catalog.database import Connection, Database
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.catalog.migrate import migrate
from holdfast.errors import InvalidInput
from holdfast.model.conditions import All, Condition, Cone, Either, Has, Is, Like, Not, Range, Span, Words
from holdfast.model.facts import cell, cells, words_of
from holdfast.model.ids import new_id
from holdfast.model.metadata import checked_all, instant
from holdfast.model.query import parse
from holdfast.model.units import in_base
from holdfast.services.index import index

KEYS = ("instrument", "energy", "n", "start", "ok", "odd key 'x\" \\ % \u00e9")
TEXTS = (
    "P06",
    "P07",
    "p06",
    "Crab Nebula",
    "crab",
    "100%",
    "a_b",
    "\\",
    "it's",
    "2026-03-01",
    "12 keV",
    "",
    "\u6e2c\u5b9a",
)
SIGHTS = (None, ["p:ann"], ["g:team", "everyone"], ["everyone"], [])
Dataset = dict[str, Any]

values = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1e-7, 12.0]),
    st.booleans(),
    st.builds(
        lambda v, u: {"value": v, "unit": u},
        st.sampled_from([11, 12, 12.5, 12000]),
        st.sampled_from(["keV", "eV", "s"]),
    ),
    st.sampled_from(["2026-02-28", "2026-03-01", "2026-03-01T10:00:00Z", "2026-03-02"]).map(lambda d: {"date": d}),
)
literals = st.one_of(
    st.sampled_from(TEXTS).map(lambda t: "'" + t.replace("'", "''") + "'"),
    st.integers(-3, 3).map(str),
    st.sampled_from(
        ["'12 keV'", "12000 eV", "11.5 keV", "DATE('2026-03-01')", "TIMESTAMP('2026-03-01T10:00:00Z')", "TRUE"]
    ),
)
keys = st.sampled_from(KEYS).map(lambda key: '"' + key.replace('"', "") + '"')
simple = st.one_of(
    st.builds(lambda k, o, v: f"{k} {o} {v}", keys, st.sampled_from(["=", "<>", "<", "<=", ">", ">="]), literals),
    st.builds(lambda k, v, w: f"{k} IN ({v}, {w})", keys, literals, literals),
    st.builds(lambda k, v, w: f"{k} BETWEEN {v} AND {w}", keys, literals, literals),
    st.builds(lambda k, n: f"{k} IS {n}NULL", keys, st.sampled_from(["", "NOT "])),
    st.builds(
        lambda k, p: f"{k} LIKE '{p}'",
        keys,
        st.sampled_from(["P%", "%6", "P0_", "100\\%", "a\\_b", "%", "crab%", "it''s", "12%", "\\\\"]),
    ),
    st.builds(
        lambda a, b, c: f"CONE({a}, {b}, {c})",
        st.integers(-10, 370),
        st.integers(-90, 90),
        st.sampled_from([0, 0.5, 3, 15, 80, 180]),
    ),
    st.sampled_from(
        ["TEXT('crab')", "TEXT('Nebula crab')", "TEXT('neb*')", "TEXT('run 1')", "title LIKE 'run%'", "owner = 'ann'"]
    ),
)
queries = st.recursive(
    simple,
    lambda inner: st.one_of(
        st.builds(lambda a, o, b: f"({a}) {o} ({b})", inner, st.sampled_from(["AND", "OR"]), inner),
        inner.map(lambda q: f"NOT ({q})"),
    ),
    max_leaves=5,
)
datasets = st.fixed_dictionaries(
    {
        "title": st.sampled_from(["run 1", "run 2", "Crab", "nebulous"]),
        "owner": st.sampled_from(["ann", "bob"]),
        "metadata": st.dictionaries(st.sampled_from(KEYS).map(lambda k: k.replace('"', "")), values, max_size=5),
        "place": st.none() | st.tuples(st.floats(-10, 370), st.floats(-90, 90)),
        "audience": st.sampled_from(["", "everyone"]),
        "group": st.sampled_from([None, "team"]),
    }
)


# ---- the plain reading ----


def holds(condition: Condition, dataset: Dataset) -> bool:  # noqa: C901, PLR0912 - one case for each condition
    own, value = {"title": dataset["title"], "owner": dataset["owner"]}, None
    if isinstance(condition, Is | Has | Range | Span | Like):
        value = own.get(condition.key, dataset["metadata"].get(condition.key))
    match condition:
        case All(parts):
            return all(holds(part, dataset) for part in parts)
        case Either(parts):
            return any(holds(part, dataset) for part in parts)
        case Not(part):
            return not holds(part, dataset)
        case Is(_, wanted):
            return type(value) is type(wanted) and value == wanted
        case Has():
            return value is not None
        case Range(_, dimension, low, high, low_in, high_in):
            number = quantity(value)
            if number is None or number[0] != dimension:
                return False
            return (number[1] > low or (low_in and number[1] == low)) and (
                number[1] < high or (high_in and number[1] == high)
            )
        case Span(_, low, high, low_in, high_in):
            return isinstance(value, str) and (low is None or value > low or (low_in and value == low)) and (
                high is None or value < high or (high_in and value == high))  # fmt: skip
        case Like(_, pattern):
            return isinstance(value, str) and fits(pattern, value)
        case Words(words):
            text = [dataset["title"], *(v for v in dataset["metadata"].values() if isinstance(v, str))]
            there = {word for part in text for word in words_of(part)}
            return all(any(t.startswith(w[:-1]) for t in there) if w.endswith("*") else w in there for w in words)
        case Cone(ra, dec, radius):
            return dataset["place"] is not None and distance(ra, dec, *dataset["place"]) <= radius
        case _:
            raise AssertionError


def quantity(value: Any) -> tuple[str, float] | None:
    read = {"12 keV": {"value": 12, "unit": "keV"}, "2026-03-01": {"date": "2026-03-01"}}
    value = read.get(value, value) if isinstance(value, str) else value
    if isinstance(value, dict) and "unit" in value:
        return in_base(float(value["value"]), value["unit"])
    if isinstance(value, dict) and "date" in value:
        return "date", instant(value["date"]).timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number", float(value)
    return None


def fits(pattern: str, text: str) -> bool:
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    plain = ["." if part == "_" else ".*" if part == "%" else re.escape(part[-1]) for part in parts]
    return re.fullmatch("".join(plain), text, re.DOTALL) is not None


def distance(ra: float, dec: float, other_ra: float, other_dec: float) -> float:
    a, b, c, d = map(math.radians, (ra, dec, other_ra, other_dec))
    h = math.sin((b - d) / 2) ** 2 + math.cos(b) * math.cos(d) * math.sin((a - c) / 2) ** 2
    return math.degrees(2 * math.asin(min(1, math.sqrt(h))))


def seen(dataset: Dataset, sight: list[str] | None) -> bool:
    known = {f"p:{dataset['owner']}", dataset["audience"], f"g:{dataset['group']}"}
    return sight is None or bool(known & set(sight))


# ---- the catalogue ----


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    made = Database(dsn)
    with made.transaction() as conn:
        conn.execute("insert into profile (name, version, body) values ('p', 1, '{}')")
    yield made
    made.close()


def plain(title: str, **metadata: Any) -> Dataset:
    return {"title": title, "owner": "ann", "metadata": metadata, "place": None, "audience": "", "group": None}


def fill(conn: Connection, some: list[Dataset]) -> None:
    conn.execute('delete from "grant"')
    conn.execute("delete from search")
    conn.execute("delete from dataset")
    for number, dataset in enumerate(some):
        dataset["id"] = new_id()
        place = dict(zip(("ra", "dec"), dataset["place"], strict=True)) if dataset["place"] else {}
        metadata = checked_all({**dataset["metadata"], **place})
        conn.execute(
            "insert into dataset (id, site, title, owner, state, profile, profile_version, server, metadata, created_at, "
            "\"group\") values (%s, 's', %s, %s, 'closed', 'p', 1, 's', %s, %s, %s)",
            [dataset["id"], dataset["title"], dataset["owner"], Jsonb(metadata), datetime(2026, 1, 1 + number, tzinfo=UTC), dataset["group"]],
        )  # fmt: skip
        if dataset["audience"]:
            conn.execute(
                "insert into \"grant\" (dataset, audience, role, granted_by) values (%s, 'everyone', 'reader', 'x')",
                [dataset["id"]],
            )
    index(conn, limit=1000)


def all_pages(
    conn: Connection, condition: Condition, sight: list[str] | None, order: search.Order
) -> tuple[list[str], int | None]:
    found: list[str] = []
    after: list[Any] | None = None
    while True:
        hits = search.find(conn, condition, sight=sight, limit=3, order=order, after=after)
        found += [row["dataset"] for row in hits.rows]
        if len(hits.rows) < 3:
            return found, hits.count
        last = hits.rows[-1]
        after = [last["number"], last["place"], last["id"]] if order.key else [last["place"], last["id"]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=st.lists(datasets, min_size=1, max_size=12),
    asked=st.lists(queries, min_size=1, max_size=8),
    sight=st.sampled_from(SIGHTS),
)
def test_p8_search_is_the_plain_reading_of_what_one_may_see(
    database: Database, some: list[Dataset], asked: list[str], sight: list[str] | None
) -> None:
    with database.transaction() as conn:
        fill(conn, some)
        for text in asked:
            try:
                condition = parse(text)
            except InvalidInput:  # a text compared with TRUE by <
                continue
            wanted = [
                d["id"]
                for d in reversed(some)
                if seen(d, sight) and holds(condition, {**d, "metadata": checked_all(d["metadata"])})
            ]
            assert all_pages(conn, condition, sight, search.NEWEST) == (wanted, len(wanted)), text
            assert all_pages(conn, condition, sight, search.Order(descending=False))[0] == wanted[::-1], text


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=st.lists(datasets, min_size=1, max_size=12), key=st.sampled_from(["n", "title", "energy"]), down=st.booleans()
)
def test_sorted_pages_hold_each_dataset_with_the_key_once(
    database: Database, some: list[Dataset], key: str, down: bool  # noqa: FBT001 - drawn
) -> None:  # fmt: skip
    with database.transaction() as conn:
        fill(conn, some)
        found, count = all_pages(conn, All(()), None, search.Order(key, descending=down))
        there = {row["dataset"]: row for row in conn.execute("select * from search").fetchall()}
    sortable = {ident for ident, row in there.items() if key in row["numbers"] or key in row["texts"]}
    assert set(found) == sortable
    assert len(found) == len(sortable) == count
    numbers = [there[ident]["numbers"][key] for ident in found if key in there[ident]["numbers"]]
    assert numbers == sorted(numbers, reverse=down)


def test_pages_sorted_by_texts_are_whole_whatever_the_collation_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda _name: None
    )  # the wheel's PostgreSQL has no ICU, the system's has
    server = EmbeddedPostgres(tmp_path / "database", durable=False)
    titles = ("apple", "Banana", "cherry", "Date", "elder", "Fig", "grape")
    try:
        with psycopg.connect(server.start(), autocommit=True) as conn:  # as createdb makes it where the locale is en_US
            conn.execute("create database other template template0 locale_provider icu icu_locale 'en-US'")
        with psycopg.connect(make_conninfo(server.dsn, dbname="other"), row_factory=dict_row) as conn:
            migrate(conn)
            conn.execute("insert into profile (name, version, body) values ('p', 1, '{}')")
            fill(conn, [plain(title) for title in titles])
            for down in (False, True):
                found, _ = all_pages(conn, All(()), None, search.Order("title", descending=down))
                title = {row["dataset"]: row["texts"]["title"] for row in conn.execute("select * from search")}
                assert [title[ident] for ident in found] == sorted(titles, reverse=down)
    finally:
        server.stop()


@pytest.mark.parametrize("down", [False, True])
def test_equal_numbers_that_are_written_differently_are_all_on_a_page(database: Database, down: bool) -> None:  # noqa: FBT001 - drawn
    ways = ["12 keV", "12.0 keV", {"value": 12, "unit": "keV"}, "1.2e1 keV", {"value": 12, "unit": "keV"}, "12.00 keV"]
    with database.transaction() as conn:
        fill(conn, [plain("x", energy=way) for way in ways])
        found, _ = all_pages(conn, All(()), None, search.Order("energy", descending=down))
    assert (len(found), len(set(found))) == (6, 6)


def test_p8_how_many_words_begin_so_elsewhere_is_not_told(database: Database) -> None:
    words = (("abacus", "ann"), ("ab", "ann"), ("abba", "bob"), ("ac", "ann"), ("ab\uffff", "ann"))
    made = [plain(f"{word} x") | {"owner": owner} for word, owner in words]
    with database.transaction() as conn:
        fill(conn, made)
        few = [all_pages(conn, parse("ab*"), sight, search.NEWEST) for sight in (["p:ann"], ["p:carl"], None)]
        assert [count for _, count in few] == [3, 0, 4]
        conn.execute("insert into spelling select '', 'ab' || n, n from generate_series(1, 1500) as n")
        assert few == [all_pages(conn, parse("ab*"), sight, search.NEWEST) for sight in (["p:ann"], ["p:carl"], None)]


@pytest.mark.parametrize("guess", ["walk", "range"])
def test_the_ways_for_what_is_common_and_what_is_rare_find_the_same(
    database: Database, monkeypatch: pytest.MonkeyPatch, guess: str
) -> None:
    made = [plain(f"run {n}", n=n, instrument=f"P0{n % 2}") for n in range(30)]
    texts = (
        "instrument = 'P01'",
        "n > 3",
        "n BETWEEN 4 AND 6 AND instrument = 'P00'",
        "NOT instrument = 'P01'",
        "instrument = 'P05'",
    )
    with database.transaction() as conn:
        fill(conn, made)
        wanted = {text: all_pages(conn, parse(text), ["p:ann"], search.NEWEST)[0] for text in texts}
        monkeypatch.setattr(search, "_RARE", 0 if guess == "walk" else 5)
        monkeypatch.setattr(search, "_WALK", 10)
        conn.execute("analyze search")
        for text in texts:
            assert all_pages(conn, parse(text), ["p:ann"], search.NEWEST)[0] == wanted[text], text
            assert all_pages(conn, parse(text), ["p:bob"], search.NEWEST)[0] == [], text
        for sight in (None, ["p:ann"]):
            hits = search.find(conn, parse("NOT instrument = 'P01'"), sight=sight, limit=3)
            assert not hits.exact
            assert (hits.count is not None) == (sight is None), "P8: a guess is of what others have, too"


@pytest.mark.parametrize("near", [5e-324, 1e-300, 1e-160, 0.0])
def test_a_place_that_is_next_to_the_middle_of_a_cone_breaks_no_search(database: Database, near: float) -> None:
    places = ((near, 0.0), (0.0, near), (near, near), (0.5, near), (3.0, near))
    made = [plain("x") | {"place": place} for place in places]
    with database.transaction() as conn:
        fill(conn, made)
        for radius, count in ((0, 3), (1, 4), (20, 5)):
            found, _ = all_pages(conn, parse(f"CONE(0, 0, {radius})"), None, search.NEWEST)
            assert len(found) == count


@given(st.floats(0, 359.99), st.floats(-90, 90), st.floats(0, 30), st.floats(0, 1), st.floats(0, 360))
@example(10.0, -58.0, 0.0, 0.0, 0.0)  # on the edge of a zone, from where rounding leads into the next one
@example(10.0, 90.0, 0.0, 0.0, 0.0)
def test_a_place_in_a_cone_is_in_a_cell_of_the_cone(
    ra: float, dec: float, radius: float, part: float, bearing: float
) -> None:
    there = math.radians(dec)
    way, turn = math.radians(radius * part), math.radians(bearing)
    north = math.asin(
        max(-1, min(1, math.sin(there) * math.cos(way) + math.cos(there) * math.sin(way) * math.cos(turn)))
    )
    east = math.atan2(
        math.sin(turn) * math.sin(way) * math.cos(there), math.cos(way) - math.sin(there) * math.sin(north)
    )
    other = ((ra + math.degrees(east)) % 360, math.degrees(north))
    touched = cells(ra, dec, radius)
    if touched is not None and distance(ra, dec, *other) <= radius:
        assert {cell(*other, 10.0), cell(*other, 1.0)} & set(touched)


@pytest.mark.parametrize(
    "text",
    [
        "x = '''; drop table search; --'",
        '"x\'; drop table search; --" = 1',
        "x LIKE '%''; --%'",
        "TEXT('%s %(a)s {}')",
        "x IN ('%s', '%%')",
        '"%s" > 1',
        "x = '\\'",
        "x LIKE '\\'",
    ],
)
def test_what_is_asked_never_becomes_sql(database: Database, text: str) -> None:
    with database.transaction() as conn:
        fill(conn, [plain("a", x="\\")])
    try:
        with database.transaction() as conn:
            search.find(conn, parse(text), sight=["p:ann"], limit=5)
    except InvalidInput:
        assert "LIKE" in text  # a pattern that ends with a backslash
    with database.transaction() as conn:
        assert conn.execute("select count(*) as count from search").fetchone() == {"count": 1}
