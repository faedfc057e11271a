# SPDX-License-Identifier: Apache-2.0
"""The words between the scheduler and those who use it: what is asked, with which drives, under which policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.scheduling.geometry import MediaType, WrapMap
from holdfast.scheduling.tour import NORMAL, Effort


@dataclass(frozen=True, slots=True)
class Extent:
    """A package on one tape: bytes from the start of the data partition."""

    tape: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The position behind its last byte."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Ask:
    """One request for one package; `extents` are its copies, the preferred one first."""

    name: str
    package: str
    extents: tuple[Extent, ...]
    at: float  # seconds on the caller's clock
    group: str = ""
    priority: int = 0  # each step doubles its weight


@dataclass(frozen=True, slots=True)
class Tape:
    """What the scheduler must know of a tape."""

    serial: str
    medium: MediaType
    table: WrapMap


@dataclass(frozen=True, slots=True)
class Drive:
    """A drive as the scheduler sees it when it decides."""

    name: str
    kind: str  # its type, a key of geometry.DRIVES
    tape: str | None = None  # what is in it
    free: bool = True  # it has nothing to do, and may be used


@dataclass(frozen=True, slots=True)
class Mount:
    """A decision: this tape into this drive."""

    drive: str
    tape: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator may choose; seconds unless said otherwise."""

    ageing_time: float = 3600.0  # a request that has waited this long weighs twice as much as a new one
    ageing_cap: float = 2.5 * 3600  # a tape whose oldest request waited longer goes before all that waited less
    ageing_load: float = 1.5  # the cap is at least so many times what all waiting tapes would take together
    session_limit: float = 2 * 3600.0  # a mount older than this takes no more late requests while others wait
    hold: float = 600.0  # a tape stays in its drive this long after its last request, unless the drive is needed
    shares: Mapping[str, float] = field(default_factory=dict)  # weight of a group, 1 if it is not listed
    share_memory: float = 24 * 3600.0  # half of a group's use is forgotten after this time
    share_bound: float = 4.0  # a group weighs at most this much more, or less, than its share; keeps all moving
    effort: Effort = NORMAL


@dataclass(frozen=True, slots=True)
class Estimate:
    """When a request is expected to be read; clock of the caller. The range holds in about nine of ten cases."""

    ask: str
    expected: float
    earliest: float
    latest: float
    code: str  # why it waits: reading, queued or no-drive
    reason: str  # the same as a sentence
    place: str = ""  # in the queue, where it has one
