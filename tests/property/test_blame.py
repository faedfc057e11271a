# SPDX-License-Identifier: Apache-2.0
"""Who is to blame, drive or tape: the innocent are never blamed, and the guilty are found."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from holdfast.model.blame import Outcome, judge

TAPES, DRIVES = [f"t{n}" for n in range(6)], [f"d{n}" for n in range(4)]
outcomes = st.lists(st.builds(Outcome, st.sampled_from(TAPES), st.sampled_from(DRIVES), st.booleans()), max_size=60)


@given(outcomes)
def test_two_failures_are_behind_every_verdict_and_none_is_left_out(rows: list[Outcome]) -> None:
    found = judge(rows)
    failed = {(row.tape, row.drive) for row in rows if row.failed}
    for drive, witnesses in found.drives.items():
        assert len(witnesses) >= 2
        assert all((tape, drive) in failed for tape in witnesses)
    for tape, witnesses in found.tapes.items():
        assert len(witnesses) >= 2
        assert all((tape, drive) in failed for drive in witnesses)
    for tape, drive in found.undecided:
        assert (tape, drive) in failed
        assert tape not in found.tapes
        assert drive not in found.drives
    explained = {(t, d) for t, d in failed if t in found.tapes or d in found.drives}
    assert explained | set(found.undecided) == failed


@given(outcomes)
def test_each_witness_was_acquitted_by_another_mount(rows: list[Outcome]) -> None:
    found = judge(rows)
    well = {(row.tape, row.drive) for row in rows if not row.failed}
    for drive, witnesses in found.drives.items():
        assert all(any(t == tape and d != drive for t, d in well) for tape in witnesses)
    for tape, witnesses in found.tapes.items():
        assert all(any(d == drive and t != tape for t, d in well) for drive in witnesses)


@given(outcomes, st.randoms())
def test_the_order_of_the_mounts_and_repetitions_change_nothing(rows: list[Outcome], chance: random.Random) -> None:
    other = rows + rows
    chance.shuffle(other)
    assert judge(other) == judge(rows)


@given(outcomes)
def test_tapes_and_drives_are_judged_alike(rows: list[Outcome]) -> None:
    found, mirror = judge(rows), judge([Outcome(row.drive, row.tape, row.failed) for row in rows])
    assert (found.drives, found.tapes) == (mirror.tapes, mirror.drives)
    assert sorted((drive, tape) for tape, drive in found.undecided) == sorted(mirror.undecided)


@given(outcomes, st.sampled_from(TAPES), st.sampled_from(DRIVES))
def test_one_failure_blames_nobody(rows: list[Outcome], tape: str, drive: str) -> None:
    calm = [Outcome(row.tape, row.drive, failed=False) for row in rows]
    found = judge([*calm, Outcome(tape, drive, failed=True)])
    assert not found.drives
    assert not found.tapes
    assert found.undecided == ((tape, drive),)


@given(st.sets(st.sampled_from(TAPES), max_size=len(TAPES) - 2), st.sets(st.sampled_from(DRIVES), max_size=2))
def test_with_every_pair_tried_exactly_the_bad_ones_are_blamed(bad_tapes: set[str], bad_drives: set[str]) -> None:
    """As long as two sound ones of each kind are left to bear witness."""
    found = judge(Outcome(t, d, failed=t in bad_tapes or d in bad_drives) for t in TAPES for d in DRIVES)
    assert (set(found.tapes), set(found.drives)) == (bad_tapes, bad_drives)
    assert set(found.undecided) == set()


def test_a_drive_that_fails_now_and_then_is_found() -> None:
    rows = [("t0", "d0", True), ("t0", "d1", False), ("t1", "d0", True), ("t1", "d1", False), ("t2", "d0", False)]
    found = judge(Outcome(*row) for row in rows)
    assert found.drives == {"d0": ("t0", "t1")}
    assert not found.tapes
