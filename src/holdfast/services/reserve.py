# SPDX-License-Identifier: Apache-2.0
"""Reservations: room on a disk is promised to one use at a time, before bytes move."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from holdfast.catalog.database import Connection
from holdfast.catalog.queries import packages, reservations
from holdfast.errors import NoSpace
from holdfast.services.archive import Archive

# Longer than any one step; a reservation whose holder died is freed then.
_LIFETIME: Final = 24 * 3600.0  # seconds
FILE_COST: Final = 4096  # bytes that a file takes on a disk beside its content, at most
_HEADROOM: Final = 0.01  # of a file system, left free: a file system that is full to the brim fails others


def existing(folder: Path) -> Path:
    """Return the folder or the nearest one above it that exists."""
    while not folder.is_dir():
        folder = folder.parent
    return folder


def area_of(archive: Archive, folder: Path) -> str:
    """Return the name of the file system that holds `folder`: two folders of one file system share its room."""
    return f"{archive.settings.site.server}:{existing(folder).stat().st_dev}"


def reserve(archive: Archive, conn: Connection, name: str, folder: Path, size: int, *, limit: int = 0) -> None:
    """Promise `size` bytes below `folder` to `name`, in the caller's transaction; again for the same name replaces it.

    `limit` bounds all promises of the area together, 0 does not. Raises NoSpace.
    """
    area = area_of(archive, folder)
    conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"area:{area}"])
    row = reservations.first(conn, "reserved", area=area, id=name)
    promised, there = (int(row["bytes"]), int(row["there"])) if row else (0, 0)
    disk = os.statvfs(existing(folder))
    room = disk.f_bavail * disk.f_frsize - int(disk.f_blocks * disk.f_frsize * _HEADROOM) - (promised - there)
    if limit:
        room = min(room, limit - promised)
    if size > room:
        raise NoSpace(area=folder, needed=size, free=max(room, 0))
    reservations.run(conn, "insert", id=name, area=area, bytes=size, lifetime=_LIFETIME)


def look_after(conn: Connection) -> None:
    """Renew promises to work that goes on, and take back those of work that ended without giving them back."""
    reservations.run(conn, "renew", lifetime=_LIFETIME)
    reservations.run(conn, "expire")


def release(conn: Connection, name: str) -> None:
    """Give a promise back. Idempotent."""
    reservations.run(conn, "delete", id=name)


@contextmanager
def reserve_staging(archive: Archive, name: str, size: int) -> Iterator[None]:
    """Promise room in staging while the block runs."""
    settings = archive.settings
    with archive.database.transaction() as conn:
        limit = int(settings.staging.limit)
        if limit:
            staged = packages.first(conn, "staged_bytes")
            limit = max(limit - int(staged["bytes"] if staged else 0), 1)
        reserve(archive, conn, name, settings.staging_path, size, limit=limit)
    try:
        yield
    finally:
        with archive.database.transaction() as conn:
            release(conn, name)
