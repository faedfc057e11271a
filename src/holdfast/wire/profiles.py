# SPDX-License-Identifier: Apache-2.0
"""Profiles: named, versioned contracts between a facility and its users."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from holdfast.wire.model import Model


class Profile(Model):
    """One version of a profile."""

    name: str
    version: int
    terms: dict[str, Any] = Field(description="the contract, by the keys of its TOML file")
    datasets: int | None = Field(
        description="that are under this version; in a list, under any version; null for who does not operate the archive"
    )
    used: int | None = Field(description="bytes that are yours under any version of it, where it has a quota")
    created_at: datetime
    retired_at: datetime | None = Field(description="since when it is not offered any more")


class ProfilePage(Model):
    """Profiles, by name; or the versions of one, the oldest first."""

    items: list[Profile]


class ProfileWish(Model):
    """What a profile shall promise."""

    terms: dict[str, Any] = Field(description="those that are left out have their defaults")


class ProfileChange(Model):
    """Under which profile a dataset shall be."""

    profile: str = Field(max_length=100)
