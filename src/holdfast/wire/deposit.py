# SPDX-License-Identifier: Apache-2.0
"""Adding files to open datasets, and uploads that are under way."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from holdfast.wire.model import Model, Problem


class AddedFile(Model):
    """A file that is in an open dataset now."""

    path: str
    size: int
    blake3: str = Field(description="of the bytes as they came, of a link of its target: compare it with what you sent")


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
    origin: str | None = Field(description="where the archive fetches it; none: somebody sends it")
    problem: Problem | None = Field(description="why that waits")
    created_at: datetime
    expires_at: datetime


class UploadPage(Model):
    """The uploads into a dataset that have not ended."""

    items: list[Upload]


class FetchWish(Model):
    """What the archive shall bring into an open dataset itself: either `path` or `url`."""

    path: str | None = Field(
        default=None, max_length=4096, description="a file or folder of the server, below a source root"
    )
    url: str | None = Field(default=None, max_length=4096, description="a file of a host that the archive may ask")
    into: str = Field(
        default="", max_length=3000, description="a folder of the dataset; of a URL, the path of the file"
    )


class Fetching(Model):
    """How many files are on their way, with links and empty folders, which are there already."""

    files: int
