# SPDX-License-Identifier: Apache-2.0
"""What a simulation measures: times in seconds, sizes in bytes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class Outcome:
    """A request that ended: who asked for what, when, and when it was read."""

    request: str
    package: str
    group: str
    tape: str
    size: int
    asked: float
    read: float


class Busy(Protocol):
    """A drive, as far as it is counted."""

    job: str


class Buffer(Protocol):
    """The disk area in front of the tapes, as far as it is counted."""

    @property
    def waiting(self) -> int:
        """Bytes that are not on tape yet."""


def _floats() -> array[float]:
    return array("d")


@dataclass(slots=True)
class Figures:
    """Counted while the simulation runs."""

    drives: int = 0
    asked: int = 0
    online: int = 0  # requests for what was still in the buffer
    mounts: int = 0
    sessions: int = 0  # for writing
    robot: float = 0.0  # it moved this long
    busy: float = 0.0  # all drives together
    writing: float = 0.0  # of which in write sessions
    locating: float = 0.0
    read: int = 0
    written: int = 0
    buffer: int = 0  # the most bytes that waited to be written
    came: float = 0.0  # when the last of what is written came
    stored: float = 0.0  # when the last of it was on tape
    makespan: float = 0.0  # when the last request or segment ended
    latencies: array[float] = field(default_factory=_floats)

    def passed(self, seconds: float, drives: Sequence[Busy], shelf: Buffer) -> None:
        """Count the time until now."""
        jobs = [drive.job for drive in drives if drive.job]
        self.busy += seconds * len(jobs)
        self.writing += seconds * jobs.count("writing")
        self.buffer = max(self.buffer, shelf.waiting)

    def ended(self, outcome: Outcome) -> None:
        """Count a request that was read."""
        self.latencies.append(outcome.read - outcome.asked)
        self.makespan = max(self.makespan, outcome.read)

    def finish(self, now: float, shelf: Buffer) -> None:
        """All is done."""
        self.buffer = max(self.buffer, shelf.waiting)
        if self.written and not self.makespan:
            self.makespan = now

    def summary(self) -> dict[str, float]:
        """Return all figures by name."""
        waited = np.array(self.latencies) if self.latencies else np.zeros(1)
        span = max(self.makespan, 1e-9)
        return {
            "requests": len(self.latencies),
            "from_buffer": self.online,
            "makespan_s": self.makespan,
            "mounts": self.mounts,
            "write_sessions": self.sessions,
            "drive_use": self.busy / (span * max(self.drives, 1)),
            "robot_use": self.robot / span,
            "mean_s": float(waited.mean()),
            "median_s": float(np.median(waited)),
            "p95_s": float(np.percentile(waited, 95)),
            "max_s": float(waited.max()),
            "locating_s": self.locating,
            "read_bytes": self.read,
            "written_bytes": self.written,
            "writing_s": self.writing,
            "drain_s": max(self.stored - self.came, 0.0),
            "buffer_peak_bytes": self.buffer,
        }
