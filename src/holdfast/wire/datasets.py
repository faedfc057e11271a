# SPDX-License-Identifier: Apache-2.0
"""Datasets, their packages, copies and files."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from holdfast.wire.metadata import VALUE, Values
from holdfast.wire.model import Model, Pending, Problem


class DatasetWish(Model):
    """A folder of the server that is to be archived in place, or an open dataset to which files are added."""

    path: str | None = Field(
        default=None,
        max_length=4096,
        description="absolute path on the server, below a source root; none: an open dataset",
    )
    title: str = Field(min_length=1, max_length=1000)
    profile: str | None = Field(
        default=None, max_length=100, description="none: that of the dataset that it extends, else twin-tape"
    )
    metadata: Values = Field(default_factory=dict, description=VALUE)
    group: str | None = Field(
        default=None,
        max_length=200,
        description="whose members have their roles to it; null: the one whose folder it is in",
    )
    keep_days: int | None = Field(
        default=None, ge=0, description="not deleted sooner after closing; none: as the profile says"
    )
    extends: str | None = Field(
        default=None,
        max_length=100,
        description="a closed dataset to which this one adds: it inherits profile and metadata, and the group of who makes datasets of that",
    )


class Copy(Model):
    """One package on one tape."""

    id: int
    number: int
    state: str
    tape: str | None
    size: int | None
    moved: int = Field(description="bytes written, or read back, so far")
    blake3: str | None = Field(description="as read back from the medium")
    start_block: int | None
    generation: int | None
    drive: str | None
    rate: float | None = Field(description="bytes per second of the write")
    written_at: datetime | None
    verified_at: datetime | None
    problem: Problem | None


class Package(Model):
    """One segment of a dataset: a file on each of its tapes."""

    id: str
    segment: int
    name: str
    packaging: str = Field(description="bag, or plain: one file as it is, with a sidecar NAME.holdfast.json")
    state: str
    files: int
    payload: int = Field(description="bytes of the source")
    size: int | None = Field(description="bytes of the package")
    blake3: str | None
    packed_files: int
    packed_bytes: int
    copies: list[Copy]
    problem: Problem | None


class Dataset(Model):
    """A dataset in a list."""

    id: str
    title: str
    owner: str
    group: str | None = Field(description="whose members have their roles to it")
    state: str
    level: str = Field(description="none, ingested, archived or preserved")
    availability: str = Field(description="online, nearline or unavailable")
    profile: str
    profile_version: int
    server: str
    source: str | None
    landing: bool = Field(description="made by adding files; its source is a folder of the archive's own")
    closing: bool = Field(description="somebody has it closed; nothing can be added any more")
    extends: str | None = Field(description="null also where you may not see it")
    metadata: Values = Field(description="in a list without the values that are longer than 1,000 characters")
    files: int
    bytes: int
    created_at: datetime
    closed_at: datetime | None
    safe_at: datetime | None
    deleted_at: datetime | None
    source_released_at: datetime | None
    tombstone: dict[str, Any] | None = Field(description="who deleted it and why, or asked for that, and what it was")
    problem: Problem | None


class DatasetDetail(Dataset):
    """A dataset with all that is known of where it lies."""

    packages: list[Package]
    pending: list[Pending]


class FacetValue(Model):
    """A value, and how many of the datasets have it."""

    value: str
    count: int


class DatasetPage(Model):
    """Some datasets, the newest first unless sorted otherwise; `next` asks for more."""

    items: list[Dataset]
    count: int | None = Field(
        default=None,
        description="of a search: how many datasets there are on all pages; null where there are so many that only operators are told",
    )
    count_exact: bool = Field(
        default=True, description="false: the count is an estimate, or null, as of all that is common"
    )
    facets: dict[str, list[FacetValue]] = Field(default_factory=dict, description="the most frequent values of keys")
    facets_complete: bool = Field(default=True, description="false: only the newest 10,000 datasets were counted")
    next: str | None = None


class File(Model):
    """One path of a dataset."""

    path: str = Field(description="printable: bytes that are not UTF-8 are shown as \\xNN")
    path_base64: str | None = Field(default=None, description="the exact bytes, when they are not UTF-8")
    kind: str
    size: int
    mtime: datetime | None = None
    mode: int | None = None
    target: str | None = Field(default=None, description="of a link, printable likewise")
    target_base64: str | None = Field(default=None, description="its exact bytes, when they are not UTF-8")
    sha512: str | None = None
    package: str | None = None
    mtime_ns: int | None = Field(default=None, description="of a file in an open dataset")
    blake3: str | None = Field(default=None, description="of a file in an open dataset")
    dataset: str | None = Field(default=None, description="in a union: the dataset that it is from")


class FilePage(Model):
    """Some paths of a dataset, in path order; `next` asks for more."""

    items: list[File]
    next: str | None = None


class FoundFile(Model):
    """A file with a name that was looked for."""

    dataset: str
    file: File


class FoundFiles(Model):
    """Files with a name that was looked for, in any dataset."""

    items: list[FoundFile]


class CheckAsked(Model):
    """The copies that are going to be read again."""

    dataset: str
    copies: list[int]
    asked_at: datetime
