# SPDX-License-Identifier: Apache-2.0
"""Adding files to open datasets, and uploads that are under way."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.wire.model import Model


class AddedFile(Model):
    """A file that is in an open dataset now."""

    path: str
    size: int
    blake3: str = Field(description="of the bytes as they came: compare it with those that you sent")


class RefusedFile(Model):
    """A file of a batch that could not be added."""

    path: str
    code: str
    sentence: str


class Batch(Model):
    """What became of the files of a batch; what is in neither list was there already with the same bytes."""

    added: list[AddedFile]
    unchanged: int
    refused: list[RefusedFile]


class Upload(Model):
    """A file on its way into an open dataset."""

    id: str
    path: str
    length: int
    received: int
    person: str
    created_at: datetime
    expires_at: datetime


class UploadPage(Model):
    """The uploads into a dataset that have not ended."""

    items: list[Upload]
