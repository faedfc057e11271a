# SPDX-License-Identifier: Apache-2.0
"""What is read while one tape stays in its drive: the order, and requests that arrive while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

import numpy as np

from holdfast.scheduling.asks import Ask, Extent, Tape
from holdfast.scheduling.cost import LOCATE, between, matrix
from holdfast.scheduling.tour import Effort, solve

# Seconds of locates and the rewind when this many places, far apart, are read in one mount; from `tour` itself on a
# full M8 tape. What lies between is interpolated on logarithmic axes.
_PLACES: Final = np.log([1, 2, 3, 5, 10, 20, 50, 100, 200, 400])
_SECONDS: Final = np.log([122, 164, 192, 230, 304, 434, 811, 1437, 2575, 4717])


# Files. A longer plan is not made anew for each request that joins: that goes where it costs least, and when a fifth
# of the plan came so, all is planned again.
_LONG: Final = 60
_PATCHED: Final = 0.2


@dataclass(slots=True)
class Item:
    """A package to be read from one tape, and all who ask for it."""

    package: str
    extent: Extent
    asks: list[Ask] = field(default_factory=list)


def runs(extents: Sequence[Extent], rate: float) -> list[list[int]]:
    """Return the indices of extents in runs that are read in one go: what lies between costs less than any locate."""
    made: list[list[int]] = []
    reach = LOCATE.base * rate  # bytes
    for index in sorted(range(len(extents)), key=lambda i: extents[i].start):
        if made and 0 <= extents[index].start - extents[made[-1][-1]].end <= reach:
            made[-1].append(index)
        else:
            made.append([index])
    return made


def order(tape: Tape, extents: Sequence[Extent], *, head: float, effort: Effort) -> list[int]:
    """Return the indices of extents in the order in which they are read best from `head` (bytes), rewind included."""
    grouped = runs(extents, tape.medium.rate)
    if len(grouped) > 1:
        starts = np.array([extents[run[0]].start for run in grouped], dtype=np.float64)
        ends = np.array([extents[run[-1]].end for run in grouped], dtype=np.float64)
        costs = matrix(tape.table, starts, ends, rate=tape.medium.rate, head=head)
        grouped = [grouped[row - 1] for row in solve(costs, effort=effort)]
    return [index for run in grouped for index in run]


def cheapest_place(tape: Tape, planned: Sequence[Extent], new: Extent, *, head: float) -> int:
    """Return before which of the planned extents a new one costs least, without changing the order of the others."""
    rate = tape.medium.rate
    leave = np.array([head, *(extent.end for extent in planned)], dtype=np.float64)
    enter = np.array([extent.start for extent in planned], dtype=np.float64)
    there = between(tape.table, leave, np.full(len(leave), float(new.start)), rate=rate)
    back = between(tape.table, np.full(len(enter), float(new.end)), enter, rate=rate)
    now = between(tape.table, leave[:-1], enter, rate=rate)
    x = tape.table.places(np.array([leave[-1], float(new.end)])).x
    last = there[-1] + float(LOCATE.full_length * (x[1] - x[0]))  # behind all others: only the rewind changes
    return int(np.append(there[:-1] + back - now, last).argmin())


@cache
def moving(places: int) -> float:
    """Return about how many seconds of locates and rewind a mount costs that reads at so many places, far apart."""
    return float(np.exp(np.interp(np.log(places), _PLACES, _SECONDS))) if places else 0.0


def seconds(extents: Iterable[Extent], rate: float) -> float:
    """Return about how long locates, reading and the rewind take; quick, for comparing tapes."""
    reach, last, places, total = LOCATE.base * rate, -np.inf, 0, 0
    for start, size in sorted((extent.start, extent.size) for extent in extents):
        places += not 0 <= start - last <= reach
        last = start + size
        total += size
    return moving(places) + total / rate


class Reading:
    """A mounted tape and what is still to be read from it."""

    def __init__(self, tape: Tape, items: Sequence[Item], *, begun: float, effort: Effort) -> None:
        """`begun` is the time of the mount in seconds."""
        self.tape = tape
        self.begun = begun
        self.current: Item | None = None
        self._effort = effort
        self._joined = replace(effort, shakes=0)  # planned again with each file, it must be quick
        self._plan: list[Item] = list(items)
        self._new: list[Item] = []
        self._stale = True
        self._patched = 0

    @property
    def plan(self) -> tuple[Item, ...]:
        """What is still to be read, in order as far as it is known."""
        return (*self._plan, *self._new)

    @property
    def ordered(self) -> bool:
        """Whether the order of the plan is known."""
        return not self._stale

    def find(self, package: str) -> Item | None:
        """Return the item of a package that is planned or being read."""
        known = (self.current, *self._plan, *self._new)
        return next((item for item in known if item and item.package == package), None)

    def join(self, item: Item) -> None:
        """Add an item; the rest of the tour is planned again before the next file."""
        self._new.append(item)

    def drop(self, item: Item) -> None:
        """Leave an item out that nobody wants any more."""
        (self._new if item in self._new else self._plan).remove(item)

    def take(self, head: float) -> Item | None:
        """Return what to read next with the head at `head` (bytes), or None when nothing is left."""
        self._patched += len(self._new)
        if self._stale or (self._new and (len(self._plan) < _LONG or self._patched > _PATCHED * len(self._plan))):
            self._plan += self._new
            extents = [item.extent for item in self._plan]
            indices = order(self.tape, extents, head=head, effort=self._effort if self._stale else self._joined)
            self._plan = [self._plan[index] for index in indices]
            self._patched, self._stale = 0, False
        else:
            for item in self._new:
                planned = [known.extent for known in self._plan]
                self._plan.insert(cheapest_place(self.tape, planned, item.extent, head=head), item)
        self._new = []
        self.current = self._plan.pop(0) if self._plan else None
        return self.current
