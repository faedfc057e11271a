# SPDX-License-Identifier: Apache-2.0
"""The planner process: runs the plan whenever something happened, and at its interval."""

from __future__ import annotations

import logging
import threading
from typing import Final

import psycopg

from holdfast.catalog.events import CHANNEL
from holdfast.errors import HoldfastError
from holdfast.services.archive import Archive
from holdfast.services.planner import plan

_LOG = logging.getLogger(__name__)
_CALM: Final = 0.2  # seconds between two plans at least: a burst of events is one reason to plan


def run_planner(archive: Archive, stopping: threading.Event) -> None:
    """Plan until `stopping` is set; a database that is away is waited for."""
    while not stopping.is_set():
        try:
            with psycopg.connect(archive.database.dsn, autocommit=True) as conn:
                conn.execute(f"listen {CHANNEL}")
                while not stopping.is_set():
                    plan(archive)
                    stopping.wait(_CALM)
                    for _ in conn.notifies(timeout=archive.settings.planner.interval, stop_after=1):
                        pass
        except (HoldfastError, psycopg.Error) as error:
            _LOG.warning("planning waits: %s", error)
            stopping.wait(archive.settings.planner.interval)
