# SPDX-License-Identifier: Apache-2.0
"""Simpler schedulers, as yardsticks: first come first served, and oldest tape first with nearest file first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.scheduling.asks import Ask, Drive, Mount, Policy
from holdfast.scheduling.cost import Timing
from holdfast.scheduling.recalls import Queue, Recalls
from holdfast.scheduling.session import Item, Reading
from holdfast.scheduling.tour import PLAIN


class FirstCome(Recalls):
    """Requests are read strictly in the order in which they came; a tape stays only while the next one is on it too."""

    def __init__(self, policy: Policy | None = None, timing: Timing | None = None) -> None:
        """Start with nothing known."""
        super().__init__(policy, timing)
        self._line: dict[int, Item] = {}
        self._count = 0

    def ask(self, ask: Ask) -> bool:
        """Queue a request at the end of the line."""
        extent = self._copy(ask.extents)
        if extent is None:
            return False
        self._line[self._count] = Item(ask.package, extent, [ask])
        self._count += 1
        self._queues.setdefault(extent.tape, Queue()).oldest = ask.at
        return True

    def decide(self, drives: Sequence[Drive], now: float) -> list[Mount]:
        """Return mounts for the first in the line whose tapes are in no drive that works."""
        free = [drive for drive in drives if drive.free]
        mounts: list[Mount] = []
        taken = set(self._readings)
        for item in self._line.values():
            if not free:
                break
            serial = item.extent.tape
            here = next((drive for drive in free if drive.tape == serial), None)
            drive = None if serial in taken else here or self._drive_for(serial, free)
            if drive and now >= 0:
                free.remove(drive)
                taken.add(serial)
                mounts.append(Mount(drive.name, serial))
        return mounts

    def begin(self, serial: str, now: float) -> Reading:
        """The first request in the line for this tape is read, and those right behind it."""
        self._readings[serial] = reading = Reading(self.known(serial), [], begun=now, effort=self.policy.effort)
        first = next(number for number, item in self._line.items() if item.extent.tape == serial)
        reading.join(self._line.pop(first))
        return reading

    def take(self, serial: str, head: float) -> Item | None:
        """Return the request of this mount, then the first in the line as long as it is on this tape."""
        reading = self._reading(serial)
        if not reading.plan and self._line:
            first = next(iter(self._line))
            if self._line[first].extent.tape == serial:
                reading.join(self._line.pop(first))
        return reading.take(head)

    def end(self, serial: str) -> None:
        """The mount is over."""
        del self._readings[serial]
        if not any(item.extent.tape == serial for item in self._line.values()):
            self._queues.pop(serial, None)

    def __len__(self) -> int:
        return len(self._line)


class OldestFirst(Recalls):
    """The tape whose oldest request waited longest is next; all its requests are read, nearest first."""

    def __init__(self, policy: Policy | None = None, timing: Timing | None = None) -> None:
        """Start with nothing known."""
        known = policy or Policy()
        plain = Policy(ageing_cap=0.0, session_limit=known.session_limit, hold=known.hold, effort=PLAIN)
        super().__init__(plain, timing)

    def ranked(self, now: float, drives: int = 1) -> Iterator[str]:
        """Yield the tapes by their oldest request."""
        waiting = [(queue.oldest, serial) for serial, queue in self._queues.items() if serial not in self._readings]
        return (serial for oldest, serial in sorted(waiting) if oldest <= now and drives)
