# SPDX-License-Identifier: Apache-2.0
"""Geometry, cost, tours, recalls and allocation of tapes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from holdfast.errors import Conflict, InvalidInput, NotFound
from holdfast.scheduling import tour
from holdfast.scheduling.asks import Ask, Drive, Extent, Mount, Policy, Tape
from holdfast.scheduling.bound import assignment
from holdfast.scheduling.cost import LOCATE, NEVER, locate, matrix, rewind, write_seconds
from holdfast.scheduling.geometry import MEDIA, WrapMap, can, media_type
from holdfast.scheduling.learning import Learner
from holdfast.scheduling.outlook import outlook
from holdfast.scheduling.recalls import Recalls
from holdfast.scheduling.session import runs, seconds
from holdfast.simulation.library import Truth, true_map

M8 = MEDIA["M8"]
NOMINAL = WrapMap.nominal(M8)
GB = 10**9
WRAP = M8.wrap


# ---- geometry and cost ----


def test_capacities_follow_from_the_wraps() -> None:
    for medium in MEDIA.values():
        usable = medium.native * (medium.wraps - 4) / medium.wraps - medium.native / medium.wraps
        assert medium.capacity == pytest.approx(usable, rel=0.011)


def test_type_m_media_work_in_lto_8_drives_only() -> None:
    assert [drive for drive in ("LTO-7", "LTO-8", "LTO-9") if can(drive, "M8")] == ["LTO-8"]
    assert not can("unknown", "M8", "write")
    with pytest.raises(InvalidInput, match="Known are L5, L6, L7, M8"):
        media_type("VHS")


def test_odd_wraps_run_backwards() -> None:
    places = NOMINAL.places(np.array([0.0, 0.25 * WRAP, 1.25 * WRAP, 2.0 * WRAP]))
    assert places.wrap.tolist() == [4, 4, 5, 6]
    assert places.x.tolist() == pytest.approx([0.0, 0.25, 0.75, 0.0])


def test_locate_times_are_those_of_the_published_model() -> None:
    there = locate(NOMINAL, 0.0, 2.2 * WRAP, rate=M8.rate)  # same direction, same half, two wraps on
    assert there == pytest.approx(4.29 + 6.69 + 0.2 * 104.3)
    back = locate(NOMINAL, 0.4 * WRAP, 0.1 * WRAP, rate=M8.rate)
    assert back == pytest.approx(4.29 + 11.32 + 0.3 * 104.3)
    other = locate(NOMINAL, 0.1 * WRAP, 1.2 * WRAP, rate=M8.rate)  # next wrap, other half, other direction
    assert other == pytest.approx(4.29 + 6.69 - 6.04 + 5.22 + 0.7 * 104.3)
    assert locate(NOMINAL, 5 * GB, 5 * GB + 300_000_000, rate=M8.rate) == pytest.approx(1.0)  # streamed
    assert locate(NOMINAL, 5 * GB, 5 * GB, rate=M8.rate) == 0.0
    assert rewind(NOMINAL, 0.5 * WRAP) == pytest.approx(LOCATE.rewind_base + 0.5 * 104.3)


def test_a_drive_that_is_fed_too_slowly_halves_its_rate() -> None:
    assert write_seconds(300e6, rate=300e6, feed=400e6, slowest=112e6) == pytest.approx(1.0)
    assert write_seconds(300e6, rate=300e6, feed=150e6, slowest=112e6) == pytest.approx(2.0)
    assert write_seconds(100e6, rate=300e6, feed=100e6, slowest=112e6) == pytest.approx(2.0)


# ---- tours ----


@pytest.mark.parametrize("count", [1, 2, 25, 120])
def test_the_bound_is_the_assignment_of_scipy(count: int) -> None:
    starts = np.random.default_rng(count).uniform(0, M8.capacity - GB, count)
    costs = matrix(NOMINAL, starts, starts + GB, rate=M8.rate)
    square = costs[:-1, 1:].copy()
    square[0, -1] = NEVER
    rows, columns = linear_sum_assignment(square)
    assert assignment(costs) == pytest.approx(square[rows, columns].sum())


def test_long_tours_are_improved_within_a_window() -> None:
    starts = np.random.default_rng(1).uniform(0, M8.capacity - GB, tour.FULL + 60)
    costs = matrix(NOMINAL, starts, starts + GB, rate=M8.rate)
    plain = tour.nearest_first(costs)
    better = tour.improve(costs, plain)
    assert sorted(better) == sorted(plain)
    assert tour.length(costs, better) < 0.97 * tour.length(costs, plain)


def test_neighbours_are_read_in_one_run() -> None:
    extents = [Extent("T", start * GB, GB) for start in (50, 10, 11, 13, 52, 2_000)]
    assert runs(extents, M8.rate) == [[1, 2, 3], [0, 4], [5]]
    assert seconds(extents, M8.rate) == pytest.approx(192 + 6 / 0.3)
    assert seconds([], M8.rate) == 0.0


# ---- learning ----


def test_ten_recalls_teach_a_table_that_is_off() -> None:
    chance = np.random.default_rng(4)
    truth = true_map(M8, Truth(bias=0.01, jitter=0.005), chance)
    learner = Learner(M8)
    for position in chance.uniform(0, 0.97 * M8.capacity, 10):
        learner.observe(0.0, float(position), locate(truth, 0.0, position, rate=M8.rate) + chance.normal(0, 1))
    probes = np.linspace(0, 0.97 * M8.capacity, 500)
    off = np.abs(NOMINAL.coordinate(probes) - truth.coordinate(probes)).mean()
    learned = np.abs(learner.table.coordinate(probes) - truth.coordinate(probes)).mean()
    assert learned < 0.15 * off
    assert np.all(np.diff(learner.table.ends) > 0)


def test_a_learner_forgets_and_bears_nonsense() -> None:
    learner = Learner(M8)
    for number in range(70):
        learner.observe(0.0, (1 + number) * 100.0 * GB, 500.0 if number % 7 == 0 else 60.0)
    assert learner.count == 60
    assert np.all(np.diff(learner.table.ends) > 0)


# ---- recalls ----


def recalls(*, tapes: int = 4, policy: Policy | None = None) -> Recalls:
    made = Recalls(policy)
    for number in range(tapes):
        for side in "AB":
            made.tape(Tape(f"{side}{number}", M8, NOMINAL))
    return made


def ask(name: str, number: int, start: int = 0, at: float = 0.0, *, group: str = "", priority: int = 0) -> Ask:
    extents = tuple(Extent(f"{side}{number}", start * GB, GB) for side in "AB")
    return Ask(name, f"p{number}-{start}", extents, at, group, priority)


DRIVE = Drive("d1", "LTO-8")


def mounted(queue: Recalls, now: float = 1.0) -> str:
    (mount,) = queue.decide([DRIVE], now)
    return mount.tape


def test_the_tape_with_most_requests_per_second_of_a_drive_goes_first() -> None:
    queue = recalls()
    queue.ask(ask("one", 0, at=0.0))
    for number in range(5):
        queue.ask(ask(f"many{number}", 1, number, at=0.5))
    assert mounted(queue) == "A1"


def test_a_request_that_waited_longer_than_the_cap_goes_before_all() -> None:
    queue = recalls()
    queue.ask(ask("old", 0, at=0.0))
    for number in range(40):
        queue.ask(ask(f"new{number}", 1, number, at=9_000.0))
    assert mounted(queue, 8_990.0) == "A1"
    assert mounted(queue, 9_001.0) == "A0"


def test_priority_and_shares_change_the_order() -> None:
    queue = recalls()
    queue.ask(ask("usual", 0))
    queue.ask(ask("urgent", 1, priority=3))
    assert mounted(queue) == "A1"
    queue = recalls(policy=Policy(shares={"small": 1.0, "large": 3.0}))
    queue.ask(ask("a", 0, group="small"))
    queue.ask(ask("b", 1, group="large"))
    assert mounted(queue) == "A1"


def test_a_group_that_used_much_waits_for_others() -> None:
    queue = recalls()
    queue.ask(ask("first", 0, group="greedy"))
    queue.begin("A0", 0.0)
    queue.take("A0", 0.0)
    queue.done("A0", 10.0, used=7_200.0)
    queue.end("A0")
    queue.ask(ask("second", 1, group="greedy"))
    queue.ask(ask("other", 2, group="modest"))
    assert mounted(queue) == "A2"


def test_two_requests_for_one_package_are_read_once() -> None:
    queue = recalls()
    queue.ask(ask("a", 0))
    queue.ask(ask("b", 0))
    queue.begin("A0", 0.0)
    assert queue.take("A0", 0.0) is not None
    queue.ask(ask("late", 0))  # while it is being read
    assert {done.name for done in queue.done("A0", 1.0)} == {"a", "b", "late"}
    assert queue.take("A0", 0.0) is None
    assert len(queue) == 0


def test_late_requests_join_the_running_tour_in_its_order() -> None:
    queue = recalls()
    for start in (100, 3_000):
        queue.ask(ask(f"{start}", 0, start))
    queue.begin("A0", 0.0)
    first = queue.take("A0", 0.0)
    assert first is not None
    queue.done("A0", 60.0)
    near = first.extent.end // GB + 1
    queue.ask(ask("late", 0, near, at=61.0))
    following = queue.take("A0", float(first.extent.end))
    assert following is not None
    assert following.package == f"p0-{near}"


def test_long_plans_take_new_requests_where_they_cost_least() -> None:
    queue = recalls()
    for number in range(100):
        queue.ask(ask(f"r{number}", 0, 5 + number * 80))
    queue.begin("A0", 0.0)
    head, order = 0.0, []
    for step in range(110):
        if step % 10 == 0 and step:
            queue.ask(ask(f"late{step}", 0, 41 + step * 40, at=float(step)))
        item = queue.take("A0", head)
        assert item is not None
        order.append(item.package)
        head = float(item.extent.end)
        queue.done("A0", float(step))
    assert queue.take("A0", head) is None
    assert len(set(order)) == 110


def test_a_session_that_lasts_too_long_takes_no_more_while_others_wait() -> None:
    queue = recalls(policy=Policy(session_limit=100.0))
    queue.ask(ask("a", 0))
    queue.begin("A0", 0.0)
    queue.ask(ask("other", 1, at=1.0))
    queue.ask(ask("late", 0, 7, at=101.0))
    queue.take("A0", 0.0)
    queue.done("A0", 102.0)
    assert queue.take("A0", 0.0) is None
    queue.end("A0")
    assert set(queue.queues) == {"A0", "A1"}


def test_requests_go_to_the_twin_when_a_tape_is_withdrawn() -> None:
    queue = recalls()
    queue.ask(ask("a", 0))
    assert queue.withdraw("A0") == []
    assert mounted(queue) == "B0"
    lost = queue.withdraw("B0")
    assert [one.name for one in lost] == ["a"]
    assert not queue.ask(ask("b", 0))
    queue.restore("A0")
    assert queue.ask(ask("c", 0))


def test_a_package_that_cannot_be_read_is_asked_from_its_twin() -> None:
    queue = recalls()
    queue.ask(ask("a", 0))
    queue.begin("A0", 0.0)
    queue.take("A0", 0.0)
    assert queue.fail("A0") == []
    assert set(queue.queues) == {"B0"}
    queue.end("A0")
    queue.begin("B0", 0.0)
    queue.take("B0", 0.0)
    assert [one.name for one in queue.fail("B0")] == ["a"]


def test_requests_can_be_cancelled_wherever_they_wait() -> None:
    queue = recalls()
    for name, start in (("a", 0), ("b", 0), ("c", 9)):
        queue.ask(ask(name, 0, start))
    assert queue.cancel("b")
    assert len(queue) == 2
    assert queue.cancel("a")
    queue.begin("A0", 0.0)
    assert queue.cancel("c")
    assert queue.take("A0", 0.0) is None
    assert not queue.cancel("c")


def test_a_tape_in_a_busy_drive_is_not_given_to_another() -> None:
    queue = recalls()
    queue.ask(ask("a", 0))
    assert queue.decide([Drive("d1", "LTO-8", "A0", free=False), Drive("d2", "LTO-8")], 1.0) == []
    assert queue.decide([Drive("d1", "LTO-8", "A0"), Drive("d2", "LTO-8")], 1.0) == [Mount("d1", "A0")]
    assert queue.decide([Drive("d1", "LTO-9")], 1.0) == []


def test_wrong_use_is_told() -> None:
    queue = recalls()
    with pytest.raises(NotFound):
        queue.begin("X", 0.0)
    with pytest.raises(Conflict, match="not in a drive"):
        queue.take("A0", 0.0)
    queue.begin("A0", 0.0)
    with pytest.raises(Conflict, match="in a drive already"):
        queue.begin("A0", 0.0)


def test_every_request_is_told_when_and_why() -> None:
    queue = recalls()
    for name, number in (("a", 0), ("b", 1), ("c", 2)):
        queue.ask(ask(name, number))
    queue.begin("A0", 0.0)
    told = {one.ask: one for one in outlook(queue, [Drive("d1", "LTO-8", "A0", free=False)], 0.0)}
    assert [told[name].code for name in "abc"] == ["reading", "queued", "queued"]
    assert told["a"].expected < told["b"].expected < told["c"].expected
    assert all(one.earliest <= one.expected <= one.latest for one in told.values())
    assert "number 2 of 2" in told["c"].reason
    hopeless = list(outlook(queue, [Drive("d9", "LTO-9")], 0.0))
    assert {one.code for one in hopeless} == {"no-drive"}
