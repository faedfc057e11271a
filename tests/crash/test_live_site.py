# SPDX-License-Identifier: Apache-2.0
"""The whole site, database included, is killed at once and started again (P6)."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from campaign import SEED
from live import LiveSite

from holdfast.crashpoint import CRASH_POINTS

# The short form shows that it works; `make crash` sets HOLDFAST_TEST_INSTANTS and walks all points.
WHOLE = "HOLDFAST_TEST_INSTANTS" in os.environ
# Repair needs a broken twin, which only the campaign with forked workers makes; nobody adds files here.
POINTS = (
    [point for point in CRASH_POINTS if not point.startswith(("recall.", "upload.", "landing.", "delete."))]
    if WHOLE
    else ["write.synced", "release.committed"]
)
# A whole site takes ten times as long to kill and start as a worker.
INSTANTS = max(int(os.environ.get("HOLDFAST_TEST_INSTANTS", "1")) // 10, 1)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveSite]:
    site = LiveSite(tmp_path)
    yield site
    site.stop()


@pytest.mark.parametrize("point", POINTS)
def test_p6_a_whole_site_killed_at_a_crash_point_goes_on(live: LiveSite, point: str) -> None:
    died = live.folder / "died"
    live.life({"HOLDFAST_CRASH": f"{point}!", "HOLDFAST_CRASH_ONCE": str(died)})
    assert died.exists(), f"{point} was never reached"
    assert live.starts == 2


@pytest.mark.parametrize("number", range(INSTANTS))
def test_p6_a_whole_site_killed_at_a_random_instant_goes_on(live: LiveSite, number: int) -> None:
    instant = random.Random(SEED - number).uniform(0.5, 8.0)  # seconds; a life takes about eight
    live.start({})
    killer = threading.Timer(instant, live.kill)
    killer.start()
    live.life({})
    killer.join()
    live.until({}, lambda client: client.status())
