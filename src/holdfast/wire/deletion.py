# SPDX-License-Identifier: Apache-2.0
"""Deleting datasets: what it would do, who asked, what is left."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from holdfast.wire.model import Model


class Deletion(Model):
    """What deleting a dataset takes away, or has taken away."""

    dataset: str
    title: str
    state: str = Field(description="of the dataset: `deleted` when it is done")
    files: int
    bytes: int
    packages: int
    tapes: list[str] = Field(description="that have copies of it, which are erased when they are mounted next")
    obstacles: list[str] = Field(description="why it cannot be deleted now, each a sentence")
    retained_until: datetime | None = Field(description="not deleted before; none: at any time")
    two_persons: bool = Field(description="a second person has to confirm")
    asked_by: str | None = Field(description="who asked, and waits for somebody to confirm")
    asked_reason: str | None = Field(description="and why")
    tombstone: dict[str, Any] | None = Field(description="what stays of a dataset that is deleted")


class DeletionWish(Model):
    """What shall be done about deleting a dataset."""

    action: Literal["apply", "confirm", "withdraw"] = Field(
        description="delete it, or ask for it where two persons have to; say yes to what another one asked; take that back"
    )
    reason: str = Field(default="", max_length=1000, description="needed to apply; it stands on the tombstone")
