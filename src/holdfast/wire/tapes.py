# SPDX-License-Identifier: Apache-2.0
"""Tapes as operators see them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.wire.model import Model, Problem
from holdfast.wire.status import Count


class Tape(Model):
    """One tape of the library; bytes."""

    serial: str
    media_type: str
    state: str = Field(description="active, full, suspect, disabled, repacking, broken, missing, or retired")
    capacity: int
    used: int = Field(description="what can be written no more, dead bytes included")
    free: int
    dead: int = Field(description="used, but by nothing that counts: deleted, lost and broken-off files")
    copies: int = Field(description="verified copies")
    twin: str | None = Field(description="the tape to which the same packages go")
    last_verified: datetime | None = Field(description="when a copy on it was last read back")
    problem: Problem | None


class TapeDetail(Tape):
    """A tape with what its volume says of itself."""

    generation: int = Field(description="of the last index")
    lock_state: str = Field(description="LTFS volumeLockState; 0x0 is healthy")
    held: list[Count] = Field(description="copies by state")
    health: dict[str, int] = Field(description="LTFS media counters; -1 where the drive has none")


class TapePage(Model):
    """All tapes, by serial."""

    items: list[Tape]


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
