# SPDX-License-Identifier: Apache-2.0
"""Queries: OGC CQL2-text, or plain words, as a tree of conditions on what datasets are found by. Pure.

A text that reads as a number with a unit ('12 keV') or as a date is one, in queries as in metadata. A number without a unit is compared
with numbers without a unit only. A dataset without the key fulfils no comparison.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import cql2

from holdfast.errors import InvalidInput
from holdfast.model.conditions import All, Condition, Cone, Either, File, Has, Is, Like, Not, Range, Span, Words
from holdfast.model.facts import DATE, NUMBER, nfc, span_of, words_of
from holdfast.model.units import QUANTITY

LENGTH_LIMIT: Final = 4000  # characters
# The parser and all that walks its tree recurse; a thread's stack takes some thousand levels.
_NESTING_LIMIT: Final = 100
_PARTS_LIMIT: Final = 100  # conditions
_LIST_LIMIT: Final = 1000  # values of one IN
_BITS: Final = ("dimensionless", 8)  # what GB and the like are, and how many a byte has
_STRING: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_OUTSIDE: Final = re.compile(rf"({_STRING.pattern})|[^'\"]+")
_OPERATORS: Final = re.compile(r"[=<>(]|\b(?:like|in|is|between)\b|\b(?:AND|OR|NOT|LIKE|IN|IS|BETWEEN)\b")
_BARE: Final = re.compile(
    r"(?<![\w.:'\"])([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)[ ]+([A-Za-zµμΩÅ°%][\w/^*µμΩÅ°%-]*)"
)
_KEYWORDS: Final = frozenset({"and", "or", "not", "like", "between", "in", "is", "div"})


def parse(text: str) -> Condition:
    """Return what a query asks for; an empty one asks for everything. Raises InvalidInput, with the place."""
    if len(text) > LENGTH_LIMIT:
        raise InvalidInput(what=f"A query has at most {LENGTH_LIMIT} characters.")
    # CQL2 has no combining characters in names; what stands in quotes is seen to later, as names of files stay what they are.
    text = _OUTSIDE.sub(lambda found: found[1] or nfc(found[0]), text)
    bare = _STRING.sub(lambda found: "'" * len(found[0]), text)
    if not _OPERATORS.search(bare):
        return _words(text) if text.strip() else All(())
    _refuse_deep(bare)
    quoted, places = _quote_units(text, bare)
    try:
        tree = cql2.parse_text(quoted).to_json()
    except cql2.ParseError as error:
        raise _at(text, _place(str(error), places, quoted), "cannot be read") from None
    condition = _Reader(text).condition(tree)
    if sum(1 for _ in _parts(condition)) > _PARTS_LIMIT:
        raise InvalidInput(what=f"A query has at most {_PARTS_LIMIT} conditions.")
    return condition


def _parts(condition: Condition) -> Iterator[Condition]:
    yield condition
    below = (
        condition.parts
        if isinstance(condition, All | Either)
        else (condition.part,)
        if isinstance(condition, Not)
        else ()
    )
    for part in below:
        yield from _parts(part)


def _words(text: str) -> Words:
    found = words_of(text, prefixes=True)
    if not found:
        raise InvalidInput(what=f"There is no word in the query {text[:40]!r}.")
    return Words(tuple(found[:_PARTS_LIMIT]))


def _refuse_deep(bare: str) -> None:
    signs = bare.count("(") + bare.count("[") + len(re.findall(r"\bnot\b", bare, re.IGNORECASE))
    if signs > _NESTING_LIMIT or re.search(r"(?:[-+]\s*){10}", bare):
        raise InvalidInput(what=f"A query has at most {_NESTING_LIMIT} parentheses and NOTs.")


def _quote_units(text: str, bare: str) -> tuple[str, list[int]]:
    """Put numbers with a unit into quotes, which CQL2 needs; also return where quotes were added."""
    pieces, places, done = [], [], 0
    for found in _BARE.finditer(bare):
        if found[2].lower() in _KEYWORDS:
            continue
        pieces += [text[done : found.start()], "'", found[0], "'"]
        places += [found.start(), found.end()]
        done = found.end()
    return "".join([*pieces, text[done:]]), places


def _place(message: str, places: list[int], quoted: str) -> int:
    """Return where in the text the parser met what it did not expect; it counts lines and columns from 1."""
    found = re.search(r"--> (\d+):(\d+)", message)
    line, column = (int(found[1]), int(found[2])) if found else (1, 1)
    place = sum(len(part) + 1 for part in quoted.split("\n")[: line - 1]) + column - 1
    for number, added in enumerate(places):
        if added + number < place:
            continue
        return place - number
    return place - len(places)


def _at(text: str, place: int, why: str) -> InvalidInput:
    place = max(0, min(place, len(text)))
    before, after = text[max(0, place - 20) : place], text[place : place + 20]
    return InvalidInput(
        what=f"The query {why} at character {place + 1}: {before!r} is followed by {after!r}." if after.strip() else
        f"The query {why}: it ends too early, after {before!r}.",
        place=place + 1,
    )  # fmt: skip


class _Reader:
    """Turns CQL2-JSON into conditions."""

    def __init__(self, text: str) -> None:
        self._text = text

    def condition(self, tree: Any) -> Condition:
        """Return what one node asks for."""
        if not isinstance(tree, dict) or "op" not in tree:
            raise self._refuse(tree, "has no comparison with")
        op, args = str(tree["op"]).lower(), tree["args"]
        if op in {"and", "or"}:
            parts = tuple(self.condition(item) for item in args)
            return All(parts) if op == "and" else Either(parts)
        if op == "not":
            return Not(self.condition(args[0]))
        handler, takes = _HANDLERS.get(op, (None, 0))
        if handler is None:
            raise InvalidInput(
                what=f"The query uses {tree['op']}, which is not known here. There are AND, OR, NOT, =, <>, <, <=, >, >=, "
                "BETWEEN, IN, LIKE, IS NULL, T_AFTER, T_BEFORE, T_DURING, TEXT('words'), FILE('name'), "
                "CONE(ra, dec, radius)."
            )
        if takes and len(args) != takes:  # written as a function, it may have any number of them
            raise InvalidInput(what=f"The query has {tree['op']} with {len(args)} values; it takes {takes}.")
        return handler(self, op, args)

    def compare(self, op: str, args: list[Any]) -> Condition:
        """A key against a value, in either order."""
        if _key(args[0]) is None:
            args, op = args[::-1], {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(op, op)
        key, value = self._key(args[0]), args[1]
        if op == "<>":
            return All((Has(key), Not(self.compare("=", [args[0], value]))))
        return self._compared(key, op, value)

    def _compared(self, key: str, op: str, value: Any) -> Condition:
        if isinstance(value, bool):
            if op != "=":
                raise InvalidInput(what=f"The query compares {key} with {str(value).lower()} by {op}: there is only =.")
            return Is(key, value)
        if isinstance(value, str):
            value = nfc(value)
        low_high = self._bounds(op, value)
        if key == "bytes" and low_high and low_high[0] == _BITS[0]:  # 1 GB: the dataset's own number has no unit
            low_high = NUMBER, low_high[1] / _BITS[1], low_high[2] / _BITS[1]
        if low_high is None:
            return Is(key, value) if op == "=" else _span(key, op, value)
        return _range(key, op, *low_high)

    def between(self, _op: str, args: list[Any]) -> Condition:
        """A key between two values, both included; one that has no unit takes the other's."""
        key, first, last = self._key(args[0]), args[1], args[2]
        if isinstance(first, float) and (unit := _unit(last)):
            first = f"{first!r} {unit}"
        if isinstance(last, float) and (unit := _unit(first)):
            last = f"{last!r} {unit}"
        return All((self._compared(key, ">=", first), self._compared(key, "<=", last)))

    def among(self, _op: str, args: list[Any]) -> Condition:
        """A key that is one of some values."""
        key, values = self._key(args[0]), args[1]
        if not isinstance(values, list) or len(values) > _LIST_LIMIT:
            raise InvalidInput(what=f"IN has a list of at most {_LIST_LIMIT} values in parentheses.")
        return Either(tuple(self._compared(key, "=", value) for value in values))

    def like(self, _op: str, args: list[Any]) -> Condition:
        """A key whose text fits a pattern."""
        if not isinstance(args[1], str):
            raise self._refuse(args[1], "has LIKE with")
        if (len(args[1]) - len(args[1].rstrip("\\"))) % 2:
            raise InvalidInput(
                what=f"The pattern {args[1]!r} ends with a backslash, which takes the next character as it is."
            )
        return Like(self._key(args[0]), nfc(args[1]))

    def absent(self, _op: str, args: list[Any]) -> Condition:
        """A key that is not there."""
        return Not(Has(self._key(args[0])))

    def during(self, _op: str, args: list[Any]) -> Condition:
        """A key whose date lies in an interval; '..' leaves an end open."""
        ends = args[1].get("interval") if isinstance(args[1], dict) else None
        if ends is None or len(ends) != 2:  # noqa: PLR2004 - begin and end
            raise self._refuse(args[1], "has T_DURING with")
        key = self._key(args[0])
        for end in ends:
            self._check_date(end)
        parts = [self._compared(key, op, _date(end)) for op, end in zip((">=", "<="), ends, strict=True) if end != ".."]
        return All(tuple(parts)) if parts else Range(key, DATE)

    def temporal(self, op: str, args: list[Any]) -> Condition:
        """A key before or after a date."""
        for arg in args:
            self._check_date(arg)
        return self.compare(">" if op == "t_after" else "<", args)

    def _check_date(self, value: Any) -> None:
        """Raise InvalidInput for what is neither a key nor a date; '..' is an open end."""
        if _key(value) is None and value != ".." and (self._bounds("", value) or ("",))[0] != DATE:
            raise InvalidInput(
                what=f"The query has {str(_date(value))[:40]!r} where a date is wanted: a day as '2026-03-01', or a moment with its "
                "zone, as '2026-03-01T10:00:00Z'."
            )

    def cone(self, _op: str, args: list[Any]) -> Condition:
        """A place on the sky."""
        good = len(args) == 3 and all(isinstance(arg, float) for arg in args)  # noqa: PLR2004 - ra, dec, radius
        if not good or not (-90 <= args[1] <= 90 and 0 <= args[2] <= 180 and math.isfinite(args[0])):  # noqa: PLR2004
            raise InvalidInput(
                what="CONE takes right ascension, declination (-90 to 90) and radius (up to 180), in degrees."
            )
        return Cone(args[0] % 360, args[1], args[2])

    def text(self, _op: str, args: list[Any]) -> Condition:
        """Words, in the title or anywhere in the metadata."""
        return _words(self._one_text("TEXT", args))

    def file(self, _op: str, args: list[Any]) -> Condition:
        """The name of a file."""
        return File(self._one_text("FILE", args))

    def _one_text(self, function: str, args: list[Any]) -> str:
        if len(args) != 1 or not isinstance(args[0], str) or not args[0]:
            raise InvalidInput(what=f"{function} takes one text in single quotes.")
        return args[0]

    def _bounds(self, op: str, value: Any) -> tuple[str, float, float] | None:
        """Return dimension and both ends of what a value covers: a day is long. None for a text.

        One in quotes that begins like a quantity ('2026 campaign') can be equal to a text; to be larger, it needs a unit.
        """
        if isinstance(value, float) and math.isfinite(value):
            return NUMBER, value, value
        text = _date(value)
        if not isinstance(text, str):
            raise self._refuse(value, "compares a key with")
        try:
            found = span_of(text)
        except ValueError as error:
            if isinstance(value, dict):
                raise InvalidInput(what=f"The query has the date {text[:40]!r}: {error}.") from None
            if op == "=" and "'" + text.replace("'", "''") + "'" in nfc(self._text):
                return None
            raise _at(
                self._text, max(self._text.find(text), 0), f"has a number that cannot be compared ({error})"
            ) from None
        if found is None and isinstance(value, dict):
            raise InvalidInput(what=f"The query has the date {text[:40]!r}, which is none.")
        return found

    def _key(self, node: Any) -> str:
        key = _key(node)
        if key is None:
            raise self._refuse(node, "needs the name of a key instead of")
        return key

    def _refuse(self, node: Any, why: str) -> InvalidInput:
        shown = (
            node
            if isinstance(node, str | float | bool)
            else node.get("property", node.get("op"))
            if isinstance(node, dict)
            else node
        )
        return InvalidInput(
            what=f"The query {why} {str(shown)[:60]!r}. A condition is KEY = VALUE, with texts in single quotes: "
            "instrument = 'P06' AND energy > '12 keV'."
        )


def _key(node: Any) -> str | None:
    return nfc(str(node["property"])) if isinstance(node, dict) and "property" in node else None


def _date(value: Any) -> Any:
    return value.get("date", value.get("timestamp")) if isinstance(value, dict) else value


def _unit(value: Any) -> str | None:
    found = QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    return found[2] if found else None


def _range(key: str, op: str, dimension: str, low: float, high: float) -> Range:
    match op:
        case "=":
            return Range(key, dimension, low, high)
        case "<":
            return Range(key, dimension, high=low, high_in=False)
        case "<=":
            return Range(key, dimension, high=high)
        case ">":
            return Range(key, dimension, low=high, low_in=False)
        case _:
            return Range(key, dimension, low=low)


def _span(key: str, op: str, value: str) -> Span:
    if op in {"<", "<="}:
        return Span(key, high=value, high_in=op == "<=")
    return Span(key, low=value, low_in=op == ">=")


# And how many values each takes; 0: it says itself what it takes.
_HANDLERS: Final[dict[str, tuple[Callable[[_Reader, str, list[Any]], Condition], int]]] = {
    **dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), (_Reader.compare, 2)),
    "between": (_Reader.between, 3),
    "in": (_Reader.among, 2),
    "like": (_Reader.like, 2),
    "isnull": (_Reader.absent, 1),
    "t_during": (_Reader.during, 2),
    "t_after": (_Reader.temporal, 2),
    "t_before": (_Reader.temporal, 2),
    "cone": (_Reader.cone, 0),
    "text": (_Reader.text, 0),
    "file": (_Reader.file, 0),
}
