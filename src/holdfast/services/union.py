# SPDX-License-Identifier: Apache-2.0
"""A dataset and all that it extends as one: of each path the newest version, and nothing that a newer one stands in for.

A newer dataset may have a folder where an older one has a file or a link, or the other way round: the newer one counts, so
what is shown can be unpacked, and nothing is ever written through a link of another version. Everything streams in path
order; memory grows with the number of datasets, not with their files.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from holdfast.catalog import listings
from holdfast.catalog.database import Connection
from holdfast.catalog.queries import datasets

T = TypeVar("T")


def chain(conn: Connection, dataset: str, sight: Sequence[str] | None) -> list[str]:
    """Return a dataset and all that it extends, as far as `sight` may see them (None: all), the newest first."""
    return [row["id"] for row in datasets.all(conn, "chain", id=dataset, sight=sight)]


def newest(
    conn: Connection, sources: Sequence[tuple[str, Iterator[tuple[bytes, bool, T]]]]
) -> Iterator[tuple[str, bytes, T]]:
    """Yield (dataset, path, item) of the union of datasets, given the newest first as (path, is it a folder, item)."""
    looks = [_Look(conn, dataset) for dataset, _ in sources]
    # Stable: of equal paths, the one of the newest dataset comes first.
    merged = heapq.merge(*(_ranked(rank, found) for rank, (_, found) in enumerate(sources)), key=lambda one: one[0])
    covered = (b"", -1, False)  # of the last folder: most paths are in the same one as the path before
    for path, same in groupby(merged, key=lambda one: one[0]):
        _, rank, is_folder, item = next(same)
        folder = path.rpartition(b"/")[0]
        if covered[:2] != (folder, rank):
            covered = (folder, rank, any(_covers(look, folder) for look in looks[:rank]))
        if covered[2] or (not is_folder and any(look.below(path) for look in looks[:rank])):
            continue
        yield sources[rank][0], path, item


def _ranked(rank: int, found: Iterator[tuple[bytes, bool, T]]) -> Iterator[tuple[bytes, int, bool, T]]:
    return ((path, rank, is_folder, item) for path, is_folder, item in found)


def _covers(look: _Look, folder: bytes) -> bool:
    """Say whether a dataset has a file or link where another one has `folder` or one above it."""
    parts = folder.split(b"/") if folder else []
    return any(look.is_leaf(b"/".join(parts[:number])) for number in range(1, len(parts) + 1))


class _Look:
    """What a dataset has at or after a path; looking in about their order reads each block once."""

    def __init__(self, conn: Connection, dataset: str) -> None:
        self._conn, self._dataset = conn, dataset
        self._block: listings.Block | None = None
        self._range: tuple[bytes, bytes | None] = (b"", b"")  # for which paths the block is the right one

    def is_leaf(self, path: bytes) -> bool:
        """Say whether it has a file or link of this path."""
        block, at = self._first(path)
        return block is not None and block.paths[at] == path and block.at(at).entry.kind != "directory"

    def below(self, path: bytes) -> bool:
        """Say whether it has anything below this path."""
        block, at = self._first(path + b"/")
        return block is not None and block.paths[at].startswith(path + b"/")

    def _first(self, path: bytes) -> tuple[listings.Block | None, int]:
        """Return where the first path is that is not less than `path`; None when there is none."""
        low, high = self._range
        if not low <= path or (high is not None and path > high):
            self._block, last = listings.block_at(self._conn, self._dataset, path)
            self._range = (path, last)
        return self._block, self._block.first(path) if self._block else 0
