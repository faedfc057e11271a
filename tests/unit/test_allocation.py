# SPDX-License-Identifier: Apache-2.0
"""Where packages are written, and when a mount for writing is worth it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.scheduling import allocation
from holdfast.scheduling.allocation import Load, Room, Writing, choose_pair, warranted

GB = 10**9


def room(serial: str, free: int, twin: str = "", *, batch: str = "", families: str = "", medium: str = "M8") -> Room:
    return Room(serial, medium, 8_730 * GB, free * GB, batch, frozenset(families.split()), twin)


def test_the_fullest_pair_that_fits_is_written() -> None:
    rooms = [room("A0", 90, "B0"), room("B0", 80, "A0"), room("A1", 500, "B1"), room("B1", 500, "A1")]
    assert choose_pair(rooms, 64 * GB) == ("A0", "B0")
    assert choose_pair(rooms, 85 * GB) == ("A1", "B1")
    assert choose_pair(rooms, 64 * GB, busy={"B0"}) == ("A1", "B1")
    assert choose_pair(rooms, 600 * GB) is None


def test_a_family_stays_on_few_pairs() -> None:
    rooms = [
        room("A0", 90, "B0", families="f"), room("B0", 90, "A0", families="f"),
        room("A1", 80, "B1"), room("B1", 80, "A1"),
    ]  # fmt: skip
    assert choose_pair(rooms, GB, family="f") == ("A0", "B0")
    assert choose_pair(rooms, GB, family="f", open_pairs=1, busy={"A0"}) is None
    assert choose_pair(rooms, GB, family="f", open_pairs=2, busy={"A0"}) == ("A1", "B1")


def test_new_twins_are_of_one_generation_and_of_two_batches() -> None:
    rooms = [
        room("N1", 8_000, batch="x"), room("N2", 8_000, batch="x"), room("N3", 8_000, batch="y"),
        room("L1", 8_000, batch="z", medium="L8"),
    ]  # fmt: skip
    assert choose_pair(rooms, GB) == ("N1", "N3")
    assert choose_pair(rooms[:2], GB) == ("N1", "N2")
    assert choose_pair(rooms[2:], GB) is None


@given(
    st.lists(
        st.builds(
            Room, st.integers(0, 12).map(str), st.sampled_from(["L8", "L9"]), st.just(100), st.integers(-5, 100),
            families=st.frozensets(st.sampled_from("fg")), twin=st.integers(0, 12).map(str),
        ),
        max_size=8,
        unique_by=lambda room: room.serial,
    ),
    st.integers(0, 60),
    st.integers(1, 3),
    st.frozensets(st.integers(0, 12).map(str), max_size=3),
)  # fmt: skip
def test_chosen_tapes_fit_differ_and_are_of_one_kind(
    tapes: list[Room], size: int, count: int, avoid: frozenset[str]
) -> None:
    chosen = allocation.choose(tapes, size, count, avoid=avoid)
    by_serial = {room.serial: room for room in tapes}
    fitting = [room for room in tapes if room.free >= size and room.serial not in avoid]
    if not chosen:
        assert all(sum(room.medium == kind for room in fitting) < count for kind in ("L8", "L9"))
        return
    assert len(set(chosen)) == count
    assert len({by_serial[serial].medium for serial in chosen}) == 1
    assert all(by_serial[serial] in fitting for serial in chosen)


def test_a_tape_whose_twin_is_gone_gets_another_one() -> None:
    rooms = [room("A", 500, "GONE"), room("N1", 8_000), room("N2", 8_000)]
    assert choose_pair(rooms, GB) == ("A", "N1")
    assert allocation.choose(rooms, GB, 1) == ("N1",)
    assert allocation.choose(rooms, GB, 1, avoid={"N1", "N2"}) == ("A",)
    assert allocation.choose(rooms, GB, 3) == ("A", "N1", "N2")
    mixed = [room("L", 9_000, medium="L8"), room("L0", 11_000, medium="L8"), room("M", 100)]
    assert allocation.choose(mixed, GB, 1) == ("M",)
    assert allocation.choose(mixed, GB, 1, avoid={"L"}) == ("L0",)


def test_filling_counts_tapes_in_use() -> None:
    assert allocation.efficiency([room("N1", 8_000)]) == 1.0
    assert allocation.efficiency([room("A", 4_365, "B"), room("B", 4_365, "A")]) == pytest.approx(0.5)
    assert allocation.reserve(10) == GB
    assert allocation.reserve(GB) == 3 * GB


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (Load(0, 0, 0.0, 6, 0, 0), None),
        (Load(64 * GB, 1, 0.0, 6, 0, 0), "idle"),
        (Load(64 * GB, 1, 0.0, 6, 5, 0), None),
        (Load(64 * GB, 1, 22_000.0, 0, 5, 0), "age"),
        (Load(600 * GB, 9, 0.0, 0, 5, 0), "amount"),
        (Load(600 * GB, 9, 0.0, 0, 5, 1), None),
        (Load(GB, 10_000, 0.0, 0, 5, 0), "amount"),
        (Load(70_000 * GB, 900, 0.0, 0, 5, 3), "buffer"),
        (Load(2_000 * GB, 9, 0.0, 2, 5, 1, drives=4), None),
        (Load(2_000 * GB, 9, 0.0, 2, 0, 1, drives=4), "amount"),
        (Load(2_000 * GB, 9, 0.0, 4, 5, 1, drives=6), "amount"),
        (Load(2_000 * GB, 9, 0.0, 2, 5, 0, drives=2), "amount"),
    ],
)
def test_a_write_mount_is_warranted_by_amount_age_or_buffer(load: Load, why: str | None) -> None:
    assert warranted(load, Writing()) == why
