# SPDX-License-Identifier: Apache-2.0
"""Requests for files, and releases of sources."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from holdfast.wire.model import Model, Problem


class RequestWish(Model):
    """Files that somebody wants back."""

    dataset: str = Field(max_length=64)
    paths: list[str] = Field(default_factory=list, max_length=10_000, description="files or folders; none: everything")
    paths_base64: list[str] = Field(default_factory=list, max_length=10_000, description="likewise, as exact bytes")
    destination: str | None = Field(
        default=None, max_length=4096, description="absolute path of a folder on the server; none: the archive's buffer"
    )
    keep: float | None = Field(
        default=None, ge=0, description="seconds that files are kept in the buffer; none: the usual time"
    )
    priority: int = Field(default=0, ge=-10, le=10, description="each step doubles its weight in the queue")


class KeepWish(Model):
    """Keep what is in the buffer."""

    seconds: float = Field(ge=0, description="from now, or from when it is ready")


class PriorityWish(Model):
    """How soon a request is to be served."""

    priority: int = Field(ge=-10, le=10, description="each step doubles its weight in the queue")


class Undelivered(Model):
    """A file that could not be delivered, and why."""

    path: str
    code: str
    sentence: str


class RequestPart(Model):
    """What of a request lies in one package."""

    package: str
    state: str
    files: int
    bytes: int
    done_files: int
    done_bytes: int
    problem: Problem | None


class Request(Model):
    """A request and how far it is."""

    id: str
    dataset: str
    person: str
    priority: int
    state: str
    destination: str
    files: int
    bytes: int
    done_files: int
    done_bytes: int
    failed_files: int
    keep: float | None = Field(description="seconds; for a request whose files are kept in the buffer")
    expires_at: datetime | None = Field(description="when they are removed from the buffer")
    created_at: datetime
    ended_at: datetime | None
    place: str | None = Field(description="in the queue of tapes, while it waits")
    expected: datetime | None = Field(description="when all of it is expected to be read; null where nothing is known")
    earliest: datetime | None = Field(description="the range holds for about nine of ten requests")
    latest: datetime | None
    reason: str | None = Field(description="why it waits, and why no time is told where there is none")
    problem: Problem | None
    parts: list[RequestPart]
    undelivered: list[Undelivered] = Field(description="the first 1,000")


class RequestPage(Model):
    """Some requests, the newest first; `next` asks for more."""

    items: list[Request]
    next: str | None = None


class ReleaseWish(Model):
    """Compare a source with the archive; with `apply`, remove what is identical."""

    apply: bool = False


class Differing(Model):
    """A path of the source that stays, and why."""

    path: str
    why: str


class Release(Model):
    """The plan to remove a source, and how far it is."""

    id: str
    dataset: str
    person: str
    state: str
    apply: bool
    files: int = Field(description="identical to what is archived")
    bytes: int
    kept: int = Field(description="present, but not identical")
    removed: int
    differing: list[Differing] = Field(description="the first 1,000 that are not identical")
    evidence: list[dict[str, Any]]
    created_at: datetime
    ended_at: datetime | None
    problem: Problem | None
