# SPDX-License-Identifier: Apache-2.0
"""When each request will be read, how sure that is, and why it waits.

The queue is played forward with today's order. What comes later may push ahead of it or share its mount, so the range
is wide; its factors were chosen so that nine of ten requests of the simulated library end within it (bench/tape.py).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Final

from holdfast.scheduling.asks import Drive, Estimate
from holdfast.scheduling.geometry import can
from holdfast.scheduling.recalls import Queue, Recalls
from holdfast.scheduling.session import Item, seconds

SHORTEST: Final = 0.35  # of the expected wait
LONGEST: Final = 2.0
SLACK: Final = 300.0  # seconds; a robot that is busy, a locate that takes long
_REWIND: Final = 56.0  # seconds, in the mean


def outlook(recalls: Recalls, drives: Sequence[Drive], now: float, *, at_once: int | None = None) -> Iterator[Estimate]:
    """Yield an estimate for every request that waits or is being read.

    `drives` are those that may be used, `at_once` of them at a time, or all.
    """
    frees = {drive.name: now for drive in drives}
    readers = [now] * min(at_once or len(drives), len(drives))  # when each has nothing to read any more
    for drive in drives:
        reading = recalls.readings.get(drive.tape or "")
        if reading and drive.tape:
            frees[drive.name] = yield from _mounted(recalls, drive, now)
            readers[readers.index(min(readers))] = frees[drive.name]
    ranked = list(recalls.ranked(now, len(drives)))
    for place, serial in enumerate(ranked, 1):
        medium = recalls.known(serial).medium
        able = [drive for drive in drives if can(drive.kind, medium.name)]
        queue = recalls.queues[serial]
        if not able:
            yield from _hopeless(queue, medium.name, now)
            continue
        drive = min(able, key=lambda one: frees[one.name])
        begins = max(frees[drive.name], min(readers))
        ready = begins + recalls.timing.fixed - recalls.timing.unload
        takes = queue.seconds(medium.rate)
        among = f"number {place} of {len(ranked)} tapes that wait"
        reason = f"Tape {serial} is {among} for one of {len(able)} drives, and takes about {_minutes(takes)}."
        for item in queue.items.values():
            yield from _estimates(item, now, ready + 0.5 * takes, "queued", reason, among, spread=0.5 * takes)
        frees[drive.name] = readers[readers.index(min(readers))] = ready + takes + recalls.timing.unload


def _mounted(recalls: Recalls, drive: Drive, now: float) -> Generator[Estimate, None, float]:
    """Yield what is read in this mount; return when the drive is free again."""
    reading = recalls.readings[drive.tape or ""]
    todo = ([reading.current] if reading.current else []) + list(reading.plan)
    takes = seconds([item.extent for item in todo], reading.tape.medium.rate)
    if not reading.ordered:
        reason = f"Tape {drive.tape} is in {drive.name}; what waits for it takes about {_minutes(takes)}."
        for item in todo:
            yield from _estimates(item, now, now + 0.5 * takes, "reading", reason, "being read", spread=0.5 * takes)
        return now + takes + recalls.timing.unload
    each = max(takes - _REWIND, 0.0) / max(len(todo), 1)
    for before, item in enumerate(todo):
        reason = f"Tape {drive.tape} is in {drive.name}; {before} are read before it."
        yield from _estimates(item, now, now + (before + 1) * each, "reading", reason, "being read", spread=each)
    return now + takes + recalls.timing.unload


def _hopeless(queue: Queue, medium: str, now: float) -> Iterator[Estimate]:
    for item in queue.items.values():
        for ask in item.asks:
            reason = f"No drive that is in use can read {medium} tapes."
            yield Estimate(ask.name, float("inf"), now, float("inf"), "no-drive", reason)


def _minutes(seconds: float) -> str:
    minutes = max(round(seconds / 60), 1)
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _estimates(
    item: Item, now: float, expected: float, code: str, reason: str, place: str, *, spread: float
) -> Iterator[Estimate]:
    wait = expected - now
    for ask in item.asks:
        earliest = now + max(SHORTEST * (wait - spread), 0.0)
        yield Estimate(ask.name, expected, earliest, now + LONGEST * (wait + spread) + SLACK, code, reason, place)
