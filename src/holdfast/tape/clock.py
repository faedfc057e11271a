# SPDX-License-Identifier: Apache-2.0
"""The time that a simulated library takes: its robot, its drives, and the ways along its tapes.

All times are seconds of tapes, by the model of `holdfast.scheduling.cost`; a second of ours is `speed` of them. Where
the wraps of a tape end is hidden from the scheduler, as on real tapes: it can only learn it from how long ways take.
"""

from __future__ import annotations

import fcntl
import time
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.scheduling.cost import Timing, locate, rewind
from holdfast.scheduling.geometry import MediaType, WrapMap

_BIAS: Final = 0.01  # share by which all wraps of a tape are longer, or shorter, than nominal
_JITTER: Final = 0.01  # standard deviation of single wraps, likewise
_TICK: Final = 0.001  # seconds; shorter sleeps cost more than they take, so they are added up


def hidden_wraps(serial: str, medium: MediaType) -> WrapMap:
    """Return where the wraps of a simulated tape really end; always the same for a serial."""
    chance = np.random.default_rng(zlib.crc32(serial.encode()))
    return WrapMap.drawn(medium, _BIAS * chance.choice((-1, 1)), _JITTER, chance)


class Clock:
    """What one mount of one tape takes; positions are bytes from the start of the data partition.

    With a speed of 0 nothing takes any time.
    """

    def __init__(
        self,
        robot: Path,
        serial: str,
        medium: MediaType,
        speed: float,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`robot` is the lock file of the one robot; `now` and `sleep` are in our seconds."""
        self.head = 0
        self._robot, self._serial, self._medium, self._speed = robot, serial, medium, speed
        self._now, self._sleep = now, sleep
        self._timing = Timing()
        self._ready = now()  # when all that was asked of the drive so far is done
        self._sought = 0.0

    @property
    def sought(self) -> float | None:
        """The seconds of tapes that finding places took so far; None when no time passes."""
        return self._sought if self._speed else None

    def mount(self) -> None:
        """Bring the tape into the drive, load it, and show its files."""
        self._exchange()
        self._take(self._timing.load + self._timing.attach)

    def unmount(self) -> None:
        """Rewind the tape, unload it, and bring it to its slot."""
        if self._speed:
            self._take(rewind(self._wraps, self.head) + self._timing.unload)
        self._exchange()

    def read(self, position: int, length: int) -> None:
        """Read `length` bytes from `position`; go there first."""
        self._reach(position)
        self._stream(length)

    def append(self, begin: int, end: int) -> None:
        """Write the file that begins at `begin` up to `end`; what of it was written before takes no time again."""
        if not begin <= self.head <= end:
            self._reach(begin)
        self._stream(end - self.head)

    def sync(self, end: int) -> None:
        """Write the index, which ends at `end`."""
        self._take(self._timing.sync)
        self.head = end

    @cached_property
    def _wraps(self) -> WrapMap:
        return hidden_wraps(self._serial, self._medium)

    def _exchange(self) -> None:
        """Have the robot move once; it can do one thing at a time."""
        if self._speed:
            with self._robot.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._take(self._timing.robot)

    def _reach(self, position: int) -> None:
        if position != self.head and self._speed:
            seconds = locate(self._wraps, self.head, position, rate=self._medium.rate)
            self._sought += seconds
            self._take(seconds)
        self.head = position

    def _take(self, seconds: float) -> None:
        """Have something begin now, or when the drive is ready, that takes so long."""
        if self._speed:
            self._ready = max(self._ready, self._now()) + seconds / self._speed
            self._wait()

    def _stream(self, length: int) -> None:
        """Move bytes: the host may be slower than the drive, and what it took has passed already."""
        self.head += length
        if self._speed:
            self._ready = max(self._ready + length / self._medium.rate / self._speed, self._now())
            self._wait()

    def _wait(self) -> None:
        ahead = self._ready - self._now()
        if ahead >= _TICK:
            self._sleep(ahead)
