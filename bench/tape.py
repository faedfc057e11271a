# SPDX-License-Identifier: Apache-2.0
"""The tape scheduler on paper: tours, whole library, learning of wraps, writing, decisions; with their lower bounds.

    .venv/bin/python bench/tape.py [--seeds 3] [--only tour|library|decision|learning|writing|burst|years|outlook]

Everything but `decision` is in virtual time: the figures are the same on every machine.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from bounds import shortest
from holdfast.scheduling import asks, cost, geometry, learning, outlook, tour
from holdfast.scheduling.bound import assignment
from holdfast.scheduling.recalls import Recalls
from holdfast.scheduling.session import runs
from holdfast.simulation import library, trace
from holdfast.simulation.engine import Engine
from holdfast.simulation.play import SCHEDULERS, play

M8 = geometry.MEDIA["M8"]
NOMINAL = geometry.WrapMap.nominal(M8)
HOUR = 3600.0
SOLVABLE = 50  # files; the shortest tour of more takes too long to find
FILE = 1e9  # bytes of the files in tours
ELETTRA = Path(__file__).parents[1] / "docs" / "how-to" / "libraries" / "elettra.toml"


def line(*cells: object) -> None:
    """Print a row of a Markdown table."""
    print(
        "| " + " | ".join(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in cells) + " |", flush=True
    )


def head(title: str, *columns: str) -> None:
    """Print a title and the head of a table."""
    print(f"\n### {title}\n")
    line(*columns)
    line(*["---"] * len(columns))


def bench_library(drives: int = 6) -> library.Library:
    """Return 405 full pairs of M8 tapes and drives that read them, wraps known exactly."""
    pairs = [(f"A{n:05d}", f"B{n:05d}") for n in range(405)]
    tapes = [
        library.Cartridge(own, M8, twin, M8.capacity, "")
        for one, two in pairs
        for own, twin in ((one, two), (two, one))
    ]
    return library.Library(drives=("LTO-8",) * drives, tapes=tuple(tapes))


def places(count: int, seed: int) -> np.ndarray:
    """Return positions of files at random on a full tape."""
    return np.random.default_rng(seed).uniform(0, M8.capacity - FILE, count)


def tours(seeds: int) -> None:
    """Compare orders within a mount, with the rewind and (as in older tables) without it."""
    for rewound in (True, False):
        head(
            f"Tour of random 1 GB files on a full M8 tape, rewind {'counted' if rewound else 'left out'}: "
            "seconds incl. reading / assignment bound",
            *("files", "any order", "nearest first", "normal", "thorough", "shortest there is", "normal, ms"),
        )
        for count in (10, 25, 50, 100, 200, 400):
            line(count, *_tours(count, rewound=rewound, rounds=max(seeds * 4 * 25 // max(count, 25), 2)))


def _tours(count: int, *, rewound: bool, rounds: int) -> Iterator[object]:
    ratios: dict[str, list[float]] = defaultdict(list)
    spent = []
    for seed in range(rounds):
        starts = places(count, seed)
        costs = cost.matrix(NOMINAL, starts, starts + FILE, rate=M8.rate)
        if not rewound:
            costs[:-1, -1] = 0.0
        reading = count * FILE / M8.rate
        least = assignment(costs) + reading
        orders = {"any": np.arange(1, count + 1), "nearest": tour.nearest_first(costs)[1:-1]}
        begun = time.perf_counter()
        orders["normal"] = tour.solve(costs)
        spent.append(1e3 * (time.perf_counter() - begun))
        orders["thorough"] = tour.solve(costs, effort=tour.THOROUGH)
        for name, order in orders.items():
            seconds = tour.length(costs, np.r_[0, order, count + 1]) + reading
            ratios[name].append(seconds / least)
        if count <= SOLVABLE:
            ratios["shortest"].append((shortest(costs) + reading) / least)
    yield from (statistics.mean(ratios[name]) for name in ("any", "nearest", "normal", "thorough"))
    yield statistics.mean(ratios["shortest"]) if ratios["shortest"] else "-"
    yield statistics.median(spent)


def whole(seeds: int) -> None:
    """Play 10,000 recalls of 405 pairs with six drives."""
    made = bench_library()
    for hours in (0.0, 12.0, 24.0):
        head(
            f"10,000 recalls, 6 drives, over {hours:.0f} h ({seeds} seeds)",
            *("scheduler", "mounts", "makespan h", "/ assignment bound", "/ shortest tours"),
            *("mean h", "median h", "p95 h", "max h"),
        )
        ideal = statistics.mean(_ideal(made, seed) for seed in range(1, seeds + 1)) if not hours else 0.0
        for name in reversed(SCHEDULERS):
            found = []
            for seed in range(1, seeds + 1):
                rows = trace.recalls(made.recallable(), count=10_000, hours=hours, seed=seed)
                found.append(play(made, rows, scheduler=name)[0])
            mean = {key: statistics.mean(one[key] for one in found) for key in found[0]}
            span = mean["makespan_s"] / HOUR
            waits = (mean[key] / HOUR for key in ("mean_s", "median_s", "p95_s", "max_s"))
            to_ideal = span / ideal if ideal else "-"
            line(name, round(mean["mounts"]), span, mean["makespan_to_bound"] if ideal else "-", to_ideal, *waits)
        if ideal:
            line("assignment bound", round(mean["tapes_touched"]), mean["bound_s"] / HOUR, 1.0, *["-"] * 5)
            line("shortest tours", round(mean["tapes_touched"]), ideal, "-", 1.0, *["-"] * 4)


def _ideal(made: library.Library, seed: int) -> float:
    """Return a tighter bound of the makespan in hours: the shortest tour of each tape, where it can be computed."""
    by_tape: dict[str, list[asks.Extent]] = defaultdict(list)
    for row in trace.recalls(made.recallable(), count=10_000, hours=0, seed=seed):
        by_tape[row.tape].append(asks.Extent(row.tape, row.start, row.size))
    total = 0.0
    for extents in by_tape.values():
        joined = runs(extents, M8.rate)
        starts = np.array([extents[run[0]].start for run in joined], dtype=float)
        ends = np.array([extents[run[-1]].end for run in joined], dtype=float)
        costs = cost.matrix(NOMINAL, starts, ends, rate=M8.rate)
        total += shortest(costs) if len(joined) <= SOLVABLE else assignment(costs)
        total += float((ends - starts).sum()) / M8.rate + made.timing.fixed  # gaps inside a run are streamed
    return total / len(made.drives) / HOUR


def decision(_seeds: int) -> None:
    """Time one decision with 10,000 requests in the queue."""
    made = bench_library()
    spent: dict[str, list[float]] = defaultdict(list)
    for seed in range(1, 6):
        recalls = Recalls()
        for cartridge in made.tapes:
            recalls.tape(asks.Tape(cartridge.serial, M8, NOMINAL))
        rows = list(trace.recalls(made.recallable(), count=10_000, hours=0, seed=seed, groups=10))
        begun = time.perf_counter()
        for row in rows:
            recalls.ask(
                asks.Ask(row.package, row.package, (asks.Extent(row.tape, row.start, row.size),), 0.0, row.group)
            )
        spent["putting all into the queue"].append(time.perf_counter() - begun)
        drives = [asks.Drive(f"d{n}", "LTO-8", None, n == 1) for n in range(1, 7)]
        for name in ("first decision, nothing known yet", "next decision"):
            begun = time.perf_counter()
            mounts = recalls.decide(drives, 60.0)
            spent[name].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        recalls.begin(mounts[0].tape, 60.0)
        recalls.take(mounts[0].tape, 0.0)
        spent["order of the chosen tape"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        list(outlook.outlook(recalls, drives, 60.0))
        spent["estimates of all requests"].append(time.perf_counter() - begun)
    head("10,000 requests queued: milliseconds (median of 5; this machine)", "what", "ms")
    for name, seconds in spent.items():
        line(name, 1e3 * statistics.median(seconds))


def wraps(seeds: int) -> None:
    """Compare orders by a table that is 1 % off, by what ten recalls taught, and by the true table."""
    head(
        "Wraps 1 % longer or shorter than believed, single wraps +-1 %, locate times +-1 s; "
        "seconds of moving the tape per file",
        *("files", "table 1 % off", "after 10 recalls", "true table", "gain lost"),
    )
    chance = np.random.default_rng(7)
    tapes = 20 * seeds
    totals = {count: np.zeros(3) for count in (25, 100)}
    for number in range(tapes):
        truth = library.true_map(M8, library.Truth(bias=0.01 * (-1) ** number, jitter=0.01), chance)
        learner = learning.Learner(M8)
        _driven(NOMINAL, truth, chance.uniform(0, 0.97 * M8.capacity, 10), chance, learner.observe)
        for count, total in totals.items():
            starts = chance.uniform(0, 0.97 * M8.capacity, count)
            total += [_driven(table, truth, starts, chance) / count for table in (NOMINAL, learner.table, truth)]
    for count, total in totals.items():
        off, learned, exact = (float(seconds) for seconds in total / tapes)
        line(count, off, learned, exact, f"{(learned - exact) / (off - exact):.1%}")


def _driven(
    table: geometry.WrapMap, truth: geometry.WrapMap, starts: np.ndarray, chance: np.random.Generator,
    observe: Callable[[float, float, float], None] | None = None,
) -> float:  # fmt: skip
    """Return the true seconds of the order that `table` suggests."""
    total, at = 0.0, 0.0
    for row in tour.solve(cost.matrix(table, starts, starts + FILE, rate=M8.rate), effort=tour.QUICK):
        start = float(starts[row - 1])
        seconds = cost.locate(truth, at, start, rate=M8.rate)
        if observe:
            observe(at, start, seconds + float(chance.normal(0, 1)))
        total, at = total + seconds, start + FILE
    return total + cost.rewind(truth, at)


def writing(_seeds: int) -> None:
    """Write segments of 64 GB to pairs, all mounts, locates, rewinds and syncs included."""
    head(
        "Mirrored writing of 64 GB segments, 50 TB", "a mount is worth", "sessions", "share of native, mounts included"
    )
    for amount in (1, 2, 4):
        made = bench_library(2)
        rule = replace(made.writing, enough=amount * 10**12, enough_files=10**9, age=1e9)
        made = replace(made, tapes=tuple(replace(tape, filled=0) for tape in made.tapes), writing=rule)
        found = play(made, trace.burst(rate=0.05e9, hours=278, segment=rule.segment))[0]
        share = 2 * found["written_bytes"] / M8.rate / found["writing_s"]
        line(f"{amount} TB", int(found["write_sessions"]), f"{share:.1%}")


def burst(_seeds: int) -> None:
    """Send 10 GB/s for 3 h, and see the buffer and the time until all is on tape."""
    head("10 GB/s for 3 h, written twice", "drives", "medium", "buffer TB", "hours until all is written")
    for drives, medium in ((6, "M8"), (6, "L9"), (18, "L9"), (60, "L9")):
        made = bench_library(drives)
        made = replace(made, tapes=tuple(replace(tape, filled=0) for tape in made.tapes)).with_media(
            geometry.MEDIA[medium]
        )
        found = play(made, trace.burst(rate=10e9, hours=3, segment=made.writing.segment))[0]
        line(drives, medium, found["buffer_peak_bytes"] / 1e12, found["makespan_s"] / HOUR)


def years(_seeds: int) -> None:
    """Play ten years of a facility; time and memory of the simulation itself."""
    made = library.read(ELETTRA)
    head("Ten years: datasets written and recalled", "datasets", "recalls", "mounts", "mean wait h", "minutes", "MB")
    for datasets in (32_000, 320_000):
        begun = time.perf_counter()
        found = play(made, trace.decades(datasets=datasets, years=10 * datasets / 320_000, recalled=0.3, seed=1))[0]
        spent = (time.perf_counter() - begun) / 60
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        line(datasets, int(found["requests"]), int(found["mounts"]), found["mean_s"] / HOUR, spent, round(memory))


class Foreseen(Recalls):
    """Asks for an estimate whenever a hundredth request comes."""

    def __init__(self, policy: asks.Policy, timing: cost.Timing) -> None:
        """Start with no estimates."""
        super().__init__(policy, timing)
        self.estimates: dict[str, asks.Estimate] = {}
        self.drives: list[asks.Drive] = []

    def decide(self, drives: list[asks.Drive], now: float) -> list[asks.Mount]:
        """Remember the drives."""
        self.drives = drives
        return super().decide(drives, now)

    def ask(self, ask: asks.Ask) -> bool:
        """Queue it, and estimate."""
        known = super().ask(ask)
        if int(ask.name) % 100 == 0:
            for estimate in outlook.outlook(self, self.drives, ask.at):
                if estimate.ask == ask.name:
                    self.estimates[ask.name] = estimate
        return known


def foreseen(seeds: int) -> None:
    """Compare the estimates that requests get when they come with what happens."""
    head("Estimates given when a request comes", "over h", "within the range", "too late", "median error h")
    for hours in (12.0, 24.0):
        inside, late, errors = [], [], []
        for seed in range(1, seeds + 1):
            made = bench_library()
            recalls, ends = Foreseen(made.policy, made.timing), {}
            engine = Engine(made, recalls, sink=lambda outcome, ends=ends: ends.update({outcome.request: outcome.read}))
            engine.run(trace.recalls(made.recallable(), count=10_000, hours=hours, seed=seed))
            for name, one in recalls.estimates.items():
                inside.append(one.earliest <= ends[name] <= one.latest)
                late.append(ends[name] > one.latest)
                errors.append(abs(ends[name] - one.expected) / HOUR)
        line(hours, f"{np.mean(inside):.0%}", f"{np.mean(late):.0%}", statistics.median(errors))


PARTS = {
    "tour": tours,
    "library": whole,
    "decision": decision,
    "learning": wraps,
    "writing": writing,
    "burst": burst,
    "years": years,
    "outlook": foreseen,
}


def main() -> None:
    """Print the tables that are wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append")
    wanted = parser.parse_args()
    for name in wanted.only or PARTS:
        PARTS[name](wanted.seeds)


if __name__ == "__main__":
    main()
