# SPDX-License-Identifier: Apache-2.0
"""The shortest tour there is, to know how much of the way to a lower bound any program could go.

The assignment bound is solved as an integer programme; whatever loops its solution has are forbidden, and it is solved
again, until one tour is left. That takes seconds for some dozen files: for comparing only.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

ROUNDS = 60  # of forbidding loops; the bound is valid after any of them


def shortest(costs: np.ndarray) -> float:
    """Return the seconds of the shortest tour of a matrix as of `cost.matrix` (a lower bound if it takes too long)."""
    places = len(costs) - 1
    tails, heads = (side.ravel() for side in np.meshgrid(np.arange(places), np.arange(1, places + 1), indexing="ij"))
    useful = (tails != heads) & ~((tails == 0) & (heads == places) & (places > 1))
    tails, heads = tails[useful], heads[useful]
    ways, numbers = costs[tails, heads], np.arange(len(tails))
    once = csr_matrix((np.ones(2 * len(tails)), (np.r_[tails, places + heads - 1], np.r_[numbers, numbers])))
    rules = [LinearConstraint(once, 1, 1)]
    seconds = 0.0
    for _ in range(ROUNDS):
        found = milp(ways, constraints=rules, integrality=np.ones(len(ways)), bounds=Bounds(0, 1))
        seconds = float(found.fun)
        chosen = np.round(found.x) == 1
        loops = _loops(dict(zip(tails[chosen].tolist(), heads[chosen].tolist(), strict=True)))
        if not loops:
            break
        inside = np.array([np.isin(tails, loop) & np.isin(heads, loop) for loop in loops], dtype=float)
        rules.append(LinearConstraint(csr_matrix(inside), -np.inf, [len(loop) - 1 for loop in loops]))
    return seconds


def _loops(following: dict[int, int]) -> list[list[int]]:
    at, seen = 0, set()
    while at in following:
        seen.add(at)
        at = following[at]
    loops = []
    for start in following:
        loop, at = [], start
        while at not in seen:
            seen.add(at)
            loop.append(at)
            at = following[at]
        if loop:
            loops.append(loop)
    return loops
