# SPDX-License-Identifier: Apache-2.0
"""Workers are killed at every named point and at random instants; nothing that was acknowledged is lost (P6)."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import BAGS, PLAIN, SEED, Campaign, Zygote

from holdfast.crashpoint import CRASH_POINTS

# Instants in the short form; `make crash` sets 200.
INSTANTS = int(os.environ.get("HOLDFAST_TEST_INSTANTS", "8"))


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    started = Zygote()
    yield started
    started.close()


# Where packages are made, written, read back and recalled, plain ones go ways of their own. Adding files to an open dataset
# has tests of its own.
POINTS = [
    (point, BAGS) for point in CRASH_POINTS if not point.startswith(("evict.", "upload.", "landing.", "delete."))
] + [(point, PLAIN) for point in CRASH_POINTS if point.startswith(("pack.", "write.", "verify.", "recall."))]
# What happens to files that are brought into the buffer.
IN_BUFFER = [point for point in CRASH_POINTS if point.startswith(("deliver.", "evict."))]


@pytest.mark.parametrize(
    ("point", "profile", "to_buffer"), [(*at, False) for at in POINTS] + [(point, BAGS, True) for point in IN_BUFFER]
)
def test_p6_a_worker_killed_at_a_crash_point_is_taken_over(
    zygote: Zygote, point: str, profile: str, *, to_buffer: bool, tmp_path: Path, dsn: str
) -> None:
    died = tmp_path / "died"
    campaign = Campaign(zygote, tmp_path, dsn, profile, to_buffer=to_buffer)
    campaign.run({"HOLDFAST_CRASH": point, "HOLDFAST_CRASH_ONCE": str(died)})
    assert died.exists(), f"{point} was never reached"
    assert campaign.deaths == 1
    campaign.check()


@pytest.mark.parametrize("number", range(INSTANTS))
def test_p6_workers_killed_at_random_instants_are_taken_over(
    zygote: Zygote, number: int, tmp_path: Path, dsn: str
) -> None:
    chance = random.Random(SEED + number)
    # The life takes about two seconds: three kills in it, then peace, so that it ends.
    instants = iter([chance.uniform(0.0, 0.7) for _ in range(3)])
    profile = PLAIN if number % 4 == 3 else BAGS
    campaign = Campaign(zygote, tmp_path, dsn, profile, to_buffer=number % 2 == 1)
    campaign.run({}, kill_after=lambda: next(instants, None))
    campaign.check()
