# SPDX-License-Identifier: Apache-2.0
"""The state of the whole archive, and its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from holdfast.wire.drives import DriveState
from holdfast.wire.model import Model, Problem


class Queue(Model):
    """One queue of jobs."""

    queue: str
    waiting: int
    running: int


class Tape(Model):
    """One tape of the library; bytes."""

    serial: str
    media_type: str
    state: str
    capacity: int
    free: int
    copies: int
    problem: Problem | None
    warned: bool = Field(description="it may be about to fail: it is read, and not written any more")


class Area(Model):
    """One disk area; bytes."""

    name: str
    path: str
    total: int
    free: int
    reserved: int
    limit: int = Field(description="the most that may be in it")
    mark: int = Field(description="up to which it is filled")
    used: int = Field(description="what is in it or promised to be")


class Count(Model):
    """How many things are in a state."""

    state: str
    count: int
    bytes: int = 0


class ErrorLine(Model):
    """Something that went wrong."""

    at: datetime
    kind: str
    dataset: str | None
    sentence: str


class Status(Model):
    """Queues, drives, tapes, areas, counts and the last errors."""

    site: str
    version: str
    datasets: int
    safe: int
    files: int
    bytes: int
    queues: list[Queue]
    drives: list[DriveState]
    mounts_last_day: int
    tapes: list[Tape]
    areas: list[Area]
    copies: list[Count]
    requests: list[Count]
    errors: list[ErrorLine]


class Event(Model):
    """Something that happened."""

    cursor: str
    at: datetime
    kind: str
    site: str
    dataset: str | None
    person: str | None
    body: dict[str, Any]


class EventPage(Model):
    """Some events in order; `next` is the cursor to go on from, also when there were none."""

    items: list[Event]
    next: str


class ProblemDocument(Model):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    instance: str | None = None
    details: dict[str, Any] = Field(default_factory=dict)
