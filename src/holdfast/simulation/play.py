# SPDX-License-Identifier: Apache-2.0
"""One simulation with all that is told about it: its figures, lower bounds, and a line per request."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.errors import InvalidInput
from holdfast.scheduling.bound import assignment
from holdfast.scheduling.cost import matrix
from holdfast.scheduling.geometry import WrapMap
from holdfast.scheduling.recalls import Recalls
from holdfast.simulation.baselines import FirstCome, OldestFirst
from holdfast.simulation.engine import Engine
from holdfast.simulation.figures import Outcome
from holdfast.simulation.library import Cartridge, Library
from holdfast.simulation.trace import Row

SCHEDULERS: Final[dict[str, type[Recalls]]] = {"weighted": Recalls, "oldest": OldestFirst, "fifo": FirstCome}
_EXACT: Final = 600  # files; for more the bound takes the cheapest way into each, which is weaker and quicker
_MOST: Final = 3_000  # files; for more only reading counts


@dataclass(slots=True)
class Bound:
    """Collects what must be done whatever the order: no schedule of these drives ends sooner."""

    library: Library
    writing: float = 0.0  # seconds of drives
    last: float = 0.0  # when the last row came
    known: dict[str, array[int]] = field(default_factory=dict)  # tape -> start, size, start, size, ...

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows on, and remember what they ask for. What the trace writes and then recalls is left out."""
        fastest = max(tape.medium.rate for tape in self.library.tapes)
        for row in rows:
            self.last = row.at
            if row.kind == "write":
                self.writing += 2 * row.size / fastest
            elif row.tape:
                self.known.setdefault(row.tape, array("q")).extend((row.start, row.size))
            yield row

    def seconds(self) -> float:
        """Return the lower bound of the makespan: each tape once in a drive, cheapest ways (assignment), all reading."""
        tapes = {tape.serial: tape for tape in self.library.tapes}
        total = sum(self._tape(tapes[serial], wanted) for serial, wanted in self.known.items())
        return max((total + self.writing) / len(self.library.drives), self.last)

    def _tape(self, tape: Cartridge, wanted: array[int]) -> float:
        starts, sizes = np.array(sorted(set(zip(wanted[::2], wanted[1::2], strict=True))), dtype=np.float64).T
        reading = float(sizes.sum()) / tape.medium.rate + self.library.timing.fixed
        if len(starts) > _MOST:
            return reading
        costs = matrix(WrapMap.nominal(tape.medium), starts, starts + sizes, rate=tape.medium.rate)
        if len(starts) > _EXACT:
            return reading + float(costs[:-1, 1:].min(axis=0).sum())
        return reading + assignment(costs)


def play(
    library: Library,
    rows: Iterable[Row],
    *,
    scheduler: str = "weighted",
    seed: int = 0,
    learn: bool = False,
    log: Path | None = None,
) -> tuple[dict[str, float], array[float]]:
    """Simulate; return the figures by name and the waiting times in seconds. `log` gets a CSV line per request."""
    recalls = SCHEDULERS[scheduler](library.policy, library.timing)
    bound = Bound(library)
    if log is None:
        engine = Engine(library, recalls, seed=seed, learn=learn)
        figures = engine.run(bound.watch(rows))
    else:
        with log.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([column.name for column in fields(Outcome)])
            sink = lambda outcome: writer.writerow(_cells(outcome))  # noqa: E731 (one line, used once)
            engine = Engine(library, recalls, seed=seed, learn=learn, sink=sink)
            figures = engine.run(bound.watch(rows))
    if not figures.asked and not figures.written:
        raise InvalidInput(what="The trace has no rows: there is nothing to simulate.")
    summary = figures.summary()
    summary["bound_s"] = bound.seconds()
    summary["makespan_to_bound"] = summary["makespan_s"] / max(summary["bound_s"], 1e-9)
    summary["tapes_touched"] = len(bound.known)
    summary["filling"] = engine.shelf.efficiency
    return summary, figures.latencies


def _cells(outcome: Outcome) -> list[str]:
    return [f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in astuple(outcome)]
