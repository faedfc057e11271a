# SPDX-License-Identifier: Apache-2.0
"""The write side of the simulated library: what waits in the buffer, what is on which pair, and what fits where."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from holdfast.errors import InvalidInput
from holdfast.scheduling.allocation import Load, Room, choose_pair, efficiency, reserve, warranted
from holdfast.scheduling.asks import Extent
from holdfast.simulation.library import Library
from holdfast.simulation.trace import Row

_INDEX_ENTRY = 770  # bytes of a file in the index of LTFS, with a long name


@dataclass(slots=True)
class Segment:
    """Packages of one family that are written together; `first` numbers them from the catalogue."""

    family: str
    at: float
    size: int = 0
    numbers: list[int] = field(default_factory=list)


class Shelf:
    """Segments that wait, and tapes with room. Times in seconds, sizes in bytes."""

    def __init__(self, library: Library) -> None:
        """All tapes that hold nothing are new and have no twin yet."""
        self._rule = library.writing
        self._rooms: dict[str, Room] = {}
        self._files: dict[str, int] = {}
        for tape in library.tapes:
            free = max(tape.medium.capacity - tape.filled - reserve(0), 0)
            twin = tape.twin if tape.filled else ""
            self._rooms[tape.serial] = Room(
                tape.serial, tape.medium.name, tape.medium.capacity, free, tape.batch, twin=twin
            )
        self._serials = [tape.serial for tape in library.tapes]
        self._index = {serial: number for number, serial in enumerate(self._serials)}
        self._ends = {tape.serial: float(tape.filled) for tape in library.tapes}
        self._open: dict[str, Segment] = {}
        self._ready: deque[Segment] = deque()
        self._active: set[str] = set()
        self._sessions = 0
        self.waiting = 0  # bytes
        self._files_waiting = 0
        # The catalogue: compact, since it grows with every package.
        self._numbers: dict[str, int] = {}
        self._sizes, self._starts, self._tapes = array("q"), array("q"), array("i")

    # ---- what comes in ----

    def put(self, row: Row) -> None:
        """Add a package; a segment that is full is ready to be written."""
        number = len(self._sizes)
        self._numbers[row.package] = number
        self._sizes.append(row.size)
        self._starts.append(0)
        self._tapes.append(-1)
        segment = self._open.setdefault(row.group, Segment(row.group, row.at))
        if segment.size and segment.size + row.size > self._rule.segment:
            self._ready.append(segment)
            segment = self._open[row.group] = Segment(row.group, row.at)
        segment.size += row.size
        segment.numbers.append(number)
        self.waiting += row.size
        self._files_waiting += 1

    def flush(self, now: float, *, older: float = 0.0) -> None:
        """Make segments ready that are not full, if they have waited at least `older` seconds."""
        for family in [family for family, segment in self._open.items() if now - segment.at >= older]:
            self._ready.append(self._open.pop(family))

    def find(self, package: str) -> tuple[Extent, ...] | None:
        """Return where a package is, or None while it waits. Raises InvalidInput for one that was never written."""
        number = self._numbers.get(package)
        if number is None:
            raise InvalidInput(what=f"The trace recalls {package}, which it neither wrote before nor says where it is.")
        if self._tapes[number] < 0:
            return None
        serial = self._serials[self._tapes[number]]
        start, size = self._starts[number], self._sizes[number]
        return Extent(serial, start, size), Extent(self._rooms[serial].twin, start, size)

    # ---- decisions ----

    def warranted(self, now: float, free: int, recalls: int, *, last: bool) -> str | None:
        """Return why a write session should begin, or None."""
        if not self.waiting or (not self._ready and not self._open):
            return None
        oldest = min([s.at for s in self._open.values()] + [s.at for s in list(self._ready)[:1]])
        if last or now - oldest >= self._rule.age:
            self.flush(now, older=0.0 if last else self._rule.age)
        if not self._ready:
            return None
        load = Load(self.waiting, self._files_waiting, now - oldest, free, recalls, self._sessions)
        return warranted(load, self._rule) or ("age" if last and not self._sessions else None)

    def pair(self, busy: Collection[str]) -> tuple[str, str] | None:
        """Return twins for the segment that has waited longest; None when none is free. Raises InvalidInput when full."""
        segment = self._ready[0]
        rooms = self._rooms.values()
        busy = {*busy, *self._active}
        # A family that sends much at once may spread: each amount that warrants a mount warrants a pair.
        amount = sum(one.size for one in self._ready if one.family == segment.family)
        pairs = self._rule.open_pairs + self._sessions + amount // self._rule.enough
        found = choose_pair(rooms, segment.size, family=segment.family, open_pairs=pairs, busy=busy)
        if found is None and choose_pair(rooms, segment.size, family=segment.family, open_pairs=pairs) is None:
            raise InvalidInput(what="The library is full: no two tapes have room for a segment. Add tapes to it.")
        return found

    def begin(self, pair: tuple[str, str]) -> None:
        """The pair is on its way into two drives."""
        self._active.update(pair)
        self._sessions += 1
        for own, twin in (pair, pair[::-1]):
            self._rooms[own] = replace(self._rooms[own], twin=twin)

    def next(self, pair: tuple[str, str], written: int, recalls: int) -> Segment | None:
        """Return the next segment for a mounted pair: the one that waited longest, of its families if they have one."""
        if written >= self._rule.session and recalls:
            return None
        room = self._rooms[pair[0]]
        fitting = [segment for segment in self._ready if segment.size <= room.free]
        if not fitting:
            return None
        segment = next((one for one in fitting if one.family in room.families), fitting[0])
        self._ready.remove(segment)
        return segment

    def written(self, pair: tuple[str, str], segment: Segment) -> None:
        """A segment is on both tapes, synced."""
        start = int(self._ends[pair[0]])
        for number in segment.numbers:
            self._starts[number], self._tapes[number] = start, self._index[pair[0]]
            start += self._sizes[number]
        for serial in pair:
            room = self._rooms[serial]
            self._files[serial] = self._files.get(serial, 0) + 1
            self._ends[serial] += segment.size
            end, kept = int(self._ends[serial]), reserve(self._files[serial] * _INDEX_ENTRY)
            self._rooms[serial] = replace(
                room, free=max(room.capacity - end - kept, 0), families=room.families | {segment.family}
            )
        self.waiting -= segment.size
        self._files_waiting -= len(segment.numbers)

    def finish(self, pair: tuple[str, str]) -> None:
        """The session is over."""
        self._active.difference_update(pair)
        self._sessions -= 1

    # ---- looking ----

    def end(self, serial: str) -> float:
        """Return the position at which the next segment of a tape begins."""
        return self._ends[serial]

    @property
    def efficiency(self) -> float:
        """Which share of the tapes in use is filled."""
        return efficiency(self._rooms.values())
