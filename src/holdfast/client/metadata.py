# SPDX-License-Identifier: Apache-2.0
"""The part of `Client` for metadata and search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from holdfast.client.connection import Connection, segment
from holdfast.wire.datasets import Dataset, DatasetPage
from holdfast.wire.metadata import (
    Change,
    ChangePage,
    ManyChanged,
    ManyWish,
    Metadata,
    MetadataWish,
    Saved,
    SavedPage,
    SavedWish,
)


class MetadataCalls(Connection):
    """Metadata of datasets, and searches."""

    def metadata(self, dataset: str) -> Metadata:
        """Return all metadata of a dataset, with types, version, checksum and who set each key."""
        return self._get(f"/datasets/{segment(dataset)}/metadata", Metadata)

    def change_metadata(
        self, dataset: str, values: Mapping[str, Any], *, remove: Sequence[str] = (), version: int | None = None
    ) -> Metadata:
        """Set and remove keys of a dataset, all or none; `version` refuses it when somebody else was faster."""
        wish = MetadataWish(set=dict(values), remove=list(remove), version=version)
        return self._post(f"/datasets/{segment(dataset)}/metadata", wish, Metadata)

    def change_metadata_of_many(self, changes: Mapping[str, MetadataWish]) -> ManyChanged:
        """Change many datasets, each for itself, and return what became of each."""
        return self._post("/metadata", ManyWish(changes=dict(changes)), ManyChanged)

    def metadata_history(self, dataset: str, *, key: str | None = None) -> Iterator[Change]:
        """Yield the changes of a dataset's metadata, or of one key, the newest first."""
        cursor: str | None = None
        while True:
            page = self._get(f"/datasets/{segment(dataset)}/metadata/history", ChangePage, key=key, cursor=cursor)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def search_page(
        self, query: str, *, sort: str = "", limit: int = 50, cursor: str | None = None, facets: Sequence[str] = ()
    ) -> DatasetPage:
        """Return some datasets that fulfil a query (CQL2-text, or words), how many there are, and counts of values."""
        return self._get("/datasets", DatasetPage, q=query, sort=sort, limit=limit, cursor=cursor, facets=list(facets))

    def search(self, query: str, *, sort: str = "") -> Iterator[Dataset]:
        """Yield all datasets that fulfil a query."""
        cursor: str | None = None
        while True:
            page = self.search_page(query, sort=sort, limit=200, cursor=cursor)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def searches(self) -> list[Saved]:
        """Return the searches that you keep."""
        return self._get("/searches", SavedPage).items

    def saved_search(self, name: str) -> Saved:
        """Return a search that you keep."""
        return self._get(f"/searches/{segment(name)}", Saved)

    def save_search(self, name: str, query: str, *, sort: str = "") -> Saved:
        """Keep a search under a name, instead of one that has it already."""
        content = SavedWish(query=query, sort=sort).model_dump_json()
        headers = {"Content-Type": "application/json"}
        answer = self._call("PUT", f"/searches/{segment(name)}", content=content, headers=headers)
        return self._understood(Saved, answer.content)

    def forget_search(self, name: str) -> None:
        """Keep a search no longer."""
        self._call("DELETE", f"/searches/{segment(name)}")
