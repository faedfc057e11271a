# SPDX-License-Identifier: Apache-2.0
"""What the counters of a tape say."""

from __future__ import annotations

import pytest

from holdfast.model.health import Counters, drive_alerts, grown, tape_alerts, troubles, wear

WELL = {
    "mediaLoads": 40, "mediaRecoveredWriteErrors": 900, "mediaPermanentWriteErrors": 1, "mediaRecoveredReadErrors": 100,
    "mediaPermanentReadErrors": 2, "mediaMBWritten": 400_000, "mediaMBRead": 100_000, "mediaStorageAlert": 0,
}  # fmt: skip


def flag(*numbers: int) -> int:
    return sum(1 << (number - 1) for number in numbers)


def test_wear_is_what_the_counters_are_in_all() -> None:
    found = wear(WELL | {"mediaStorageAlert": flag(7, 20)})
    assert (found.loads, found.mb_written, found.permanent_read_errors) == (40, 400_000, 2)
    assert found.recovered_per_gb == 2.0
    assert found.alerts == ("media life", "clean now")


def test_what_no_drive_told_is_not_known() -> None:
    found = wear(dict.fromkeys(WELL, -1))
    assert (found.loads, found.recovered_per_gb, found.alerts) == (None, None, ())
    assert troubles(None, {}, dict.fromkeys(WELL, -1), limit=1) == []
    assert troubles(WELL, {}, {}, limit=1) == []


def test_a_tape_that_nobody_knew_is_not_blamed_for_old_permanent_errors() -> None:
    assert troubles(None, {}, WELL, limit=10) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mediaPermanentReadErrors": 3}, "errors while reading that could not be corrected: 1"),
        ({"mediaPermanentWriteErrors": 3}, "errors while writing that could not be corrected: 2"),
        ({"mediaStorageAlert": flag(5, 7)}, "the drive says: read failure, media life"),
        ({"mediaRecoveredReadErrors": 20_000}, "42 errors were corrected in each GB, more than the 10"),
    ],
)
def test_a_tape_that_gets_worse_is_in_trouble(change: Counters, says: str) -> None:
    [found] = troubles(WELL, {}, WELL | dict(change), limit=10)
    assert found.startswith(says)


def test_what_was_known_is_no_news() -> None:
    bad = WELL | {"mediaStorageAlert": flag(5), "mediaPermanentReadErrors": 9}
    assert troubles(bad, bad, bad, limit=10) == []


def test_the_rate_is_measured_since_the_tape_was_taken_into_use() -> None:
    bad = WELL | {"mediaRecoveredReadErrors": 100_000}
    assert troubles(bad, bad, bad | {"mediaMBRead": 200_000, "mediaRecoveredReadErrors": 100_050}, limit=10) == []
    worse = bad | {"mediaMBRead": 101_000, "mediaRecoveredReadErrors": 100_050}
    assert len(troubles(bad, bad, worse, limit=10)) == 1


def test_a_few_errors_are_no_rate() -> None:
    assert troubles(WELL, WELL, WELL | {"mediaRecoveredReadErrors": 109, "mediaMBRead": 100_001}, limit=10) == []


def test_flags_of_a_drive_are_not_those_of_its_tape() -> None:
    counters = {"mediaStorageAlert": flag(20, 38)}
    assert (tape_alerts(counters), drive_alerts(counters)) == ([], ["clean now", "predictive failure"])
    assert troubles(WELL, {}, WELL | counters, limit=10) == []


def test_counters_that_fall_did_not_grow() -> None:
    assert grown({"a": 5, "b": 1}, {"a": 3, "b": 4}, ("a", "b")) == 3
    assert grown({}, {"a": 3}, ("a",)) == 0
