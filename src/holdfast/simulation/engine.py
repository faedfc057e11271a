# SPDX-License-Identifier: Apache-2.0
"""The discrete-event simulator: drives and one robot on a virtual clock, under the scheduler of the live library.

Each drive's work is a generator that yields the seconds it takes; a heap wakes it. Nothing of the trace is kept but what
waits, so that ten years need no more memory than a day.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.errors import InvalidInput
from holdfast.scheduling.asks import Ask, Drive, Extent, Tape
from holdfast.scheduling.cost import locate, rewind, write_seconds
from holdfast.scheduling.geometry import WrapMap, can
from holdfast.scheduling.learning import Learner
from holdfast.scheduling.recalls import Recalls
from holdfast.simulation.figures import Figures, Outcome
from holdfast.simulation.library import Cartridge, Library, true_map
from holdfast.simulation.shelf import Shelf
from holdfast.simulation.trace import Row

Steps = Iterator[float]
_LEAST_LOCATE: Final = 0.0  # seconds; noise never makes a locate shorter


@dataclass(slots=True)
class Unit:
    """A drive: what is in it, and where its head is (bytes)."""

    name: str
    kind: str
    tape: str | None = None
    head: float = 0.0
    job: str = ""  # empty, reading, writing or ejecting
    turns: int = 0  # times it was given work; a held tape is put away only if nothing came in between


@dataclass(slots=True)
class Session:
    """Two drives that are on their way to write the same."""

    units: tuple[Unit, Unit]
    tapes: tuple[str, str]
    ready: int = 0


class Engine:
    """One simulation, from the first row of its trace to the last request."""

    def __init__(
        self,
        library: Library,
        recalls: Recalls,
        *,
        seed: int = 0,
        learn: bool = False,
        sink: Callable[[Outcome], None] | None = None,
    ) -> None:
        """Make the tapes known to the scheduler, and the truth to nobody; `sink` hears of each request that ends.

        With `learn` the scheduler is told a better table of each tape after each of its mounts.
        """
        self.library = library
        self.recalls = recalls
        self.now = 0.0
        self.figures = Figures()
        self._sink = sink
        self._learners: dict[str, Learner] | None = {} if learn else None
        self._chance = np.random.default_rng(seed)
        self._heap: list[tuple[float, int, Steps]] = []
        self._numbers = itertools.count()
        self._robot_free = 0.0
        self.units = [Unit(f"drive{n}", kind) for n, kind in enumerate(self.library.drives, 1)]
        self.figures.drives = len(self.units)
        self._tapes: dict[str, Cartridge] = {tape.serial: tape for tape in self.library.tapes}
        self._truth: dict[str, WrapMap] = {}
        self.shelf = Shelf(self.library)
        nominal = {tape.medium.name: WrapMap.nominal(tape.medium) for tape in self.library.tapes}
        exact = not (self.library.truth.bias or self.library.truth.jitter)
        for tape in self.library.tapes:
            table = nominal[tape.medium.name]
            self._truth[tape.serial] = table if exact else true_map(tape.medium, self.library.truth, self._chance)
            self.recalls.tape(Tape(tape.serial, tape.medium, table))

    def run(self, trace: Iterable[Row]) -> Figures:
        """Play the trace to its end, and until all is done. Raises InvalidInput for a row that fits no tape."""
        rows = iter(trace)
        row = next(rows, None)
        while row or self._heap or self.shelf.waiting:
            if row and (not self._heap or row.at <= self._heap[0][0]):
                self._advance(row.at)
                while row and row.at == self.now:
                    self._arrive(row)
                    row = next(rows, None)
            elif self._heap:
                at, _, steps = heapq.heappop(self._heap)
                self._advance(at)
                self._step(steps)
            else:
                self.shelf.flush(self.now)
                if not self._dispatch(last=True):
                    break
            self._dispatch(last=row is None)
        self.figures.finish(self.now, self.shelf)
        return self.figures

    # ---- the clock ----

    def _advance(self, at: float) -> None:
        self.figures.passed(at - self.now, self.units, self.shelf)
        self.now = at

    def _start(self, steps: Steps) -> None:
        self._step(steps)

    def _step(self, steps: Steps) -> None:
        wait = next(steps, None)
        if wait is not None:
            heapq.heappush(self._heap, (self.now + wait, next(self._numbers), steps))

    # ---- what comes in ----

    def _arrive(self, row: Row) -> None:
        if row.kind == "write":
            self.shelf.put(row)
            self.figures.came = self.now
            return
        extents = self._extents(row)
        self.figures.asked += 1
        if extents is None:
            self.figures.online += 1  # it is still in the buffer in front of the tapes
            self.figures.latencies.append(0.0)
            return
        name = f"{self.figures.asked}"
        if not self.recalls.ask(Ask(name, row.package, extents, self.now, row.group)):
            raise InvalidInput(what=f"No tape of {row.package} can be used.")

    def _extents(self, row: Row) -> tuple[Extent, ...] | None:
        if not row.tape:
            return self.shelf.find(row.package)
        tape = self._tapes.get(row.tape)
        if tape is None:
            raise InvalidInput(what=f"The trace names tape {row.tape}, which the library does not have.")
        if row.start + row.size > tape.medium.capacity:
            raise InvalidInput(what=f"{row.package} ends behind the end of tape {row.tape}.")
        return Extent(tape.serial, row.start, row.size), Extent(tape.twin, row.start, row.size)

    # ---- decisions ----

    def _dispatch(self, *, last: bool) -> bool:
        free = [unit for unit in self.units if not unit.job]
        if not free:
            return False
        reason = self.shelf.warranted(self.now, len(free), len(self.recalls.queues), last=last)
        begun = False
        if reason and self._write(free):
            begun = True
        elif reason and len(free) == 1 and len(self.units) > 1 and reason != "idle":
            return False  # keep it for the pair
        seen = [Drive(unit.name, unit.kind, unit.tape, not unit.job) for unit in self.units]
        for mount in self.recalls.decide(seen, self.now):
            unit = next(unit for unit in self.units if unit.name == mount.drive)
            self._begin(unit, "reading")
            self.recalls.begin(mount.tape, self.now)
            self._start(self._read(unit, mount.tape))
            begun = True
        return begun

    def _begin(self, unit: Unit, job: str) -> None:
        unit.job = job
        unit.turns += 1

    def _write(self, free: list[Unit]) -> bool:
        """Start a session on two of the free drives, if there is a pair of tapes for it; both or none."""
        # A held tape may be written where it is, but by its own drive; simpler and nearly as good: leave it out.
        busy = {unit.tape for unit in self.units if unit.tape} | set(self.recalls.readings)
        pair = self.shelf.pair({serial for serial in busy if serial})
        if pair is None:
            return False
        medium = self._tapes[pair[0]].medium.name
        able = sorted((u for u in free if can(u.kind, medium, "write")), key=lambda u: (u.tape is not None, u.name))
        if len(able) < 2:  # noqa: PLR2004 (a pair)
            return False
        session = Session((able[0], able[1]), pair)
        self.shelf.begin(pair)
        self.figures.sessions += 1
        for unit, serial in zip(session.units, pair, strict=True):
            self._begin(unit, "writing")
            self._start(self._join(unit, serial, session))
        return True

    # ---- what drives do ----

    def _robot(self) -> float:
        """Return how long to wait for the robot and its move; it does one thing at a time."""
        move = self.library.timing.robot
        begun = max(self.now, self._robot_free)
        self._robot_free = begun + move
        self.figures.robot += move
        return self._robot_free - self.now

    def _eject(self, unit: Unit) -> Steps:
        assert unit.tape is not None  # noqa: S101 (for the type checker)
        yield rewind(self._truth[unit.tape], unit.head) + self.library.timing.unload
        yield self._robot()
        unit.tape, unit.head = None, 0.0

    def _fetch(self, unit: Unit, serial: str) -> Steps:
        if unit.tape == serial:
            return
        if unit.tape is not None:
            yield from self._eject(unit)
        yield self._robot()
        unit.tape, unit.head = serial, 0.0
        self.figures.mounts += 1
        yield self.library.timing.load + self.library.timing.attach

    def _locate(self, unit: Unit, to: float) -> float:
        assert unit.tape is not None  # noqa: S101 (for the type checker)
        rate = self._tapes[unit.tape].medium.rate
        seconds = locate(self._truth[unit.tape], unit.head, to, rate=rate)
        if seconds and self.library.truth.noise:
            seconds = max(seconds + float(self._chance.normal(0.0, self.library.truth.noise)), _LEAST_LOCATE)
        self.figures.locating += seconds
        if self._learners is not None and seconds:
            medium = self._tapes[unit.tape].medium
            self._learners.setdefault(unit.tape, Learner(medium)).observe(unit.head, to, seconds)
        return seconds

    def _read(self, unit: Unit, serial: str) -> Steps:
        yield from self._fetch(unit, serial)
        rate = self._tapes[serial].medium.rate
        while item := self.recalls.take(serial, unit.head):
            seconds = self._locate(unit, item.extent.start) + item.extent.size / rate
            yield seconds
            unit.head = float(item.extent.end)
            self.figures.read += item.extent.size
            for ask in self.recalls.done(serial, self.now, used=seconds):
                outcome = Outcome(ask.name, ask.package, ask.group, serial, item.extent.size, ask.at, self.now)
                self.figures.ended(outcome)
                if self._sink:
                    self._sink(outcome)
        self.recalls.end(serial)
        if self._learners and serial in self._learners:
            self.recalls.tape(Tape(serial, self._tapes[serial].medium, self._learners[serial].table))
        self._rest(unit)

    def _rest(self, unit: Unit) -> None:
        """Nothing more to do for the tape: it stays for a while, in case somebody wants it again."""
        unit.job = ""
        self._start(self._hold(unit, unit.turns))

    def _hold(self, unit: Unit, turns: int) -> Steps:
        yield self.library.policy.hold
        if unit.turns == turns and not unit.job and unit.tape:
            unit.job = "ejecting"
            yield from self._eject(unit)
            unit.job = ""

    def _join(self, unit: Unit, serial: str, session: Session) -> Steps:
        """Mount one of the twins; whoever is ready last writes both."""
        yield from self._fetch(unit, serial)
        yield self._locate(unit, self.shelf.end(serial))
        session.ready += 1
        if session.ready == len(session.units):
            yield from self._mirror(session)

    def _mirror(self, session: Session) -> Steps:
        first = self._tapes[session.tapes[0]]
        written = 0
        while segment := self.shelf.next(session.tapes, written, len(self.recalls.queues)):
            medium, feed = first.medium, self.library.writing.feed
            seconds = write_seconds(segment.size, rate=medium.rate, feed=feed, slowest=medium.slowest)
            yield seconds + self.library.timing.sync
            self.shelf.written(session.tapes, segment)
            written += segment.size
        self.figures.written += written
        self.figures.stored = self.now
        for unit, serial in zip(session.units, session.tapes, strict=True):
            unit.head = self.shelf.end(serial)
            self._rest(unit)
        self.shelf.finish(session.tapes)
