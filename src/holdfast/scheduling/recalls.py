# SPDX-License-Identifier: Apache-2.0
"""Which tape gets a drive next, and what happens to requests until they end.

A mount serves all that wait for its tape. Tapes compete by value per second of drive time: many waiting requests on a
tape that is read quickly come first. The value of a request grows with the cube of its waiting time, which leaves the
quick gains first and still brings old requests forward one after the other. A tape whose oldest request waited longer
than the ageing cap goes before all others, oldest first, so that nobody waits for ever; the cap grows with the load,
since under a backlog of hours a fixed one would make everything a queue by age, the slowest order of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from holdfast.errors import Conflict, NotFound
from holdfast.scheduling.asks import Ask, Drive, Extent, Mount, Policy, Tape
from holdfast.scheduling.cost import Timing
from holdfast.scheduling.geometry import breadth, can
from holdfast.scheduling.session import Item, Reading, seconds

_TOGETHER: Final = 600.0  # seconds; requests asked within this time are equally old


@dataclass(slots=True)
class Queue:
    """What waits for one tape that is in no drive."""

    items: dict[str, Item] = field(default_factory=dict)
    oldest: float = 0.0
    top: int = 0  # the highest priority of a request
    base: float = 0.0  # a time near those of asking, so that the cubes below lose no digits
    moments: dict[str, list[float]] = field(default_factory=dict)  # per group: sums of weight x (time of asking)^0..3
    known_seconds: float | None = None

    def add(self, item: Item) -> None:
        """Add an item, or more who ask for a known one."""
        known = self.items.setdefault(item.package, Item(item.package, item.extent))
        first = min(ask.at for ask in item.asks)
        if not self.moments:
            self.oldest = self.base = first
            self.top = item.asks[0].priority
        self.oldest = min(self.oldest, first)
        for ask in item.asks:
            known.asks.append(ask)
            self.top = max(self.top, ask.priority)
            weight, at = 2.0**ask.priority, ask.at - self.base
            sums = self.moments.setdefault(ask.group, [0.0, 0.0, 0.0, 0.0])
            for power in range(4):
                sums[power] += weight * at**power
        self.known_seconds = None

    def value(self, now: float, ageing: float, factors: Mapping[str, float]) -> float:
        """Return the sum of weight x (1 + (waiting / ageing)^3) of all requests, groups weighed by `factors`."""
        total, since = 0.0, now - self.base
        for group, (count, one, two, three) in self.moments.items():
            cubes = count * since**3 - 3 * one * since**2 + 3 * two * since - three
            total += (count + cubes / ageing**3) * factors.get(group, 1.0)
        return total

    def without(self, name: str) -> Queue:
        """Return the queue without the request `name`."""
        left = Queue()
        for item in self.items.values():
            asks = [ask for ask in item.asks if ask.name != name]
            if asks:
                left.add(Item(item.package, item.extent, asks))
        return left

    def seconds(self, rate: float) -> float:
        """Return about how long the tape would be read."""
        if self.known_seconds is None:
            self.known_seconds = seconds((item.extent for item in self.items.values()), rate)
        return self.known_seconds


class Recalls:
    """All requests that wait or run. Times are seconds on the caller's clock, which never goes back."""

    def __init__(self, policy: Policy | None = None, timing: Timing | None = None) -> None:
        """Start with nothing known; add tapes before asking for what is on them."""
        self.policy = policy or Policy()
        self.timing = timing or Timing()
        self._tapes: dict[str, Tape] = {}
        self._away: set[str] = set()
        self._queues: dict[str, Queue] = {}
        self._readings: dict[str, Reading] = {}
        self._where: dict[str, str] = {}  # package -> the tape it is to be read from
        self._used: dict[str, tuple[float, float]] = {}  # group -> seconds of drives it used, and when that was so

    # ---- what there is ----

    def tape(self, tape: Tape) -> None:
        """Make a tape known, or replace what is known of it."""
        self._tapes[tape.serial] = tape

    def known(self, serial: str) -> Tape:
        """Return what is known of a tape. Raises NotFound."""
        if serial not in self._tapes:
            raise NotFound(kind="tape", name=serial)
        return self._tapes[serial]

    def withdraw(self, serial: str) -> list[Ask]:
        """Take a tape out of use; its requests go to the twins. Returns those that have no other copy."""
        self._away.add(serial)
        queue, reading = self._queues.pop(serial, Queue()), self._readings.pop(serial, None)
        items = [*queue.items.values(), *(reading.plan if reading else ())]
        if reading and reading.current:
            items.append(reading.current)
        return self._again(items)

    def restore(self, serial: str) -> None:
        """Put a tape back into use."""
        self._away.discard(serial)

    def fail(self, serial: str) -> list[Ask]:
        """The package being read from this tape cannot be: ask its twin. Returns the requests without other copy."""
        reading = self._reading(serial)
        item, reading.current = reading.current, None
        return self._again([item] if item else [], but=serial)

    # ---- what is wanted ----

    def ask(self, ask: Ask) -> bool:
        """Queue a request; False if no copy of it can be used now (nothing is kept then)."""
        serial = self._where.get(ask.package)
        extent = next((e for e in ask.extents if e.tape == serial), None) or self._copy(ask.extents)
        if extent is None:
            return False
        self._where[ask.package] = extent.tape
        reading = self._readings.get(extent.tape)
        if reading:
            known = reading.find(ask.package)
            if known:
                known.asks.append(ask)
                return True
            if not self._closed(reading, ask.at):
                reading.join(Item(ask.package, extent, [ask]))
                return True
        self._queues.setdefault(extent.tape, Queue()).add(Item(ask.package, extent, [ask]))
        return True

    def cancel(self, name: str) -> bool:
        """Forget a request; False if it is not waiting. What is being read is read to its end."""
        for serial, queue in self._queues.items():
            if any(ask.name == name for item in queue.items.values() for ask in item.asks):
                left = queue.without(name)
                self._forget(queue.items.keys() - left.items.keys())
                self._queues[serial] = left
                if not left.items:
                    del self._queues[serial]
                return True
        for reading in self._readings.values():
            for item in reading.plan:
                if any(ask.name == name for ask in item.asks):
                    item.asks = [ask for ask in item.asks if ask.name != name]
                    if not item.asks:
                        reading.drop(item)
                        self._forget([item.package])
                    return True
        return False

    # ---- decisions ----

    def decide(self, drives: Sequence[Drive], now: float) -> list[Mount]:
        """Return which tapes to mount in the drives that are free; a tape in a drive stays where it is."""
        free = [drive for drive in drives if drive.free]
        if not free or not self._queues:
            return []
        held = {drive.tape: drive for drive in drives if drive.tape}
        mounts: list[Mount] = []
        for serial in self.ranked(now, len(drives)):
            if not free:
                break
            here = held.get(serial)
            drive = (here if here in free else None) if here else self._drive_for(serial, free)
            if drive:
                free.remove(drive)
                mounts.append(Mount(drive.name, serial))
        return mounts

    def ranked(self, now: float, drives: int = 1) -> Iterator[str]:
        """Yield the tapes that wait for one of `drives`, the next one first."""
        factors = self._factors(now)
        fixed = self.timing.fixed
        takes = {
            serial: fixed + queue.seconds(self._tapes[serial].medium.rate)
            for serial, queue in self._queues.items()
            if serial not in self._readings
        }
        backlog = sum(takes.values()) / max(drives, 1)
        cap = now - max(self.policy.ageing_cap, self.policy.ageing_load * backlog)
        top = max((self._queues[serial].top for serial in takes), default=0)
        keys: list[tuple[bool, float, float, float, str]] = []
        for serial, needs in takes.items():
            queue = self._queues[serial]
            # A tape that takes longer than all others together would is begun before them: begun last, it would keep
            # one drive busy when the rest is done; unless something is more urgent. The overdue go by age, those asked within some minutes as one.
            overdue = -queue.oldest // _TOGETHER if queue.oldest < cap else 0.0
            long = needs if needs >= backlog and queue.top == top else 0.0
            worth = queue.value(now, self.policy.ageing_time, factors) / needs
            keys.append((queue.oldest >= cap, -overdue, -long, -worth, serial))
        keys.sort()
        return (key[-1] for key in keys)

    def begin(self, serial: str, now: float) -> Reading:
        """The tape is on its way into a drive: all that waits for it, and comes later, is read there."""
        if serial in self._readings:
            raise Conflict(what=f"Tape {serial} is in a drive already.")
        queue = self._queues.pop(serial, Queue())
        reading = Reading(self.known(serial), list(queue.items.values()), begun=now, effort=self.policy.effort)
        self._readings[serial] = reading
        return reading

    def take(self, serial: str, head: float) -> Item | None:
        """Return what to read next from a mounted tape, with its head at `head` bytes; None when nothing is left."""
        return self._reading(serial).take(head)

    def done(self, serial: str, now: float, *, used: float = 0.0) -> list[Ask]:
        """The package that was taken has been read, in `used` seconds of the drive: return all who asked for it."""
        reading = self._reading(serial)
        item, reading.current = reading.current, None
        if item is None:
            return []
        self._forget([item.package])
        for ask in item.asks:
            self.charge(ask.group, used / len(item.asks), now)
        return item.asks

    def charge(self, group: str, used: float, now: float) -> None:
        """Count seconds of drives that a group has used."""
        self._used[group] = (self._faded(group, now) + used, now)

    def end(self, serial: str) -> None:
        """The mount is over; whatever was not read waits for the next one."""
        reading = self._readings.pop(serial, None)
        if reading:
            for item in reading.plan:
                self._queues.setdefault(serial, Queue()).add(item)

    # ---- looking ----

    @property
    def queues(self) -> Mapping[str, Queue]:
        """What waits, by tape."""
        return self._queues

    @property
    def readings(self) -> Mapping[str, Reading]:
        """The mounted tapes."""
        return self._readings

    def __len__(self) -> int:
        waiting = sum(len(item.asks) for queue in self._queues.values() for item in queue.items.values())
        return waiting + sum(len(item.asks) for reading in self._readings.values() for item in reading.plan)

    # ---- inside ----

    def _reading(self, serial: str) -> Reading:
        if serial not in self._readings:
            raise Conflict(what=f"Tape {serial} is not in a drive.")
        return self._readings[serial]

    def _copy(self, extents: Iterable[Extent]) -> Extent | None:
        return next((e for e in extents if e.tape in self._tapes and e.tape not in self._away), None)

    def _again(self, items: Iterable[Item], *, but: str = "") -> list[Ask]:
        lost = []
        for item in items:
            self._forget([item.package])
            for ask in item.asks:
                left = tuple(extent for extent in ask.extents if extent.tape != but)
                again = Ask(ask.name, ask.package, left, ask.at, ask.group, ask.priority)
                if not self.ask(again):
                    lost.append(ask)
        return lost

    def _forget(self, packages: Iterable[str]) -> None:
        for package in packages:
            self._where.pop(package, None)

    def _closed(self, reading: Reading, now: float) -> bool:
        return now - reading.begun > self.policy.session_limit and bool(self._queues)

    def _drive_for(self, serial: str, free: Sequence[Drive]) -> Drive | None:
        """Return an empty drive if there is one, and of those that can read it the one that can read the least else."""
        medium = self._tapes[serial].medium.name
        able = [drive for drive in free if can(drive.kind, medium)]
        return min(able, key=lambda d: (d.tape is not None, breadth(d.kind), d.name), default=None)

    def _faded(self, group: str, now: float) -> float:
        used, at = self._used.get(group, (0.0, now))
        return used * float(0.5 ** ((now - at) / self.policy.share_memory))

    def _factors(self, now: float) -> dict[str, float]:
        """Return by how much groups weigh more or less, because they used less or more than their share."""
        groups = {group for queue in self._queues.values() for group in queue.moments}
        if len(groups) < 2:  # noqa: PLR2004 (nobody to share with)
            return {}
        shares = {group: self.policy.shares.get(group, 1.0) for group in groups}
        used = {group: self._faded(group, now) for group in groups}
        whole, all_used = sum(shares.values()), sum(used.values())
        bound, hour = self.policy.share_bound, 3600.0  # an hour of drives counts as fair, so that the start is calm
        factors = {}
        for group, share in shares.items():
            fair = (all_used + hour) * share / whole
            factors[group] = min(max(fair / (used[group] + hour / len(groups)), 1 / bound), bound)
        return factors
