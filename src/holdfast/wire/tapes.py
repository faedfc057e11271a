# SPDX-License-Identifier: Apache-2.0
"""Tapes as operators see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.wire.model import Model, Problem
from holdfast.wire.status import Count


class Wear(Model):
    """How worn a tape is, over its whole life; null where no drive told."""

    loads: int | None
    recovered_write_errors: int | None
    permanent_write_errors: int | None
    recovered_read_errors: int | None
    permanent_read_errors: int | None
    mb_written: int | None
    mb_read: int | None
    recovered_per_gb: float | None = Field(description="corrected errors in each GB; 0 when they are too few to say")
    alerts: list[str] = Field(description="TapeAlert flags of its last mount, in words")


class Tape(Model):
    """One tape of the library; bytes."""

    serial: str
    media_type: str
    state: str = Field(
        description="new, active, full, suspect, disabled, repacking, exported, broken, missing, or retired"
    )
    batch: str = Field(description="who made it, and when")
    families: list[str] = Field(description="whose data it has, or is meant for")
    capacity: int
    used: int = Field(description="what can be written no more, dead bytes included")
    free: int
    dead: int = Field(description="used, but by nothing that counts: deleted, lost and broken-off files")
    copies: int = Field(description="verified copies")
    twin: str | None = Field(description="the tape to which the same packages go")
    last_verified: datetime | None = Field(description="when a copy on it was last read back")
    last_mounted: datetime | None = Field(description="within the log of mounts, a year at most")
    wear: Wear | None = Field(description="what its counters say; null for a tape that never told")
    problem: Problem | None


class TapeDetail(Tape):
    """A tape with what its volume says of itself."""

    generation: int = Field(description="of the last index")
    lock_state: str = Field(description="LTFS volumeLockState; 0x0 is healthy")
    held: list[Count] = Field(description="copies by state")
    undecided: list[str] = Field(description="drives in which it failed, and nobody knows yet who is to blame")
    health: dict[str, int] = Field(description="LTFS media counters; -1 where the drive has none")


class TapePage(Model):
    """All tapes, by serial."""

    items: list[Tape]


class NewTape(Model):
    """A tape that an operator adds; what is left out stays as it is."""

    serial: str
    batch: str | None = Field(default=None, description="who made it, and when")
    families: list[str] | None = Field(default=None, description="whose data it is meant for")
    capacity: int | None = Field(default=None, description="of a simulated tape that is made; bytes")
    media_type: str | None = Field(default=None, description="of a simulated tape that is made, such as L8")


class TapeWish(Model):
    """Why a tape is taken out of use."""

    reason: str = Field(min_length=1, max_length=500)


class RetireWish(Model):
    """Retiring is planned first, and done only with `apply`."""

    apply: bool = False


class Retirement(Model):
    """What retiring a tape means, or meant."""

    serial: str
    state: str
    copies: int = Field(description="copies on it that will count no more")
    short: list[str] = Field(description="packages that would have too few verified copies without it; they block")
    applied: bool


class RepackWish(Model):
    """Emptying tapes is planned first, and begun only with `apply`."""

    tapes: list[str] = Field(default=[], max_length=10_000)
    media: str = Field(default="", max_length=10, description="all tapes in use of this media type too")
    apply: bool = False


class RepackTape(Model):
    """One tape that is to be emptied."""

    serial: str
    state: str
    copies: int = Field(description="copies that have to be written to other tapes")
    bytes: int


class Repack(Model):
    """What emptying tapes means."""

    tapes: list[RepackTape]
    bytes: int
    room: int = Field(description="bytes that the other tapes can take")
    seconds: int = Field(description="about how long it takes when all drives do nothing else")
    applied: bool
