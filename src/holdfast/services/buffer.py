# SPDX-License-Identifier: Apache-2.0
"""The buffer: files that were brought back to a disk area of the archive, and stay there as long as they are pinned.

A request without a destination is staged: its files come into a folder of their own, `BUFFER/REQUEST`. It waits as
`asked` until there is room below the mark, in the order of asking; is `ready` when all is there; and `expired` when its
pin has ended. Commit point of an eviction: the transaction that tells `request.expired`; then the files go.

Nothing is lost by it (P3): only folders of requests whose pin ended are removed, and only while every package that they
came from has a verified copy on a tape in use.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.catalog import events, jobs
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import requests
from holdfast.crashpoint import crash_point
from holdfast.errors import Busy, Conflict, HoldfastError, InvalidInput, NoSpace, NotFound, OperatorNeeded
from holdfast.services.archive import Archive, described
from holdfast.services.reserve import FILE_COST, existing, release, reserve

_DAY: Final = 86400  # seconds


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the buffer is, in bytes: what it holds at most, the mark up to which it is filled, and what is in use."""

    limit: int
    mark: int
    used: int


def folder_of(archive: Archive, request: str) -> Path:
    """Return where the files of a staged request lie."""
    return archive.settings.buffer_path / request


def lifetime(archive: Archive, keep: float | None) -> float:
    """Return for how many seconds files are kept, None being the usual time. Raises InvalidInput."""
    buffer = archive.settings.buffer
    if keep is None:
        return min(buffer.lifetime, buffer.longest)
    if not 0 <= keep <= buffer.longest:
        raise InvalidInput(
            what=f"Files are kept in the buffer for {buffer.longest / _DAY:.3g} days at most, not {keep / _DAY:.3g}."
        )
    return keep


def fill(archive: Archive, conn: Connection, *, without: str = "") -> Fill:
    """Return how full the buffer is, not counting the request `without`."""
    limit = int(archive.settings.buffer.limit) or _disk(archive).f_blocks * _disk(archive).f_frsize
    row = requests.first(conn, "buffered", id=without, cost=FILE_COST)
    return Fill(limit, int(limit * archive.settings.buffer.high), int(row["bytes"]) if row else 0)


def _disk(archive: Archive) -> os.statvfs_result:
    return os.statvfs(existing(archive.settings.buffer_path))


def admit(archive: Archive, conn: Connection, request: str, size: int) -> None:
    """Promise room below the mark to a request, in the caller's transaction. Raises NoSpace, InvalidInput (it never fits)."""
    conn.execute("select pg_advisory_xact_lock(hashtextextended('buffer', 0))")
    found, folder = fill(archive, conn, without=request), archive.settings.buffer_path
    if size > found.mark:
        raise InvalidInput(
            what=f"{size} bytes are more than the buffer {folder} ever takes, which is {found.mark}. Stage less at a "
            "time, or have it delivered to a folder of yours."
        )
    if archive.settings.buffer.limit:
        free, below = found.mark - found.used, 0
    else:  # the disk may hold other things as well
        disk = _disk(archive)
        free = below = max(disk.f_bavail * disk.f_frsize - (found.limit - found.mark), 1)
    if size > free:
        raise NoSpace(area=f"The buffer {folder}, up to its mark,", needed=size, free=max(free, 0))
    reserve(archive, conn, f"request:{request}", folder, size, limit=below)


def queued(archive: Archive, conn: Connection, request: str, size: int) -> HoldfastError | None:
    """Admit a new request, or return why it has to wait: no room, or others wait before it. Raises InvalidInput."""
    if requests.all(conn, "asked", limit=1):
        if size > fill(archive, conn).mark:
            admit(archive, conn, request, size)  # says that it never fits
        return Busy(what="Other requests wait for room in the buffer before this one.")
    try:
        admit(archive, conn, request, size)
    except NoSpace as error:
        return error
    return None


def admit_waiting(archive: Archive, conn: Connection, *, limit: int) -> int:
    """Let requests begin that wait for room, in the order of asking, as many as fit; return how many."""
    rows = requests.all(conn, "asked", limit=limit)
    for number, row in enumerate(rows):
        try:
            with conn.transaction():
                admit(archive, conn, row["id"], row["bytes"] + row["files"] * FILE_COST)
        except HoldfastError as error:
            # A smaller one behind it must not overtake for ever.
            if row["problem"] is None or row["problem"]["code"] != error.code:
                requests.run(conn, "waits", id=row["id"], problem=described(error, row["problem"])["problem"])
            return number
        requests.move(conn, "admitted", to="waiting", id=row["id"])
        jobs.defer(conn, "recall", "next")
    return len(rows)


def keep(archive: Archive, request: str, *, person: str, seconds: float) -> None:
    """Pin the files of a request for so long from now, or from when they are there; never shortens a pin.

    Raises NotFound, InvalidInput, Conflict (it is not staged, or its files are gone).
    """
    seconds = lifetime(archive, seconds)
    with archive.database.transaction() as conn:
        row = _staged(conn, request)
        if not requests.run(conn, "keep", id=request, keep=seconds):
            raise Conflict(
                what=f"Request {request} is {row['state']}: its files are not in the buffer. Stage them again."
            )
        events.add(
            conn, archive.site, "request.kept", dataset=row["dataset"], person=person, request=request, keep=seconds
        )


def unstage(archive: Archive, request: str, *, person: str) -> None:
    """End the pin of a request early. Idempotent. Raises NotFound, Conflict (it is not staged, or not ready yet)."""
    with archive.database.transaction() as conn:
        row = _staged(conn, request)
        if row["state"] in {"asked", "waiting", "recalling"}:
            raise Conflict(what=f"Request {request} is {row['state']}: its files are not all there. Cancel it instead.")
        if requests.run(conn, "unpin", id=request):
            events.add(conn, archive.site, "request.unstaged", dataset=row["dataset"], person=person, request=request)
            jobs.defer(conn, "evict", request)


def _staged(conn: Connection, request: str) -> Row:
    row = requests.first(conn, "lock", id=request)
    if row is None:
        raise NotFound(kind="request", name=request)
    if row["keep"] is None:
        raise Conflict(what=f"Request {request} was delivered to a folder of yours, and not into the buffer.")
    return row


def evict(archive: Archive, request: str) -> None:
    """Remove the files of a request whose pin ended, or that ended before it was ready, if nobody else does."""
    with archive.database.claim(f"evict:{request}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            row = requests.first(conn, "evictable", id=request)
            if row is None:
                return
            folder = Path(os.fsdecode(bytes(row["destination"])))
            if why := _why_kept(archive, row, folder, requests.all(conn, "unproven", request=request)):
                requests.run(conn, "stays", id=request, problem=described(why, row["problem"])["problem"])
                return
            if row["state"] == "ready":
                if not requests.move(conn, "expired", to="expired", id=request):
                    return  # somebody prolonged the pin
                events.add(
                    conn, archive.site, "request.expired", dataset=row["dataset"], person=row["person"], request=request,
                    files=row["done_files"], bytes=row["done_bytes"],
                )  # fmt: skip
        crash_point("evict.begun")
        try:
            _remove(folder)
        except OSError as error:
            why = OperatorNeeded(what=f"{folder} cannot be removed: {error.filename}: {error.strerror}.")
            with archive.database.transaction() as conn:
                requests.run(conn, "stays", id=request, problem=described(why, row["problem"])["problem"])
            return
        crash_point("evict.removed")
        with archive.database.transaction() as conn:
            requests.run(conn, "evicted", id=request)
            release(conn, f"request:{request}")


def _why_kept(archive: Archive, row: Row, folder: Path, unproven: Sequence[Row]) -> HoldfastError | None:
    """Return why nothing may be removed: the folder is not one of the buffer, or a package is proven nowhere else (P3)."""
    if folder != folder_of(archive, row["id"]):
        return OperatorNeeded(
            what=f"{folder} is not in the buffer {archive.settings.buffer_path}, which was moved: remove it yourself."
        )
    if unproven and os.path.lexists(folder):
        names = ", ".join(item["package"] for item in unproven[:3])
        return OperatorNeeded(
            what=f"{folder} is kept: {len(unproven)} packages that it came from ({names}) have no verified copy on a tape "
            "in use. Repair or enable one."
        )
    return None


def _remove(folder: Path) -> None:
    """Remove a folder with all in it; nothing that a link leads to."""
    with suppress(FileNotFoundError):
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
