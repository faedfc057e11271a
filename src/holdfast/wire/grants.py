# SPDX-License-Identifier: Apache-2.0
"""Who has which role to a dataset."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.model.rights import Role
from holdfast.wire.model import Model


class Grant(Model):
    """A role that was given."""

    to: str = Field(description="a person; group:NAME; members (all who signed in); everyone")
    title: str = Field(description="of the person or group")
    role: Role
    granted_by: str
    created_at: datetime


class Sharing(Model):
    """All who have a role to a dataset, but those of its group: they stand in the group."""

    dataset: str
    owner: str
    group: str | None
    grants: list[Grant]


class GrantWish(Model):
    """Which role is to be given."""

    role: Role = "reader"


class GiveWish(Model):
    """Whose a dataset is to be."""

    to: str = Field(max_length=200, description="a person")
