# SPDX-License-Identifier: Apache-2.0
"""Drives as operators see them, and the log of mounts."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.wire.model import Model


class DriveState(Model):
    """One drive now, and in the last 24 hours."""

    drive: str
    state: str = Field(description="in use, empty, disabled (by an operator or the planner), locked out (it hung)")
    tape: str | None
    reason: str | None = Field(description="why it is out of use, or will be when its tape is out")
    since: datetime | None
    mounts_last_day: int
    busy: float = Field(description="share of the last 24 hours in which a tape was in it, 0 to 1")


class Drive(DriveState):
    """A drive with what the log of mounts knows of it, a year at most; bytes."""

    kind: str = Field(description="such as LTO-8; empty: it takes every tape")
    mounts: int
    failures: int = Field(description="mounts in which tape or drive failed")
    undecided: list[str] = Field(description="tapes that failed in it, and nobody knows yet who is to blame")
    bytes_read: int
    bytes_written: int
    recovered_errors: int = Field(description="corrected while a tape was in it")
    permanent_errors: int = Field(description="not corrected")
    alerts: list[str] = Field(description="TapeAlert flags of the drive after its last mount")
    last_used: datetime | None


class DrivePage(Model):
    """All drives."""

    items: list[Drive]


class DriveWish(Model):
    """Why a drive is taken out of use."""

    reason: str = Field(min_length=1, max_length=500)


class Mount(Model):
    """One tape in one drive, from begin to end; bytes."""

    id: int
    tape: str
    drive: str
    mode: str
    purpose: str = Field(description="write, recall, check, erase, repair, or rebuild")
    began_at: datetime
    ended_at: datetime | None
    bytes_read: int
    bytes_written: int
    problem: str | None = Field(description="the code of what went wrong; cut-off: its process died")
    recovered_errors: int
    permanent_errors: int


class MountPage(Model):
    """Some mounts, the newest first; `next` is the cursor to go on from, null behind the last."""

    items: list[Mount]
    next: str | None
