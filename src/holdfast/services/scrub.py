# SPDX-License-Identifier: Apache-2.0
"""Scrubbing: what lies on tapes is read again before anybody needs it.

A package is due when none of its copies was read for so long; then the one that was read longest ago is. So twins take
turns, and a whole library is read once in that time and not twice. A few at a time: people who want files go first.
"""

from __future__ import annotations

from holdfast.catalog import jobs
from holdfast.catalog.queries import copies
from holdfast.services.archive import Archive


def scrub(archive: Archive) -> int:
    """Ask for the copies that are due to be read, as profiles and settings say; return how many were asked for."""
    policy = archive.settings.planner
    with archive.database.transaction() as conn:
        found = copies.all(conn, "scrub", days=policy.scrub_days, at_once=policy.scrub_at_once)
        for serial in sorted({row["tape"] for row in found}):
            jobs.defer(conn, "check", serial)
    return len(found)
