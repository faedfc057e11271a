# SPDX-License-Identifier: Apache-2.0
"""The order in which the files of one mounted tape are read: an asymmetric travelling salesman with a fixed start.

Nearest first (SLTF) gives one start, the joined loops of the cheapest assignment another; exchanging neighbouring stretches of the tour, never reversing one, improves it
(or-3-opt, which contains or-opt); shaking the tour a little and improving again gets out of dead ends. The cost counts
the rewind at the end, because the tape cannot leave the drive without it. All costs in seconds, in the form of
`cost.matrix`: row 0 is the head, column n+1 the rewind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.scheduling.bound import patched
from holdfast.scheduling.cost import NEVER
from holdfast.scheduling.geometry import Floats, Ints

FULL: Final = 400  # files; above, stretches of at most WINDOW files are exchanged, so that time grows with n
WINDOW: Final = 100
_GAIN: Final = 1e-7  # seconds; smaller gains are rounding
_SHAKEN: Final = 30  # files; the longest stretch of a random exchange


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to search for a better tour: random exchanges, each followed by an improvement."""

    exchanges: bool = True  # False: nearest first as it is
    shakes: int = 10
    most: int = 100  # files; longer tours are not shaken, since one improvement of them takes long


PLAIN: Final = Effort(exchanges=False)
QUICK: Final = Effort(shakes=0)
NORMAL: Final = Effort()
THOROUGH: Final = Effort(shakes=100, most=FULL)


def length(costs: Floats, tour: Ints) -> float:
    """Return the seconds of a tour, rewind included; the tour names rows from 0 to n+1."""
    return float(costs[tour[:-1], tour[1:]].sum())


def nearest_first(costs: Floats) -> Ints:
    """Return the tour that always goes to the file that is reached soonest (SLTF)."""
    count = len(costs) - 2
    ways = costs[:, :-1].copy()
    ways[:, 0] = 2 * NEVER
    tour = np.empty(count + 2, dtype=np.int64)
    tour[0], tour[-1] = 0, count + 1
    at = 0
    for step in range(1, count + 1):
        at = int(ways[at].argmin())
        ways[:, at] = 2 * NEVER
        tour[step] = at
    return tour


def improve(costs: Floats, tour: Ints) -> Ints:
    """Return the tour after exchanging neighbouring stretches until no exchange makes it shorter."""
    last = len(tour) - 1
    if last < 3:  # noqa: PLR2004 (one file: there is nothing to exchange)
        return tour
    window = last if last - 1 <= FULL else WINDOW
    start, quiet = 0, 0
    steps = costs[tour[:-1], tour[1:]]
    while quiet < last - 2:
        found = _exchange(costs, tour, steps, start, min(last, start + 2 * window))
        if found is None:
            quiet += 1
            start = (start + 1) % (last - 2)
            continue
        middle, end = found
        tour = _exchanged(tour, start, middle, end)
        steps = costs[tour[:-1], tour[1:]]
        quiet = 0
    return tour


def solve(costs: Floats, *, effort: Effort = NORMAL, seed: int = 0) -> Ints:
    """Return a short tour as the order of the files, 1..n; never longer than nearest first."""
    best = nearest_first(costs)
    if not effort.exchanges:
        return best[1:-1]
    files = len(best) - 2
    starts = [best, improve(costs, patched(costs))]
    if files <= effort.most and effort.shakes:
        starts.append(improve(costs, best))
    best = min(starts, key=lambda one: length(costs, one))
    if 3 <= files <= effort.most:  # noqa: PLR2004 (with two files an improvement has tried both orders)
        best = _shaken(costs, best, effort.shakes, seed)
    return best[1:-1]


def _exchange(costs: Floats, tour: Ints, steps: Floats, start: int, stop: int) -> tuple[int, int] | None:
    """Return (middle, end) of the best gaining exchange of start+1..middle with middle+1..end, or None.

    Only pairs whose first two new ways already gain are looked at: no way costs less than nothing.
    """
    first = costs[tour[start], tour[start + 2 : stop]] - steps[start] - steps[start + 1 : stop - 1]
    second = costs[tour[start + 2 : stop], tour[start + 1]] - steps[start + 2 : stop]
    if len(first) == 0:
        return None
    middles = np.flatnonzero(first < -second.min() - _GAIN)
    if len(middles) == 0:
        return None
    ends = np.flatnonzero(second < -first[middles].min() - _GAIN)
    total = first[middles, None] + second[None, ends]
    total += costs[tour[start + 1 + middles][:, None], tour[start + 3 + ends][None]]
    total[middles[:, None] > ends[None]] = NEVER
    best = int(total.argmin())
    if total.flat[best] > -_GAIN:
        return None
    return start + 1 + int(middles[best // len(ends)]), start + 2 + int(ends[best % len(ends)])


def _exchanged(tour: Ints, start: int, middle: int, end: int) -> Ints:
    parts = (tour[: start + 1], tour[middle + 1 : end + 1], tour[start + 1 : middle + 1], tour[end + 1 :])
    return np.concatenate(parts)


def _shaken(costs: Floats, best: Ints, shakes: int, seed: int) -> Ints:
    chance = np.random.default_rng(seed)
    last = len(best) - 1
    shortest = length(costs, best)
    for _ in range(shakes):
        start = int(chance.integers(0, last - 2))
        stop = min(start + _SHAKEN, last - 1)
        middle, end = np.sort(chance.choice(np.arange(start + 1, stop + 1), 2, replace=False))
        tried = improve(costs, _exchanged(best, start, int(middle), int(end)))
        seconds = length(costs, tried)
        if seconds < shortest - _GAIN:
            best, shortest = tried, seconds
    return best
