# SPDX-License-Identifier: Apache-2.0
"""The clock of the simulated library: what each step takes, and what a session sees of it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from holdfast.scheduling.cost import Timing, locate, rewind
from holdfast.scheduling.geometry import MEDIA, WrapMap, medium_of
from holdfast.tape.clock import Clock, hidden_wraps
from holdfast.tape.index import TAPE_BLOCK
from holdfast.tape.library import Located
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS
from holdfast.testing.faults import sample

GB = 10**9
SMALL = medium_of("SIM", 2 * GB)
TIMING = Timing()


class Time:
    """A time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = self.last = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def lap(self) -> float:
        """Return what passed since the last lap."""
        before, self.last = self.last, self.now
        return self.now - before


def clock(folder: Path, time: Time, *, speed: float = 1.0) -> Clock:
    return Clock(folder / "robot", "HF0001L8", SMALL, speed, now=time, sleep=time.sleep)


def test_each_step_takes_what_the_model_says(tmp_path: Path) -> None:
    time = Time()
    one, table = clock(tmp_path, time), hidden_wraps("HF0001L8", SMALL)
    one.mount()
    assert time.lap() == pytest.approx(TIMING.robot + TIMING.load + TIMING.attach)
    one.read(GB, 1_000_000)
    there = locate(table, 0, GB, rate=SMALL.rate)
    assert time.lap() == pytest.approx(there + 1_000_000 / SMALL.rate)
    one.read(GB + 1_000_000, 1_000_000)
    assert time.lap() == pytest.approx(1_000_000 / SMALL.rate)
    one.append(GB + 2_000_000, GB + 2_500_000)
    one.append(GB + 2_000_000, GB + 3_000_000)  # the first half again, as when O_DIRECT is left
    assert time.lap() == pytest.approx(1_000_000 / SMALL.rate)
    one.sync(GB + 4_000_000)
    assert time.lap() == pytest.approx(TIMING.sync)
    one.unmount()
    assert time.lap() == pytest.approx(rewind(table, GB + 4_000_000) + TIMING.unload + TIMING.robot)
    assert one.sought == pytest.approx(there)


def test_all_times_are_divided_by_the_speed(tmp_path: Path) -> None:
    time = Time()
    one = clock(tmp_path, time, speed=1000.0)
    one.mount()
    one.read(GB, 1)
    there = locate(hidden_wraps("HF0001L8", SMALL), 0, GB, rate=SMALL.rate)
    assert time.now - 1000.0 == pytest.approx((TIMING.robot + TIMING.load + TIMING.attach + there) / 1000, abs=0.001)
    assert one.sought == pytest.approx(there)


def test_a_host_that_is_slower_than_the_drive_is_not_slowed_down_further(tmp_path: Path) -> None:
    time = Time()
    one = clock(tmp_path, time)
    for _ in range(5):
        time.now += 100.0
        one.append(0, one.head + 1_000_000)  # 15 s
    assert time.now == 1500.0


def test_without_a_speed_no_time_passes(tmp_path: Path) -> None:
    time = Time()
    one = clock(tmp_path, time, speed=0.0)
    one.mount()
    one.read(GB, 1_000_000)
    one.sync(GB)
    one.unmount()
    assert time.now == 1000.0
    assert one.sought is None


def test_the_robot_does_one_thing_at_a_time(tmp_path: Path) -> None:
    moving, most = 0, 0
    guard = threading.Lock()

    def sleep(_seconds: float) -> None:
        nonlocal moving, most
        with guard:
            moving += 1
            most = max(most, moving)
        with guard:
            moving -= 1

    robots = [Clock(tmp_path / "robot", "HF0001L8", SMALL, 1.0, sleep=sleep) for _ in range(8)]
    threads = [threading.Thread(target=robot._exchange) for robot in robots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_small_tape_is_as_long_as_a_large_one() -> None:
    large = MEDIA["M8"]
    small = medium_of("SIM", large.capacity // 1000)
    assert small.wraps == large.wraps
    assert small.capacity / small.rate == pytest.approx(large.capacity / large.rate)
    ways = [
        locate(WrapMap.nominal(one), 0.2 * one.capacity, 0.7 * one.capacity, rate=one.rate) for one in (small, large)
    ]
    assert ways[0] == pytest.approx(ways[1], abs=0.1)
    assert medium_of("M8", large.capacity) == medium_of("M8", int(0.998 * large.capacity)) == large
    assert medium_of("L8", 2 * GB).wraps == MEDIA["L8"].wraps
    assert medium_of("", 30_000 * GB).rate == large.rate  # an unknown large one is not taken for a quick one
    assert medium_of("M8", 0) == large


def test_hidden_wraps_are_a_percent_off_and_always_the_same() -> None:
    nominal = WrapMap.nominal(SMALL)
    for serial in ("HF0001L8", "HF0002L8", "HF0003L8"):
        off = hidden_wraps(serial, SMALL).ends / nominal.ends - 1
        assert 0.005 < abs(off[-1]) < 0.015
        assert (hidden_wraps(serial, SMALL).ends == hidden_wraps(serial, SMALL).ends).all()


@pytest.mark.parametrize("watched", [False, True])
def test_a_session_tells_its_ways_in_seconds_of_tapes(tmp_path: Path, *, watched: bool) -> None:
    made = SimulatedLibrary.create(tmp_path / "library", tapes=2, drives=1, speed=1e6)
    library = SimulatedLibrary(made.root, LIMITS) if watched else made
    with library.sessions(["HF0001L8"], "write", timeout=0) as (session,):
        starts = [session.write(f"f{n}", [sample(6_000_000, f"{n}")], {}).start_block * TAPE_BLOCK for n in range(4)]
        session.sync("test")
        assert session.locates() == ()
    table = hidden_wraps("HF0001L8", SMALL)
    with library.sessions(["HF0001L8"], "read", timeout=0) as (session,):
        for number in (2, 3, 0):
            assert b"".join(session.read(f"f{number}")) == sample(6_000_000, f"{number}")
        assert b"".join(session.read("f1", 5_000_000, 1000)) == sample(6_000_000, "1")[5_000_000:5_001_000]
        found = session.locates()
    places = [(0, starts[2]), (starts[3] + 6_000_000, starts[0]), (starts[0] + 6_000_000, starts[1] + 5_000_000)]
    assert [(way.from_byte, way.to_byte) for way in found] == places  # from f2 to f3 the tape just went on
    expected = [locate(table, begin, end, rate=SMALL.rate) for begin, end in places]
    assert [way.seconds for way in found] == pytest.approx(expected)
    assert found[1] == Located(*places[1], pytest.approx(expected[1]))


def test_without_a_clock_there_is_nothing_to_tell(tmp_path: Path) -> None:
    library = SimulatedLibrary.create(tmp_path / "library", tapes=2, drives=1)
    with library.sessions(["HF0001L8"], "write", timeout=0) as (session,):
        for number in range(2):
            session.write(f"f{number}", [sample(6_000_000)], {})
    with library.sessions(["HF0001L8"], "read", timeout=0) as (session,):
        for number in (1, 0):
            b"".join(session.read(f"f{number}"))
        assert session.locates() == ()
    assert library.speed() == 0.0
    assert SimulatedLibrary.create(library.root, tapes=2, drives=1, speed=3.0).speed() == 3.0
