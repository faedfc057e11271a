# SPDX-License-Identifier: Apache-2.0
"""The library that is simulated: drives, tapes, times and policy, read from a TOML file.

`truth` is what the scheduler does not know: how far the real wraps differ from the nominal ones.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from holdfast.errors import InvalidInput
from holdfast.scheduling.allocation import Writing
from holdfast.scheduling.asks import Policy
from holdfast.scheduling.cost import Timing
from holdfast.scheduling.geometry import DRIVES, MEDIA, MediaType, WrapMap

_MOST: Final = 100_000  # drives or tapes; more is a slip of the pen


@dataclass(frozen=True, slots=True)
class Cartridge:
    """A tape of the library, with what is on it at the beginning."""

    serial: str
    medium: MediaType
    twin: str
    filled: int  # bytes
    batch: str


@dataclass(frozen=True, slots=True)
class Truth:
    """How real tapes differ from nominal ones: shares of a wrap, and seconds."""

    bias: float = 0.0  # all wraps are longer by this share
    jitter: float = 0.0  # standard deviation of single wraps
    noise: float = 0.0  # standard deviation of a locate time, seconds


@dataclass(frozen=True, slots=True)
class Library:
    """All that a simulation needs to know."""

    drives: tuple[str, ...]  # the type of each
    tapes: tuple[Cartridge, ...]
    timing: Timing = field(default_factory=Timing)
    policy: Policy = field(default_factory=Policy)
    writing: Writing = field(default_factory=Writing)
    truth: Truth = field(default_factory=Truth)

    def recallable(self) -> list[tuple[str, float]]:
        """Return the first tape of each pair that holds something, with its filled bytes."""
        return [(t.serial, float(t.filled)) for t in self.tapes if t.filled and t.serial < t.twin]

    def with_drives(self, more: int) -> Library:
        """Return the library with more, or fewer, drives of its most capable type. Raises InvalidInput."""
        kind = max(self.drives, key=lambda drive: (len(DRIVES[drive]), drive))
        count = len(self.drives) + more
        if count < 1:
            raise InvalidInput(what=f"The library has {len(self.drives)} drives; {more:+d} leaves none.")
        return replace(self, drives=(*self.drives, *[kind] * more) if more > 0 else self.drives[:count])

    def with_media(self, medium: MediaType) -> Library:
        """Return a library with all tapes, and where needed the drives, of another generation; as full as before."""
        tapes = tuple(
            replace(t, medium=medium, filled=int(t.filled / t.medium.capacity * medium.capacity)) for t in self.tapes
        )
        readers = sorted(kind for kind, able in DRIVES.items() if medium.name in able)
        kept = tuple(kind if medium.name in DRIVES[kind] else readers[0] for kind in self.drives)
        return replace(self, tapes=tapes, drives=kept)


def true_map(medium: MediaType, truth: Truth, chance: np.random.Generator) -> WrapMap:
    """Return the table of a tape as it really is."""
    return WrapMap.drawn(medium, truth.bias, truth.jitter, chance)


def read(path: Path) -> Library:
    """Return the library of a TOML file. Raises InvalidInput that says what is wrong, and where."""
    try:
        text = path.read_text(encoding="utf-8")
        given = tomllib.loads(text)
    except OSError as error:
        raise InvalidInput(what=f"The library {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(what=f"{path} is not TOML: {error}.") from error
    reader = _Reader(path, text)
    reader.only("", given, {"drives", "tapes", "timing", "policy", "writing", "truth"})
    return Library(
        drives=reader.drives(given.get("drives", [])),
        tapes=reader.tapes(given.get("tapes", [])),
        timing=reader.made("timing", Timing(), given.get("timing", {})),
        policy=reader.made("policy", Policy(), given.get("policy", {})),
        writing=reader.made("writing", Writing(), given.get("writing", {})),
        truth=reader.made("truth", Truth(), given.get("truth", {})),
    )


T = TypeVar("T", Timing, Policy, Writing, Truth)


class _Reader:
    """Checks the parts of the file, and says in which line something is wrong."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()

    def wrong(self, what: str, word: str = "") -> InvalidInput:
        """Return the error, with the line in which `word` is first seen."""
        line = next((n for n, text in enumerate(self._lines, 1) if word and text.lstrip(" [").startswith(word)), 0)
        return InvalidInput(what=f"{self._path}{f', line {line}' if line else ''}: {what}")

    def only(self, where: str, given: Any, allowed: set[str]) -> None:
        if not isinstance(given, dict):
            raise self.wrong(f"{where} must be a table, [{where}].", where)
        for key in given:
            if key not in allowed:
                place = f" in [{where}]" if where else ""
                raise self.wrong(f"{key} is not known{place}. Known are {', '.join(sorted(allowed))}.", key)

    def made(self, where: str, default: T, given: Any) -> T:
        """Return `default` with the values of a table."""
        kinds = {f.name: type(getattr(default, f.name)) for f in fields(default)}
        simple = {name: kind for name, kind in kinds.items() if kind in {int, float}}
        self.only(where, given, set(simple) | ({"shares"} & set(kinds)))
        for key, value in given.items():
            if (
                key in {"segment", "session", "buffer", "feed", "ageing_time", "share_memory", "share_bound"}
                and not value
            ):
                raise self.wrong(f"{key} must be above 0.", key)
            if key != "shares":
                self.number(key, value, whole=simple[key] is int, signed=key == "bias")
            elif not isinstance(value, dict) or not all(isinstance(v, int | float) and v > 0 for v in value.values()):
                raise self.wrong("shares must be a table of groups with numbers above 0.", key)
        return replace(default, **{k: simple[k](v) if k in simple else v for k, v in given.items()})

    def number(self, key: str, value: Any, *, whole: bool = False, signed: bool = False) -> float:
        """Return a number that is one."""
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
            raise self.wrong(f"{key} must be a {'whole ' if whole else ''}number; found {value!r}.", key)
        if value < 0 and not signed:
            raise self.wrong(f"{key} must not be negative; found {value}.", key)
        return float(value)

    def count(self, key: str, given: Mapping[str, Any]) -> int:
        value = int(self.number(key, given.get(key, 1), whole=True))
        if not 1 <= value <= _MOST:
            raise self.wrong(f"{key} must be from 1 to {_MOST}; found {value}.", key)
        return value

    def drives(self, given: Any) -> tuple[str, ...]:
        made: list[str] = []
        for entry in self.entries("drives", given):
            self.only("drives", entry, {"type", "count"})
            kind = entry.get("type")
            if kind not in DRIVES:
                raise self.wrong(f"type of a drive must be one of {', '.join(DRIVES)}; found {kind!r}.", "type")
            made += [kind] * self.count("count", entry)
        return tuple(made)

    def tapes(self, given: Any) -> tuple[Cartridge, ...]:
        made: list[Cartridge] = []
        for entry in self.entries("tapes", given):
            self.only("tapes", entry, {"media", "pairs", "filled", "batch"})
            if entry.get("media") not in MEDIA:
                raise self.wrong(f"media must be one of {', '.join(MEDIA)}; found {entry.get('media')!r}.", "media")
            medium, filled = MEDIA[entry["media"]], self.number("filled", entry.get("filled", 0.0))
            if filled > 1:
                raise self.wrong(f"filled is a share from 0 to 1; found {filled}.", "filled")
            batch = str(entry.get("batch", ""))
            for _ in range(self.count("pairs", entry)):
                serials = f"A{len(made) // 2:05d}", f"B{len(made) // 2:05d}"
                for own, twin, suffix in ((serials[0], serials[1], "/1"), (serials[1], serials[0], "/2")):
                    used = int(filled * medium.capacity)
                    made.append(Cartridge(own, medium, twin, used, batch and batch + suffix))
        return tuple(made)

    def entries(self, name: str, given: Any) -> list[Any]:
        if not isinstance(given, list) or not given:
            raise self.wrong(f"there must be at least one [[{name}]].", name)
        return given
