# SPDX-License-Identifier: Apache-2.0
"""What it costs, in seconds, to bring a tape from one position to another, into a drive, and out of it.

The locate time is a linear model that CERN fitted on LTO-7 Type M media and published in its tape archive CTA
(taped/rao); the numbers are facts of the medium. Robot, load and unload times are IBM's and Versity's figures.
Measure your own library before you quote a prediction: about 200 locates on one tape are enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from holdfast.scheduling.geometry import Floats, Places, WrapMap

NEVER: Final = 1e9  # seconds; an edge of the cost matrix that no tour may use


@dataclass(frozen=True, slots=True)
class Locate:
    """The locate model of one kind of drive and medium; all in seconds. Source: CERN, CTA, fitted on LTO-7M."""

    base: float = 4.29
    wrap_change: float = 6.69
    band_change: float = 3.2
    half_change: float = -6.04  # a move across the middle of the tape has time to switch tracks
    direction_change: float = 5.22
    step_back: float = 11.32  # back in the same wrap
    full_length: float = 104.3  # from one end of the tape to the other, 0.0006192 s for each of 168,401 positions
    rewind_base: float = 4.0

    def seconds(self, start: Places, end: Places, band: int, rate: float) -> Floats:
        """Return the time from `start` to `end` (broadcast together), never longer than reading what lies between.

        `band` is the number of wraps of a band; `rate` in bytes per second.
        """
        same = start.wrap == end.wrap
        way = end.x - start.x
        back = same & (np.where(start.wrap % 2 == 0, way, -way) < 0)
        seconds = (
            self.base
            + self.wrap_change * ~same
            + self.band_change * (start.wrap // band != end.wrap // band)
            + self.half_change * ((start.x < 0.5) != (end.x < 0.5))  # noqa: PLR2004 (the middle)
            + self.direction_change * (start.wrap % 2 != end.wrap % 2)
            + self.step_back * back
            + self.full_length * np.abs(way)
        )
        gap = end.position - start.position
        streamed = np.where(gap >= 0, gap / rate, NEVER)
        cheapest: Floats = np.minimum(np.maximum(seconds, 0.0), streamed)
        return cheapest

    def rewind(self, x: Floats) -> Floats:
        """Return the time to the beginning of the tape, which must be reached before it can leave the drive."""
        return self.rewind_base + self.full_length * x


LOCATE: Final = Locate()


@dataclass(frozen=True, slots=True)
class Timing:
    """Fixed times of a library, seconds."""

    robot: float = 10.0  # one move of the one robot; "about 10 s" (Versity), 10-15 s (Oracle SL8500)
    load: float = 15.0  # threaded and ready; 15 s LTO-7 and LTO-8, 17 s LTO-9 (IBM)
    attach: float = 15.0  # until LTFS shows the files; not measured yet
    unload: float = 24.0  # 20 s LTO-7, 24 s LTO-8, 30 s LTO-9 (IBM)
    sync: float = 6.0  # two file marks and an index; 5-7 s

    @property
    def fixed(self) -> float:
        """What a mount costs in any case: into the drive and out of it, without locates and the rewind."""
        return 2 * self.robot + self.load + self.attach + self.unload


def matrix(table: WrapMap, starts: Floats, ends: Floats, *, rate: float, head: float = 0.0) -> Floats:
    """Return the times between the head, n files and the rewind, as a matrix of (n+2) x (n+2) seconds.

    Row 0 is the head at `head` bytes, rows and columns 1..n are the files (left at their end, entered at their start),
    column n+1 is the rewind. Whatever cannot follow costs NEVER.
    """
    count = len(starts)
    leave = table.places(np.concatenate(([head], ends)))
    enter = table.places(np.asarray(starts, dtype=np.float64))
    costs = np.full((count + 2, count + 2), NEVER)
    costs[:-1, 1:-1] = LOCATE.seconds(_column(leave), _row(enter), table.band, rate)
    costs[:-1, -1] = LOCATE.rewind(leave.x)
    np.fill_diagonal(costs, NEVER)
    return costs


def between(table: WrapMap, leave: Floats, enter: Floats, *, rate: float) -> Floats:
    """Return the seconds from each position to the one with the same index in `enter`; bytes."""
    return LOCATE.seconds(table.places(leave), table.places(enter), table.band, rate)


def locate(table: WrapMap, start: float, end: float, *, rate: float) -> float:
    """Return the seconds from one position to another, both in bytes."""
    return float(between(table, np.array([start]), np.array([end]), rate=rate)[0])


def rewind(table: WrapMap, position: float) -> float:
    """Return the seconds of the rewind from a position in bytes."""
    return float(LOCATE.rewind(table.places(np.array([position])).x)[0])


def write_seconds(size: float, *, rate: float, feed: float, slowest: float) -> float:
    """Return the seconds to write `size` bytes when `feed` bytes per second arrive.

    A drive that is fed too slowly stops and goes back; that halves its rate (a guess: nobody published a figure).
    """
    return size / min(rate, feed) if feed >= slowest else size / (0.5 * feed)


def _column(places: Places) -> Places:
    return Places(places.position[:, None], places.wrap[:, None], places.x[:, None])


def _row(places: Places) -> Places:
    return Places(places.position[None], places.wrap[None], places.x[None])
