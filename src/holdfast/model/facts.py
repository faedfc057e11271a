# SPDX-License-Identifier: Apache-2.0
"""What a dataset is found by: its texts, its numbers in base units, and terms, which an index holds as 64-bit numbers. Pure."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from holdfast.model.metadata import checked_date, instant, kind_of
from holdfast.model.units import QUANTITY, check_unit, degrees, in_base

NUMBER: Final = "number"  # the dimension of numbers without a unit
DATE: Final = "date"  # seconds since 1970
TEXT_LIMIT: Final = 200  # characters that are kept for patterns, order and facets
# 12 keV and 12000 eV differ in the last binary digit.
_SAME: Final = 1e-9
WORD_LIMIT: Final = 100  # characters
WORDS_LIMIT: Final = 2000  # different words of a dataset
RA: Final = " ra"  # degrees; no key of a dataset begins with a blank
DEC: Final = " dec"
ID: Final = "id"  # no two have the same: it is looked for by itself
# Sky cells: zones of declination, cut into pieces about as wide as high.
CELLS: Final = (10.0, 1.0)  # degrees
_CELLS_MOST: Final = 200  # of one cone
_SLACK: Final = 1e-6  # degrees: rounding must not lose the edge of a cone
_WORD: Final = re.compile(r"[^\W_]+")
_PREFIX: Final = re.compile(r"[^\W_]+\*?")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the index holds of one dataset."""

    texts: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)  # in the base unit of their dimension
    ordered: dict[int, float] = field(default_factory=dict)  # the same, by the term of key and dimension
    terms: set[int] = field(default_factory=set)
    spelled: set[tuple[str, str]] = field(default_factory=set)  # (key, text) and ("", word), for what begins so


@lru_cache(maxsize=65_536)
def term(kind: str, *parts: str) -> int:
    """Return the 64-bit number of a term, as a signed integer."""
    text = "\0".join((kind, *parts))
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big", signed=True
    )


def spelled_term(key: str, text: str) -> int:
    """Return the term of a dataset with a word (key ""), or with a text that is this one or begins with these characters."""
    if not key:
        return term("w", text)
    return term("p" if len(text) >= TEXT_LIMIT else "s", key, text)


def span_of(text: str) -> tuple[str, float, float] | None:
    """Return dimension and both ends of what a text covers that reads as a number with a unit, or as a date: a day is long.

    None for another text. Raises ValueError for an unknown unit.
    """
    if found := QUANTITY.fullmatch(text.strip()):
        dimension, base = in_base(float(found[1]), check_unit(found[2]))
        slack = abs(base) * _SAME
        return dimension, base - slack, base + slack
    try:
        date = checked_date(text)
        begin = instant(date)
        end = begin if "T" in date else begin + timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError):
        return None
    return DATE, begin.timestamp(), end.timestamp()


def nfc(text: str) -> str:
    """Return a key or a text as it is kept and looked for: however its accents were typed."""
    return unicodedata.normalize("NFC", text)


def _read(text: str) -> tuple[str, float] | None:
    """Return dimension and number of a text of the metadata that reads as a number with a unit, or as a date."""
    try:
        found = span_of(text) if len(text) <= TEXT_LIMIT else None
    except ValueError:
        return None
    return None if found is None else (found[0], found[1] if found[0] == DATE else (found[1] + found[2]) / 2)


def words_of(text: str, *, prefixes: bool = False) -> list[str]:
    """Return the words of a text in lower case; with `prefixes`, a word keeps the * behind it."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word[:WORD_LIMIT] for word in (_PREFIX if prefixes else _WORD).findall(folded)]


def facts(own: Mapping[str, Any], metadata: Mapping[str, Any]) -> Facts:
    """Return what a dataset is found by: by its `own` values (texts, numbers, times), and by its metadata.

    Of a name that both have, the own value counts.
    """
    found = Facts()
    for key, value in metadata.items():
        if key not in own:
            _add(found, key, value)
    for key, value in own.items():
        if value is not None:
            _add(found, key, {"date": value.isoformat()} if isinstance(value, datetime) else value)
    _place(found, metadata.get("ra"), metadata.get("dec"))
    words = sorted({word for text in _texts(own, metadata) for word in words_of(text)})[:WORDS_LIMIT]
    found.terms.update(term("w", word) for word in words)
    found.spelled.update(("", word) for word in words)
    return found


def _texts(own: Mapping[str, Any], metadata: Mapping[str, Any]) -> Iterable[str]:
    yield str(own.get("title", ""))
    yield from (value for value in metadata.values() if isinstance(value, str))


def _add(found: Facts, key: str, value: Any) -> None:
    key, value = (
        nfc(key),
        nfc(value) if isinstance(value, str) else value,
    )  # titles, and what tapes had, are as they came
    found.terms.add(term("k", key))
    match kind_of(value):
        case "string":
            found.texts[key] = value[:TEXT_LIMIT]
            found.terms.add(term("s", key, value))
            if len(value) >= TEXT_LIMIT:
                found.terms.add(spelled_term(key, value[:TEXT_LIMIT]))
            if (number := _read(value)) is not None:
                _add_number(found, key, *number)
            if key != ID:
                found.spelled.add((key, value[:TEXT_LIMIT]))
        case "boolean":
            found.terms.add(term("b", key, str(value)))
        case "date":
            _add_number(found, key, DATE, instant(value["date"]).timestamp())
        case "number" if isinstance(value, dict):
            _add_number(found, key, *in_base(float(value["value"]), value["unit"]))
        case "number":
            _add_number(found, key, NUMBER, float(value))


def _add_number(found: Facts, key: str, dimension: str, value: float) -> None:
    known = term("n", key, dimension)
    found.numbers[key] = found.ordered[known] = value
    found.terms.add(known)


def _place(found: Facts, ra: Any, dec: Any) -> None:
    """Note where on the sky it is, when both angles are there."""
    east, north = _angle(ra), _angle(dec)
    if east is None or north is None or not (math.isfinite(east) and -90 <= north <= 90):  # noqa: PLR2004 - the poles
        return
    found.numbers[RA], found.numbers[DEC] = east % 360, north
    found.terms.update((term("k", RA), *(cell(east % 360, north, size) for size in CELLS)))


def _angle(value: Any) -> float | None:
    if isinstance(value, dict):
        return degrees(float(value["value"]), value["unit"]) if "unit" in value else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def cell(ra: float, dec: float, size: float) -> int:
    """Return the term of the sky cell in which a place lies."""
    zone = min(int((dec + 90) / size), _zones(size) - 1)
    return _cell_term(size, zone, int(ra / 360 * _pieces(zone, size)) % _pieces(zone, size))


def cells(ra: float, dec: float, radius: float) -> list[int] | None:
    """Return the terms of all cells that a cone touches, in the finest size that gives few; None when there are too many."""
    for size in reversed(CELLS):
        found = _cells(ra, dec, radius, size)
        if found is not None:
            return found
    return None


def _cells(ra: float, dec: float, radius: float, size: float) -> list[int] | None:
    found: list[int] = []
    reach = radius + _SLACK
    first, last = (int((min(max(edge, -90), 90) + 90) / size) for edge in (dec - reach, dec + reach))
    for zone in range(first, min(last, _zones(size) - 1) + 1):
        pieces = _pieces(zone, size)
        width = _half_width(dec, radius)
        if width is None:
            found += [_cell_term(size, zone, piece) for piece in range(pieces)]
        else:
            begin, end = math.floor((ra - width) / 360 * pieces), math.floor((ra + width) / 360 * pieces)
            found += [
                _cell_term(size, zone, piece % pieces) for piece in range(begin, min(end, begin + pieces - 1) + 1)
            ]
        if len(found) > _CELLS_MOST:
            return None
    return found


def _half_width(dec: float, radius: float) -> float | None:
    """Return how far a cone reaches in right ascension, in degrees; None when it holds a pole."""
    if abs(dec) + radius >= 89.99:  # noqa: PLR2004 - degrees; near a pole the width is all around
        return None
    return math.degrees(math.asin(min(1.0, math.sin(math.radians(radius)) / math.cos(math.radians(dec))))) + _SLACK


def _zones(size: float) -> int:
    return round(180 / size)


def _pieces(zone: int, size: float) -> int:
    """Return into how many cells a zone is cut, by its middle."""
    return max(1, round(360 / size * math.cos(math.radians(-90 + (zone + 0.5) * size))))


def _cell_term(size: float, zone: int, piece: int) -> int:
    return term("c", f"{size:g} {zone} {piece}")
