# SPDX-License-Identifier: Apache-2.0
"""The planner process: runs the plan whenever something happened, and at its interval."""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

import psycopg

from holdfast.catalog.events import CHANNEL
from holdfast.errors import HoldfastError
from holdfast.services.archive import Archive
from holdfast.services.planner import plan
from holdfast.services.scrub import scrub

_LOG = logging.getLogger(__name__)
# To find what is due reads all copies' rows, a third of a second with 320,000 datasets.
_SCRUB_EVERY: Final = 600.0  # seconds
# What looks at everything takes at most this share of the time: some seconds of each minute with 320,000 datasets.
_SHARE: Final = 0.05
_CALM: Final = 0.2  # seconds between two plans at least: a burst of events is one reason to plan


def run_planner(archive: Archive, stopping: threading.Event) -> None:
    """Plan until `stopping` is set; a database that is away is waited for."""
    scrubbed = -_SCRUB_EVERY
    looked, took = 0.0, 0.0
    while not stopping.is_set():
        try:
            with psycopg.connect(archive.database.dsn, autocommit=True) as conn:
                conn.execute(f"listen {CHANNEL}")
                while not stopping.is_set():
                    if time.monotonic() - scrubbed >= _SCRUB_EVERY:
                        scrubbed = time.monotonic()
                        scrub(archive)
                    begun = time.monotonic()
                    thorough = begun - looked >= took / _SHARE
                    plan(archive, thorough=thorough)
                    if thorough:
                        looked = time.monotonic()
                        took = looked - begun
                    stopping.wait(_CALM)
                    for _ in conn.notifies(timeout=archive.settings.planner.interval, stop_after=1):
                        pass
        except (HoldfastError, psycopg.Error) as error:
            _LOG.warning("planning waits: %s", error)
            stopping.wait(archive.settings.planner.interval)
