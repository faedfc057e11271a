# SPDX-License-Identifier: Apache-2.0
"""What must hold for every queue, tour and library, however odd."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.scheduling import tour
from holdfast.scheduling.asks import Ask, Drive, Extent, Policy, Tape
from holdfast.scheduling.bound import assignment
from holdfast.scheduling.cost import matrix
from holdfast.scheduling.geometry import MEDIA, WrapMap
from holdfast.scheduling.recalls import Recalls
from holdfast.simulation.engine import Engine, Steps
from holdfast.simulation.figures import Outcome
from holdfast.simulation.library import Cartridge, Library, Truth
from holdfast.simulation.play import SCHEDULERS
from holdfast.simulation.trace import Row

M8 = MEDIA["M8"]
NOMINAL = WrapMap.nominal(M8)
starts = st.lists(st.integers(0, M8.capacity - 10**9), unique=True)


def costs_of(positions: list[int], head: int = 0) -> np.ndarray:
    begins = np.array(positions, dtype=float)
    return matrix(NOMINAL, begins, begins + 1e9, rate=M8.rate, head=head)


def seconds_of(costs: np.ndarray, order: np.ndarray) -> float:
    return tour.length(costs, np.r_[0, order, len(costs) - 1].astype(int))


@settings(deadline=None, max_examples=60)
@given(starts.filter(lambda some: 1 <= len(some) <= 60), st.integers(0, M8.capacity))
def test_a_tour_visits_each_file_once_and_lies_between_bound_and_nearest_first(positions: list[int], head: int) -> None:
    costs = costs_of(positions, head)
    order = tour.solve(costs)
    assert sorted(order) == list(range(1, len(positions) + 1))
    found = seconds_of(costs, order)
    assert found <= seconds_of(costs, tour.nearest_first(costs)[1:-1]) + 1e-6
    assert found >= assignment(costs) - 1e-6


@settings(deadline=None, max_examples=40)
@given(starts.filter(lambda some: 1 <= len(some) <= 6))
def test_a_thorough_tour_of_few_files_is_the_shortest(positions: list[int]) -> None:
    costs = costs_of(positions)
    rows = range(1, len(positions) + 1)
    shortest = min(seconds_of(costs, np.array(order)) for order in itertools.permutations(rows))
    assert seconds_of(costs, tour.solve(costs, effort=tour.THOROUGH)) <= shortest * 1.001


def library(drives: int, pairs: int, truth: Truth) -> Library:
    names = [(f"A{n}", f"B{n}") for n in range(pairs)]
    tapes = [Cartridge(own, M8, twin, M8.capacity, "") for pair in names for own, twin in (pair, pair[::-1])]
    return Library(drives=("LTO-8",) * drives, tapes=tuple(tapes), truth=truth)


class Watched(Engine):
    """Looks at drives and robot after every step."""

    robot_ends = 0.0

    def _step(self, steps: Steps) -> None:
        super()._step(steps)
        inside = [unit.tape for unit in self.units if unit.tape]
        assert len(inside) == len(set(inside)), "a tape is in two drives"

    def _robot(self) -> float:
        wait = super()._robot()
        assert self.now + wait - self.library.timing.robot >= self.robot_ends - 1e-6, "the robot does two things"
        self.robot_ends = self.now + wait
        return wait


rows = st.lists(
    st.tuples(
        st.floats(0, 20_000),
        st.integers(0, 4),  # pair
        st.integers(0, 8_000),  # GB from the start
        st.integers(0, 20),  # GB
        st.sampled_from(["recall", "write"]),
    ),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=40)
@given(rows, st.integers(2, 4), st.sampled_from(sorted(SCHEDULERS)), st.booleans())
def test_each_request_ends_once_and_no_tape_is_in_two_drives(
    wanted: list[tuple[float, int, int, int, str]],
    drives: int,
    scheduler: str,
    exact: bool,  # noqa: FBT001 (Hypothesis draws it)
) -> None:
    made = library(drives, 5, Truth() if exact else Truth(bias=0.01, jitter=0.01, noise=2.0))
    spare = tuple(
        Cartridge(own, M8, twin, 0, "") for pair in (("N0", "O0"), ("N1", "O1")) for own, twin in (pair, pair[::-1])
    )
    made = Library(made.drives, (*made.tapes, *spare), truth=made.truth)
    ended: list[Outcome] = []
    engine = Watched(made, SCHEDULERS[scheduler](made.policy, made.timing), sink=ended.append)
    trace = [
        Row(
            at,
            kind,
            f"p{pair}-{start}" if kind == "recall" else f"w{number}",
            size * 10**9,
            "g",
            f"A{pair}",
            start * 10**9,
        )
        for number, (at, pair, start, size, kind) in enumerate(sorted(wanted))
    ]
    figures = engine.run(trace)
    asked = [row for row in trace if row.kind == "recall"]
    assert len({outcome.request for outcome in ended}) == len(ended) == len(asked)
    assert all(outcome.read >= outcome.asked for outcome in ended)
    assert figures.written == sum(row.size for row in trace if row.kind == "write")
    assert not any(unit.job for unit in engine.units)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 8_000)), min_size=1, max_size=80), st.integers(1, 4))
def test_one_decision_never_gives_one_tape_to_two_drives(wanted: list[tuple[int, int]], count: int) -> None:
    recalls = Recalls()
    for number in range(10):
        recalls.tape(Tape(f"T{number}", M8, NOMINAL))
    for name, (number, start) in enumerate(wanted):
        extent = Extent(f"T{number}", start * 10**9, 10**9)
        assert recalls.ask(Ask(str(name), f"p{number}-{start}", (extent,), float(name)))
    drives = [Drive(f"d{n}", "LTO-8", "T0" if n == 0 else None) for n in range(count)]
    mounts = recalls.decide(drives, 100.0)
    assert len({mount.tape for mount in mounts}) == len({mount.drive for mount in mounts}) == len(mounts)
    assert len(mounts) == min(count, len({number for number, _ in wanted}))


def test_a_lonely_request_is_read_although_a_hot_tape_never_ends() -> None:
    made = library(1, 2, Truth())
    policy = Policy(ageing_cap=3600.0, session_limit=1800.0)
    hot = [Row(25.0 * n, "recall", f"hot{n}", 10**9, "g", "A0", (n * 37 % 8_000) * 10**9) for n in range(800)]
    lonely = Row(100.0, "recall", "lonely", 10**9, "g", "A1", 4_000 * 10**9)
    ended: dict[str, Outcome] = {}
    engine = Engine(made, Recalls(policy, made.timing), sink=lambda outcome: ended.update({outcome.package: outcome}))
    engine.run(sorted([*hot, lonely], key=lambda row: row.at))
    # The cap, the session that runs then, and what had joined it before it closed.
    assert ended["lonely"].read - ended["lonely"].asked < 3 * 3600
