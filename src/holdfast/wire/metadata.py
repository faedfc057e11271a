# SPDX-License-Identifier: Apache-2.0
"""Metadata of datasets, their history, and saved searches."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field, JsonValue

from holdfast.wire.model import Model, Problem

Values = dict[str, JsonValue]
VALUE = (
    'a text, a number, true or false, {"value": 12.4, "unit": "keV"}, {"date": "2026-03-01T10:00:00Z"} or '
    '{"binary": "(base 64)"}'
)


class MetadataWish(Model):
    """Keys that are to be set and removed, all or none."""

    set: Values = Field(default_factory=dict, description=VALUE)
    remove: list[str] = Field(default_factory=list, max_length=10_000)
    version: int | None = Field(default=None, description="refuse the change unless this is the version now")


class ManyWish(Model):
    """Changes of several datasets, each for itself."""

    changes: dict[str, MetadataWish] = Field(max_length=1000, description="by the id of the dataset")


class Changed(Model):
    """What became of the change of one dataset."""

    dataset: str
    problem: Problem | None = None


class ManyChanged(Model):
    """What became of each change."""

    items: list[Changed]


class Origin(Model):
    """Who set a key last."""

    person: str
    at: datetime


class Unread(Model):
    """A file that could not be read, or is not what its name promises."""

    path: str
    reason: str


class Extraction(Model):
    """What was looked at for keys that begin with `fits:` or `hdf5:`."""

    at: datetime
    looked: int = Field(description="files whose first bytes were looked at")
    read: int = Field(description="files whose headers were read")
    failed: int = Field(
        description="of those looked at, such as could not be read, or are not what their names promise"
    )
    unread: list[Unread] = Field(description="the first 100 of these")
    note: str = Field(description="what was left out, and why; empty: nothing")


class Metadata(Model):
    """All that is known of a dataset."""

    dataset: str
    version: int = Field(description="0: as it was registered")
    sha256: str = Field(description="of the canonical form (RFC 8785) of `values`, hex")
    values: Values = Field(description=VALUE)
    origins: dict[str, Origin] = Field(description="of keys that were set or changed after the dataset was registered")
    extraction: Extraction | None = Field(description="null: the files were not looked at yet")


class Change(Model):
    """One key of one change."""

    version: int
    key: str
    at: datetime
    person: str
    old: JsonValue = Field(description="null: it was not there")
    new: JsonValue = Field(description="null: it was removed")


class ChangePage(Model):
    """Some changes, the newest first; `next` asks for more."""

    items: list[Change]
    next: str | None = None


class SavedWish(Model):
    """A search that somebody wants to keep."""

    query: str = Field(max_length=4000)
    sort: str = Field(default="", max_length=1025)


class Saved(SavedWish):
    """A search that somebody keeps."""

    name: str
    created_at: datetime


class SavedPage(Model):
    """All searches that somebody keeps, by name."""

    items: list[Saved]
