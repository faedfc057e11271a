# SPDX-License-Identifier: Apache-2.0
"""Search: conditions as SQL, and the choice of how they are asked. The only module that puts SQL together.

All pieces of SQL are literals, which the type checker proves; what people wrote travels as parameters.

Two ways, for what is rare and for what is common. *Gather*: the index of terms, or that of numbers, names all that may
fit; the rest is tested on those rows, and they are counted and sorted. *Walk*: go from the newest dataset to older ones
and test each, until the page is full. A query that finds nothing on a walk of some thousand datasets is rare after all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

import psycopg

from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import search
from holdfast.errors import InvalidInput
from holdfast.model.conditions import All, Condition, Cone, Either, File, Has, Is, Like, Not, Range, Span, Words
from holdfast.model.facts import DATE, DEC, ID, RA, cells, term

TIME_LIMIT: Final = 5  # seconds; what takes longer is too broad a question
_WALK: Final = 20_000  # datasets that are looked at before a query is taken for a rare one; about 20 ms
_RARE: Final = 10_000  # rows of an index that are looked at one by one; about 20 ms
_MANY: Final = 200_000  # rows of an index that are better than all datasets, when a walk found too few
_SPELLINGS: Final = 1000  # texts with a common beginning that are asked for one by one
_MICROSECOND: Final = 1e-6
_NEAREST: Final = 1e-100  # degrees
_OF_SPELLINGS: Final[LiteralString] = (
    "terms && array(select term from spelling where key = '' and text >= %s and text < coalesce(%s, chr(1114111)))"
)


@dataclass(frozen=True, slots=True)
class Sql:
    """A condition as SQL; `indexed`: the index of terms answers all of it; else it answers `needs`, which it implies."""

    text: LiteralString
    args: tuple[Any, ...] = ()
    indexed: bool = False
    needs: tuple[Sql, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """By which key, "" being the time of registration; datasets without the key are left out."""

    key: str = ""
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Hits:
    """A page of search rows, each with its dataset and its place in the order; how many there are, exactly or about.

    None: they were not counted. The planner's guess is of what all datasets have, which is not for everybody (P8).
    """

    rows: list[Row]
    count: int | None
    exact: bool


NEWEST: Final = Order()


def find(
    conn: Connection, condition: Condition, *, sight: Sequence[str] | None, limit: int, order: Order = NEWEST,
    after: Sequence[Any] | None = None, files: Mapping[str, list[str]] | None = None,
) -> Hits:  # fmt: skip
    """Return the datasets that fulfil a condition and that `sight` may see (None: all), behind the place `after`.

    `files` says for each name in the condition which datasets have such a file. Raises InvalidInput for a question that
    takes too long.
    """
    # Compiling takes longer than most queries.
    conn.execute("select set_config('statement_timeout', '5s', true), set_config('jit', 'off', true)")
    try:
        return _Finding(conn, sight, order, after, limit).run(condition, files or {})
    except psycopg.errors.QueryCanceled as error:
        raise InvalidInput(
            what=f"This search was given up after {TIME_LIMIT} seconds. Ask for less: add a condition, or sort by created."
        ) from error


class _Finding:
    """One question to the catalogue."""

    def __init__(
        self, conn: Connection, sight: Sequence[str] | None, order: Order, after: Sequence[Any] | None, limit: int
    ) -> None:
        self._conn, self._order, self._limit = conn, order, limit
        self._after = after
        self._sight = Sql("visible_to && %s::text[]", (list(sight),), indexed=True) if sight is not None else None

    def run(self, condition: Condition, files: Mapping[str, list[str]]) -> Hits:
        parts = _narrowed(_conjuncts(condition))
        compiled = [Compiler(self._conn, files).sql(part) for part in parts]
        tests = sorted([*compiled, *([self._sight] if self._sight else [])], key=_weight)
        if self._order.key:
            tests.append(Sql("(numbers ? %s or texts ? %s)", (self._order.key, self._order.key)))
        conn = self._conn
        there = search.first(conn, "size")
        total = max(there["datasets"], 0) if there else 0
        guess = self._guess(tests) if total > _WALK else 0
        # A small archive is read whole; what the terms name is rare enough when a page takes longer to be walked to.
        if guess <= math.sqrt(self._limit * total):
            return self._gather(tests)
        driver = self._narrow_range(parts, min(guess, _RARE))
        if driver is None and not self._order.key and (found := self._walk(tests, guess)):
            return found
        driver = driver or self._narrow_range(parts, min(guess, _MANY))
        return self._gather([driver, *tests] if driver else tests)

    def _narrow_range(self, parts: Sequence[Condition], most: int) -> Sql | None:
        """Return the range, or the choice of ranges, that the index of numbers answers with the fewest rows below `most`."""
        best, least = None, most
        for part in parts:
            ranges = part.parts if isinstance(part, Either) else (part,)
            there = _numbers([one for one in ranges if isinstance(one, Range)])
            if there is None or not all(isinstance(one, Range) for one in ranges):
                continue
            query: LiteralString = (
                "select count(*) as count from (select from number where " + there.text + " limit %s) as found"
            )
            row = self._conn.execute(query, (*there.args, least), prepare=False).fetchone()
            if row and row["count"] < least:
                best, least = there, max(row["count"], 1)
        if best is None:
            return None
        return Sql("id = any(array(select search from number where " + best.text + "))", best.args)

    def _guess(self, tests: Sequence[Sql]) -> int:
        """Return how many rows the planner expects from the index; it knows how common each common term is."""
        where = _and(_and(tests).needs)
        cursor = self._conn.execute(
            "explain (format json) select from search where " + where.text, where.args, prepare=False
        )
        row = cursor.fetchone()
        return int(row["QUERY PLAN"][0]["Plan"]["Plan Rows"]) if row else 0

    def _walk(self, tests: Sequence[Sql], guess: int) -> Hits | None:
        """Return the newest that fit, None when a walk does not find enough of them."""
        down = self._order.descending
        begin, where = self._behind(), _and(tests)
        query: LiteralString = (
            "select id, dataset, at as place from (select * from search where "
            + begin.text
            + (" order by at desc, id desc" if down else " order by at, id")
            + " limit %s) as walked where "
            + where.text
            + (" order by at desc, id desc limit %s" if down else " order by at, id limit %s")
        )
        self._conn.execute("set local enable_bitmapscan = off")
        self._conn.execute("set local enable_sort = off")
        rows = self._conn.execute(query, (*begin.args, _WALK, *where.args, self._limit), prepare=False).fetchall()
        self._conn.execute("set local enable_bitmapscan = on")
        self._conn.execute("set local enable_sort = on")
        count = None if self._sight else guess
        return Hits(rows, count, exact=False) if len(rows) == self._limit else None

    def _behind(self) -> Sql:
        if self._after is None:
            return Sql("true")
        sign: LiteralString = "<" if self._order.descending else ">"
        return Sql("(at, id) " + sign + " (%s::timestamptz, %s::bigint)", tuple(self._after))

    def _gather(self, tests: Sequence[Sql]) -> Hits:
        where, key, down = _and(tests), self._order.key, self._order.descending
        # As `_behind_key` goes on: by number, or else by text as its bytes are, whatever the collation of the database.
        place: LiteralString = (
            "(numbers->>%s)::float8 as number,"
            ' case when numbers ? %s then null else texts->>%s end collate "C" as place'
            if key
            else "at as place"
        )
        end: LiteralString = " desc" if down else ""
        order: LiteralString = (
            "number" + end + " nulls last, place" + end + " nulls last, id" + end
            if key
            else "place" + end + ", id" + end
        )
        behind = self._behind_key() if key else Sql(self._behind().text.replace("(at,", "(place,"), self._behind().args)
        query: LiteralString = (
            "with hit as materialized (select id, dataset, "
            + place
            + " from search where "
            + where.text
            + ") select total.count, page.* from (select count(*) as count from hit) as total left join lateral ("
            + "select * from hit where "
            + behind.text
            + " order by "
            + order
            + " limit %s) as page on true order by "
            + order
        )
        args = (*((key, key, key) if key else ()), *where.args, *behind.args, self._limit)
        rows = self._conn.execute(query, args, prepare=False).fetchall()
        return Hits([row for row in rows if row["id"] is not None], rows[0]["count"], exact=True)

    def _behind_key(self) -> Sql:
        """Return what comes behind a place: numbers come before texts, equal ones by id."""
        if self._after is None:
            return Sql("true")
        number, text, ident = self._after
        sign: LiteralString = "<" if self._order.descending else ">"
        if number is not None:
            return Sql("(number is null or (number, id) " + sign + " (%s::float8, %s::bigint))", (number, ident))
        return Sql("(number is null and (place, id) " + sign + " (%s::text, %s::bigint))", (text, ident))


class Compiler:
    """Turns conditions into SQL over a row of `search`; each is true or false, never null."""

    def __init__(self, conn: Connection, files: Mapping[str, list[str]]) -> None:
        """`conn` is asked for texts and words with a beginning."""
        self._conn, self._files = conn, files

    def sql(self, condition: Condition) -> Sql:
        """Return a condition as SQL."""
        match condition:
            case All(parts):
                return _and([self.sql(part) for part in parts])
            case Either(parts):
                return self._any(parts)
            case Not(part):
                inner = self.sql(part)
                return Sql("not (" + inner.text + ")", inner.args)
            case Like():
                return self._like(condition)
            case Words(words):
                return _and([self._word(word) for word in words])
            case File(name):
                return Sql("dataset = any(%s)", (self._files.get(name, []),))
            case _:
                return _simple(condition)

    def _any(self, parts: tuple[Condition, ...]) -> Sql:
        terms = [_term(part) for part in parts if isinstance(part, Is | Has)]
        others = [self.sql(part) for part in parts if not isinstance(part, Is | Has)]
        found = [*([_has_one_of(terms)] if terms else []), *others]
        if not found:
            return Sql("false")
        text: LiteralString = "(" + " or ".join(item.text for item in found) + ")"
        return Sql(text, tuple(arg for item in found for arg in item.args), indexed=all(item.indexed for item in found))

    def _word(self, word: str) -> Sql:
        if not word.endswith("*"):
            return _has(term("w", word))
        terms = self._spelled("", word[:-1], word[:-1] + "%")
        if terms is None:  # not refused: that there are so many may be what one must not know (P8)
            return Sql(_OF_SPELLINGS, (word[:-1], _above(word[:-1])), indexed=True)
        return _has_one_of(terms)

    def _like(self, like: Like) -> Sql:
        if like.key == ID:
            return Sql("dataset like %s", (like.pattern,))
        test = Sql("coalesce(texts->>%s like %s, false)", (like.key, like.pattern))
        terms = self._spelled(like.key, _beginning(like.pattern), like.pattern)
        return test if terms is None else _and([_has_one_of(terms), test])

    def _spelled(self, key: str, beginning: str, pattern: str) -> list[int] | None:
        """Return the terms of texts that fit a pattern, None when these are too many."""
        conn, args = self._conn, {"key": key, "low": beginning, "high": _above(beginning), "pattern": pattern}
        rows = search.all(conn, "spelled", **args, limit=_SPELLINGS + 1)
        return [row["term"] for row in rows] if len(rows) <= _SPELLINGS else None


def _conjuncts(condition: Condition) -> Iterator[Condition]:
    if isinstance(condition, All):
        for part in condition.parts:
            yield from _conjuncts(part)
    else:
        yield condition


def _narrowed(parts: Iterable[Condition]) -> list[Condition]:
    """Return conditions that all hold, with one range where several are of the same numbers."""
    ranges: dict[tuple[str, str], Range] = {}
    others: list[Condition] = []
    for part in parts:
        if isinstance(part, Range):
            place = part.key, part.dimension
            ranges[place] = part.within(ranges[place]) if place in ranges else part
        else:
            others.append(part)
    return [*others, *ranges.values()]


def _and(tests: Sequence[Sql]) -> Sql:
    if not tests:
        return Sql("true", indexed=True)
    text: LiteralString = "(" + " and ".join(test.text for test in tests) + ")"
    needs = tuple(need for test in tests for need in ((test,) if test.indexed else test.needs))
    indexed = all(test.indexed for test in tests)
    return Sql(text, tuple(arg for test in tests for arg in test.args), indexed=indexed, needs=needs)


def _simple(condition: Is | Has | Range | Span | Cone) -> Sql:
    match condition:
        case Range():
            return _range(condition)
        case Span():
            return _span(condition)
        case Cone():
            return _cone(condition)
        case _:
            return _has(_term(condition))


def _weight(test: Sql) -> int:
    """Return how long a test takes, roughly: the cheap ones go first."""
    return sum(len(arg) if isinstance(arg, list) else 1 for arg in test.args)


def _term(condition: Is | Has) -> int:
    if isinstance(condition, Has):
        return term("k", condition.key)
    return term("b" if isinstance(condition.value, bool) else "s", condition.key, str(condition.value))


def _has(known: int) -> Sql:
    return Sql("terms @> array[%s]::bigint[]", (known,), indexed=True)


def _has_one_of(terms: Sequence[int]) -> Sql:
    return Sql("terms && %s::bigint[]", (list(terms),), indexed=True)


def _numbers(ranges: Sequence[Range]) -> Sql | None:
    """Return which rows of the index of numbers lie in one of some ranges."""
    if not ranges:
        return None
    text: LiteralString = "(" + " or ".join(["(key = %s and value between %s and %s)"] * len(ranges)) + ")"
    return Sql(text, tuple(v for r in ranges for v in (term("n", r.key, r.dimension), r.low, r.high)))


def _range(asked: Range) -> Sql:
    tests = [_has(term("n", asked.key, asked.dimension))]
    if asked.low != -math.inf:
        sign: LiteralString = ">=" if asked.low_in else ">"
        tests.append(Sql("coalesce((numbers->>%s)::float8 " + sign + " %s, false)", (asked.key, asked.low)))
    if asked.high != math.inf:
        sign = "<=" if asked.high_in else "<"
        tests.append(Sql("coalesce((numbers->>%s)::float8 " + sign + " %s, false)", (asked.key, asked.high)))
    if asked.key == "created" and asked.dimension == DATE:
        tests.append(_registered(asked))
    return _and(tests)


def _registered(asked: Range) -> Sql:
    """Return the same of the time of registration, for its index; a microsecond wider, for seconds are binary numbers."""
    bounds = [(asked.low - _MICROSECOND, ">= "), (asked.high + _MICROSECOND, "<= ")]
    low, high = (datetime.fromtimestamp(min(max(second, 0), 32503680000)).astimezone() for second, _ in bounds)
    return Sql("at between %s and %s", (low, high))


def _span(asked: Span) -> Sql:
    tests = []
    for bound, included, signs in ((asked.low, asked.low_in, (">=", ">")), (asked.high, asked.high_in, ("<=", "<"))):
        if bound is not None:
            sign: LiteralString = signs[0] if included else signs[1]
            tests.append(Sql('coalesce((texts->>%s) collate "C" ' + sign + " %s, false)", (asked.key, bound)))
    return _and(tests)


def _cone(asked: Cone) -> Sql:
    # PostgreSQL refuses to square, or to halve, what is so small that nothing is left of it: no place is nearer than _NEAREST.
    distance = Sql(
        "coalesce(2 * asind(least(1, sqrt(sind(greatest(abs((numbers->>%s)::float8 - %s), %s) / 2) ^ 2"
        " + cosd((numbers->>%s)::float8) * cosd(%s) * sind(greatest(abs((numbers->>%s)::float8 - %s), %s) / 2) ^ 2)))"
        " <= %s, false)",
        (
            DEC, asked.dec, _NEAREST, DEC, asked.dec, RA, asked.ra, _NEAREST, max(asked.radius, 2 * _NEAREST),
        ),
    )  # fmt: skip
    touched = cells(asked.ra, asked.dec, asked.radius)
    return _and([_has(term("k", RA)) if touched is None else _has_one_of(touched), distance])


def _above(beginning: str) -> str | None:
    """Return a text behind all that begin so, None when there is none."""
    last = beginning[-1:]
    return beginning[:-1] + chr(ord(last) + 1) if last and last < "\ud7ff" else None


def _beginning(pattern: str) -> str:
    """Return what every text that fits a pattern begins with."""
    found, escaped = "", False
    for char in pattern:
        if not escaped and char in "%_":
            break
        escaped = char == "\\" and not escaped
        found += "" if escaped else char
    return found
