# SPDX-License-Identifier: Apache-2.0
"""The assignment bound: no tour is shorter than the cheapest choice of one way out of and one way into each place.

Solved by shortest augmenting paths (Jonker and Volgenant, 1987), which arrays make quick enough for some hundred files.
"""

from __future__ import annotations

import numpy as np

from holdfast.scheduling.cost import NEVER
from holdfast.scheduling.geometry import Floats, Ints


def assignment(costs: Floats) -> float:
    """Return a lower bound in seconds for all tours of a cost matrix as of `cost.matrix`."""
    ways = np.ascontiguousarray(costs[:-1, 1:])
    count = len(ways)
    if count > 1:
        ways[0, -1] = NEVER  # straight from the head to the rewind, with all files in loops of their own
    rows, prices = np.full(count, -1), np.zeros(count)
    owner_prices = np.zeros(count)
    columns = np.full(count, -1)
    for row in range(count):
        _augment(ways, row, rows, columns, owner_prices, prices)
    return float(ways[np.arange(count), columns].sum())


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
