# SPDX-License-Identifier: Apache-2.0
"""The archive in numbers: what facilities publish of theirs, what monitoring reads, and the table of all packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holdfast.catalog.queries import numbers
from holdfast.services.archive import Archive
from holdfast.wire.statistics import PackageRow, PackageTable, Statistics

_PAGE: Final = 5000  # packages fetched at once for a whole table


def statistics(archive: Archive) -> Statistics:
    """Return the whole archive in numbers."""
    with archive.database.reading() as conn:
        row = numbers.first(conn, "statistics") or {}
    used, begun = row.pop("used"), row.pop("begun")
    written = row["copies_verified"] + row["copies_lost"]
    return Statistics(
        **row,
        occupancy=used / row["capacity"] if row["capacity"] else 0.0,
        filling=used / begun if begun else 1.0,
        success=row["copies_verified"] / written if written else 1.0,
    )


def package_table(archive: Archive, *, search: str = "", after: str = "", limit: int = 100) -> PackageTable:
    """Return packages after the id `after`; `search` is part of a name, a dataset, or a tape."""
    with archive.database.reading() as conn:
        rows = numbers.all(conn, "packages", search=search, after=after, limit=limit)
    items = []
    for row in rows:
        tapes = [*(row.pop("tapes") or ()), None, None]
        items.append(PackageRow(**row, tape1=tapes[0], tape2=tapes[1]))
    return PackageTable(items=items, next=items[-1].id if len(items) == limit else None)


def all_packages(archive: Archive, *, search: str = "") -> Iterator[PackageRow]:
    """Yield all packages by id, a page at a time."""
    after: str | None = ""
    while after is not None:
        page = package_table(archive, search=search, after=after, limit=_PAGE)
        yield from page.items
        after = page.next
