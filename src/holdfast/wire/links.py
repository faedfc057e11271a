# SPDX-License-Identifier: Apache-2.0
"""Share links."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.wire.datasets import File
from holdfast.wire.model import Model
from holdfast.wire.people import NewPassword


class NewLink(Model):
    """A link that is to be made."""

    path: str = Field(default="", max_length=4096, description="a folder or file; empty: the whole dataset")
    path_base64: str | None = Field(default=None, max_length=8192, description="likewise, as exact bytes")
    seconds: float = Field(default=30 * 86400, gt=0, description="for how long it is good")
    most: int | None = Field(
        default=None, ge=1, le=1_000_000,
        description="downloads, after which it opens nothing, but for an hour to the address of the last; none: any number",
    )  # fmt: skip
    password: NewPassword | None = Field(
        default=None, description="ten wrong ones, and the link is shut for ten minutes; none: it needs none"
    )
    label: str = Field(default="", max_length=200, description="who it is for")


class Link(Model):
    """A share link."""

    id: str
    dataset: str
    path: str
    label: str
    state: str = Field(
        description="good; suspended: it opens nothing as long as the dataset is not closed, or who made the link does not manage "
        "it; or ended"
    )
    has_password: bool
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    most: int | None
    downloads: int
    secret: str | None = Field(default=None, description="told once, to who made it")
    address: str | None = Field(default=None, description="what to give away, behind the address of the server")


class LinkPage(Model):
    """All links of a dataset, the newest first."""

    items: list[Link]


class LinkUse(Model):
    """A download through a link."""

    at: datetime
    address: str
    path: str


class LinkUses(Model):
    """The newest downloads through a link."""

    items: list[LinkUse]


class Shared(Model):
    """What a link opens, as the one sees it who has it."""

    title: str
    path: str
    files: list[File] = Field(description="the first of them")
    more: bool = Field(description="there are others; the tar and the list of checksums have all")


class Coming(Model):
    """What a link opens is being brought from tape."""

    state: str = Field(description="of the request that brings it: asked, waiting, recalling")
