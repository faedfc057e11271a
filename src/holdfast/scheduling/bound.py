# SPDX-License-Identifier: Apache-2.0
"""The assignment bound: no tour is shorter than the cheapest choice of one way out of and one way into each place.

What the choice looks like is a path from the head to the rewind and some loops; joined, they make a good tour to begin with.

Solved by shortest augmenting paths (Jonker and Volgenant, 1987), which arrays make quick enough for some hundred files.
"""

from __future__ import annotations

import numpy as np

from holdfast.scheduling.cost import NEVER
from holdfast.scheduling.geometry import Floats, Ints


def assignment(costs: Floats) -> float:
    """Return a lower bound in seconds for all tours of a cost matrix as of `cost.matrix`."""
    following = successors(costs)
    return float(costs[np.arange(len(following)), following].sum())


def successors(costs: Floats) -> Ints:
    """Return for each row from 0 to n the column 1..n+1 that follows it, at the least total cost; loops are allowed."""
    ways = np.ascontiguousarray(costs[:-1, 1:])
    count = len(ways)
    if count > 1:
        ways[0, -1] = NEVER  # straight from the head to the rewind, with all files in loops of their own
    rows, columns = np.full(count, -1), np.full(count, -1)
    up, down = np.zeros(count), np.zeros(count)
    for row in range(count):
        _augment(ways, row, rows, columns, up, down)
    following: Ints = columns + 1
    return following


def patched(costs: Floats) -> Ints:
    """Return a tour from the cheapest assignment: its loops are joined to the path one by one where it costs least."""
    following = successors(costs)
    path = [0]
    while path[-1] < len(following):
        path.append(int(following[path[-1]]))
    tour = np.array(path)
    left = set(range(1, len(following))) - set(path)
    while left:
        # The loop of any file that is left: it enters the tour behind tour[at], opened before its file `first`.
        loop = [left.pop()]
        while int(following[loop[-1]]) != loop[0]:
            loop.append(int(following[loop[-1]]))
            left.discard(loop[-1])
        ring = np.array(loop)
        opened = np.roll(ring, 1)  # the file before each file of the loop
        extra = costs[tour[:-1, None], ring[None]] + costs[opened[:, None], tour[None, 1:]].T
        extra -= costs[tour[:-1], tour[1:]][:, None] + costs[opened, ring][None]
        at, first = divmod(int(extra.argmin()), len(ring))
        tour = np.concatenate((tour[: at + 1], np.roll(ring, -first), tour[at + 1 :]))
    return tour


def _augment(ways: Floats, row: int, rows: Ints, columns: Ints, up: Floats, down: Floats) -> None:
    """Give `row` a column along the cheapest path of exchanges; `up` and `down` are the dual prices."""
    count = len(ways)
    nearest, came = np.full(count, np.inf), np.full(count, -1)
    done = np.zeros(count, dtype=bool)
    at, reached, passed = row, 0.0, [row]
    while True:
        through = reached + ways[at] - up[at] - down
        better = ~done & (through < nearest)
        nearest[better], came[better] = through[better], at
        open_ways = np.where(done, np.inf, nearest)
        end = int(open_ways.argmin())
        reached = float(open_ways[end])
        done[end] = True
        if rows[end] < 0:
            break
        at = int(rows[end])
        passed.append(at)
    up[row] += reached
    for one in passed[1:]:
        up[one] += reached - nearest[columns[one]]
    down[done] -= reached - nearest[done]
    while True:
        back = int(came[end])
        rows[end], columns[back], end = back, end, columns[back]
        if back == row:
            return
