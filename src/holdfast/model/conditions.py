# SPDX-License-Identifier: Apache-2.0
"""Conditions on what datasets are found by. A dataset without the key fulfils no comparison. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class All:
    """Each of the parts holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of the parts holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Condition


@dataclass(frozen=True, slots=True)
class Is:
    """A key has this text, or is true or false."""

    key: str
    value: str | bool


@dataclass(frozen=True, slots=True)
class Has:
    """There is a value of this key."""

    key: str


@dataclass(frozen=True, slots=True)
class Range:
    """A number of a dimension (of dates: seconds since 1970) lies between two bounds."""

    key: str
    dimension: str
    low: float = -math.inf
    high: float = math.inf
    low_in: bool = True
    high_in: bool = True

    def within(self, other: Range) -> Range:
        """Return what lies in both ranges, which are of the same numbers."""
        low, low_out = max((self.low, not self.low_in), (other.low, not other.low_in))
        high, high_in = min((self.high, self.high_in), (other.high, other.high_in))
        return Range(self.key, self.dimension, low, high, not low_out, high_in)


@dataclass(frozen=True, slots=True)
class Span:
    """A text stands between two others, in the order of code points."""

    key: str
    low: str | None = None
    high: str | None = None
    low_in: bool = True
    high_in: bool = True


@dataclass(frozen=True, slots=True)
class Like:
    """A text fits a pattern: % stands for any characters, _ for one, a backslash takes the next as it is."""

    key: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Words:
    """All these words are in the title or in texts of the metadata; `word*` is one that begins so."""

    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cone:
    """The place on the sky is at most `radius` from here; all in degrees."""

    ra: float
    dec: float
    radius: float


@dataclass(frozen=True, slots=True)
class File:
    """A file has this name, whatever its folder."""

    name: str


Condition = All | Either | Not | Is | Has | Range | Span | Like | Words | Cone | File
