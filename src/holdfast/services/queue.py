# SPDX-License-Identifier: Apache-2.0
"""The queue of recalls: which tape is read next, and in which order; one mount serves all who wait for its tape.

The queue is made anew from the catalogue whenever a drive could be used, so nothing of it can be lost. What one tape
cannot give is tried on the others when its drive is free again: nobody waits for a second drive while holding one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from holdfast.catalog import jobs
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, packages, requests
from holdfast.errors import Busy, HoldfastError, LibraryUnavailable, MediumFailed
from holdfast.scheduling.asks import Ask, Extent, Policy, Tape
from holdfast.scheduling.geometry import WrapMap, medium_of
from holdfast.scheduling.recalls import Recalls
from holdfast.services.allocate import writing_presses
from holdfast.services.archive import Archive, described
from holdfast.services.deliver import deliver
from holdfast.services.doubt import suspect
from holdfast.services.mounts import mounted
from holdfast.services.wraps import keep, learned
from holdfast.settings import Recall
from holdfast.tape.index import TAPE_BLOCK
from holdfast.tape.library import TapeSession

_LOG = logging.getLogger(__name__)
LIMIT: Final = 20_000  # rows of one look; what comes later in line is looked at later
# What a package that was delivered has cost the drives, about: its part of a mount and of the ways, and its bytes.
_EACH: Final = 60.0  # seconds
_RATE: Final = 300e6  # bytes per second


def recall(archive: Archive, _thing: str) -> None:
    """Read tape after tape, the most worthwhile first, until nothing waits that nobody else reads."""
    while not archive.stopping.is_set():
        with archive.database.transaction() as conn:
            rows = requests.all(conn, "recallable", tape=None, limit=LIMIT)
        for row in rows:
            if row["tape"] is None:
                deliver(archive, name_of(row))
        try:
            if not _read_next(archive, rows):
                return
        except LibraryUnavailable as error:
            _tell(archive, rows, error)
            return


def queue_of(archive: Archive, rows: Iterable[Row]) -> Recalls:
    """Return the queue with all that waits and has a proven copy on a tape that can be mounted.

    What each person used of the drives comes from the catalogue, so that it survives this process: packages and bytes
    that were delivered in the last day, which is near enough. The wraps are nominal; they matter to the order in a
    mount only, and are learned for the tape that is mounted.
    """
    queue = Recalls(_policy(archive.settings.recall))
    now = time.time()
    with archive.database.transaction() as conn:
        for row in requests.all(conn, "used"):
            queue.charge(row["person"], row["parts"] * _EACH + row["bytes"] / _RATE, now)
    on_tapes = [row for row in rows if row["tape"] is not None]
    for row in {row["tape"]: row for row in on_tapes}.values():
        medium = medium_of(row["media_type"], row["capacity"])
        queue.tape(Tape(row["tape"], medium, WrapMap.nominal(medium)))
    for ask in _asks(on_tapes):
        queue.ask(ask)
    return queue


def _asks(rows: Iterable[Row]) -> Iterator[Ask]:
    for name, group in groupby(rows, key=name_of):
        found = list(group)
        first = found[0]
        extents = tuple(Extent(row["tape"], row["start_block"] * TAPE_BLOCK, row["size"]) for row in found)
        yield Ask(name, first["package"], extents, first["created_at"].timestamp(), first["person"], first["priority"])


def name_of(row: Row) -> str:
    """Return the name of the part of a request that a row tells of."""
    return f"{row['request']}/{row['package']}"


def _policy(chosen: Recall) -> Policy:
    shares = [part.partition("=") for part in chosen.shares.split(",") if part.strip()]
    return Policy(
        ageing_cap=chosen.ageing_cap,
        session_limit=chosen.session,
        shares={name.strip(): float(share) for name, _, share in shares},
    )


def _writing_first(archive: Archive) -> bool:
    """Say whether the drives that are free are left to those who write."""
    free = sum(tape is None for tape in archive.library.drives().values())
    with archive.database.transaction() as conn:
        return free <= 2 and writing_presses(archive, conn)  # noqa: PLR2004 (a pair)


def _usable(archive: Archive) -> int:
    return len(archive.library.drives().keys() - archive.library.drives_out().keys())


def _read_next(archive: Archive, rows: Sequence[Row]) -> bool:
    """Read the most worthwhile tape that nobody reads; say whether it is worth going on. Raises LibraryUnavailable."""
    queue = queue_of(archive, rows)
    ranked = list(queue.ranked(time.time(), _usable(archive)))
    if ranked and _writing_first(archive):
        _tell(archive, rows, Busy(what="Staging is nearly full: the free drives are left to writing."))
        return False
    if len(ranked) > 1:  # there is work for others too
        with archive.database.transaction() as conn:
            jobs.defer(conn, "recall", "next")
    for serial in ranked:
        with archive.database.claim(f"recall:{serial}") as held:
            if held:
                return _read(archive, queue, serial, rows)
    return False


def _read(archive: Archive, queue: Recalls, serial: str, rows: Sequence[Row]) -> bool:
    """Mount a tape and read what waits for it; say whether it is worth going on."""
    names = {ask.name for item in queue.queues[serial].items.values() for ask in item.asks}
    waiting = [row for row in rows if name_of(row) in names and row["tape"] == serial]
    tape = learned(archive, queue.known(serial))
    queue.tape(tape)
    try:
        with mounted(archive, [serial], "read", "recall") as (session,):
            elsewhere = list(_tour(archive, queue, session))
            keep(archive, tape, session)
    except MediumFailed as error:
        _doubt(archive, waiting, error)
        return True
    except LibraryUnavailable:
        raise
    except HoldfastError as error:  # all drives are in use, or none takes it, or it is not there
        _tell(archive, waiting, error)
        return not isinstance(error, Busy)
    for name in elsewhere:
        deliver(archive, name)
    return True


def _tour(archive: Archive, queue: Recalls, session: TapeSession) -> Iterator[str]:
    """Deliver from a mounted tape in the best order, also what is asked for meanwhile; yield what it could not give."""
    serial, head = session.serial, 0.0
    seen = {ask.name for item in queue.queues[serial].items.values() for ask in item.asks}
    queue.begin(serial, time.time())
    while not archive.stopping.is_set() and (item := queue.take(serial, head)):
        for ask in item.asks:
            if not deliver(archive, ask.name, session):
                yield ask.name
        queue.done(serial, time.time())
        head = item.extent.end
        with archive.database.transaction() as conn:
            rows = requests.all(conn, "recallable", tape=serial, limit=LIMIT)
        for ask in _asks(rows):
            if ask.name not in seen:
                seen.add(ask.name)
                queue.ask(ask)


def _tell(archive: Archive, waiting: Iterable[Row], error: HoldfastError) -> None:
    """Say why these requests wait, and when they are tried again."""
    _LOG.warning("recalls wait: %s", error.sentence)
    with archive.database.transaction() as conn:
        for row in waiting:
            requests.run(
                conn, "part_waits", request=row["request"], package=row["package"], **described(error, row["problem"])
            )


def _doubt(archive: Archive, waiting: Iterable[Row], error: MediumFailed) -> None:
    """The tape cannot be mounted: its copies are looked at again, and the twins are asked meanwhile."""
    for row in waiting:
        with archive.database.transaction() as conn:
            package = packages.first(conn, "by_id", id=row["package"])
            copy = copies.first(conn, "by_id", id=row["copy"])
        if package and copy and copy["state"] == "verified":
            suspect(archive, package, copy, error)
