# SPDX-License-Identifier: Apache-2.0
"""Signing in elsewhere, and the credentials of a person."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from holdfast.wire.model import Model


class DeviceSignIn(Model):
    """What to do on another device, and what to ask with whether it was done."""

    handle: str = Field(description="for POST /login/device/{handle}; keep it to yourself")
    address: str = Field(description="the page to open in a browser")
    code: str = Field(description="what to type there")
    interval: float = Field(description="seconds between two questions")
    expires: float = Field(description="seconds for which the code is good")


class NewCredential(Model):
    """Another way in which a person is recognised."""

    kind: Literal["oidc", "ldap", "x509", "jwt"]
    issuer: Annotated[str, Field(min_length=1, max_length=1000)]
    subject: Annotated[str, Field(min_length=1, max_length=1000)]


class Credential(Model):
    """A way in which a person is recognised."""

    id: int
    kind: str
    issuer: str
    subject: str
    created_at: datetime
    used_at: datetime | None


class CredentialPage(Model):
    """All credentials of a person."""

    items: list[Credential]
