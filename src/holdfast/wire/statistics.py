# SPDX-License-Identifier: Apache-2.0
"""What an archive has achieved, in numbers, and the table of its packages."""

from __future__ import annotations

from pydantic import Field

from holdfast.wire.model import Model


class Statistics(Model):
    """The whole archive in numbers; bytes, and bytes per second."""

    datasets: int
    datasets_secured: int = Field(description="closed, with all the proven copies that their profiles want")
    packages: int
    packages_secured: int
    files: int
    bytes_archived: int = Field(description="of the files, as the sources had them")
    bytes_packed: int = Field(description="the same in packages, counted once")
    bytes_on_tape: int = Field(description="of all verified copies")
    bytes_on_disk: int = Field(description="of sources that are still there")
    bytes_recovered: int = Field(description="of sources that were removed: primary storage that is free again")
    tapes: int
    tapes_faulty: int = Field(description="broken or suspect")
    capacity: int = Field(description="of all tapes that are not retired")
    occupancy: float = Field(description="share of the capacity that is used, 0 to 1")
    filling: float = Field(description="the same of tapes that hold anything: how well they are filled")
    copies_verified: int
    copies_lost: int
    success: float = Field(description="share of the copies that were written and not lost, 0 to 1")
    bytes_last_day: int = Field(description="of copies that were written in the last 24 hours")
    write_rate: float = Field(description="median of the last 100 copies, bytes per second of one drive")


class PackageRow(Model):
    """One package with its tapes; bytes."""

    id: str
    dataset: str
    name: str
    tape1: str | None
    tape2: str | None
    blake3: str | None
    payload: int = Field(description="of the files")
    size: int | None = Field(description="as stored")


class PackageTable(Model):
    """Some packages by id; `next` is the cursor to go on from, null behind the last."""

    items: list[PackageRow]
    next: str | None
