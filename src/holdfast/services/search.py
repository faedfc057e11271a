# SPDX-License-Identifier: Apache-2.0
"""Finding datasets: questions are answered, and kept under a name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from holdfast.catalog import listings
from holdfast.catalog import search as catalogue
from holdfast.catalog.database import Row
from holdfast.catalog.queries import saved
from holdfast.errors import InvalidInput, NotFound
from holdfast.model.conditions import All, Condition, Either, File, Not
from holdfast.model.facts import nfc
from holdfast.model.query import parse
from holdfast.services import facets, show
from holdfast.services.archive import Archive
from holdfast.wire.datasets import DatasetPage, FacetValue
from holdfast.wire.metadata import Saved, SavedPage, SavedWish

_FILES_MOST: Final = 10_000  # places of files with one name
_FACETS_MOST: Final = 10
_SAVED_NAME: Final = 200  # characters


def find(
    archive: Archive, query: str, *, sort: str = "", after: Sequence[str] | None = None, limit: int = 50,
    keys: Sequence[str] = (), sight: Sequence[str] | None = None,
) -> tuple[DatasetPage, list[str] | None]:  # fmt: skip
    """Return a page of the datasets that fulfil a query and that `sight` may see (None: all), and its end.

    `keys` are those whose values are to be counted. Raises InvalidInput, with the place in the query.
    """
    condition, order, keys = parse(query), _order(nfc(sort)), [nfc(key) for key in keys]
    if len(keys) > _FACETS_MOST:
        raise InvalidInput(what=f"Facets are counted for at most {_FACETS_MOST} keys.")
    files = _with_files(archive, condition, sight)
    with archive.database.reading() as conn, conn.transaction():
        hits = catalogue.find(
            conn, condition, sight=sight, limit=limit, order=order, after=_place(order, after), files=files
        )
        items = show.datasets_by_id(conn, [row["dataset"] for row in hits.rows], sight=sight)
        counted, complete = facets.count(conn, condition, keys, sight=sight, files=files) if keys else ([], True)
    page = DatasetPage(
        items=items, count=hits.count, count_exact=hits.exact, facets_complete=complete,
        facets={
            facet.key: [FacetValue(value=value, count=count) for value, count in facet.values] for facet in counted
        },
    )  # fmt: skip
    return page, _end(order, hits.rows[-1]) if len(hits.rows) == limit else None


def _order(sort: str) -> catalogue.Order:
    key = sort.removeprefix("-")
    if sort in {"", "-created"}:
        return catalogue.NEWEST
    return catalogue.Order("" if key == "created" else key, descending=sort.startswith("-"))


def _place(order: catalogue.Order, after: Sequence[str] | None) -> list[Any] | None:
    """Return the place in the order that a cursor names: (time, id), or (number, text, id). Raises InvalidInput."""
    if after is None:
        return None
    try:
        if not order.key:
            time, ident = after
            return [time, int(ident)]
        number, text, ident = after
        return [float(number) if number else None, text, int(ident)]
    except ValueError as error:
        raise InvalidInput(what="This cursor is not one that this list gave.") from error


def _end(order: catalogue.Order, row: Row) -> list[str]:
    if not order.key:
        return [row["place"].isoformat(), str(row["id"])]
    return [repr(row["number"]) if row["number"] is not None else "", row["place"] or "", str(row["id"])]


def _with_files(archive: Archive, condition: Condition, sight: Sequence[str] | None) -> dict[str, list[str]]:
    """Return for each name of a file that a condition asks for which datasets have one."""
    found: dict[str, list[str]] = {}
    for name in _file_names(condition):
        with archive.database.reading() as conn:
            places = listings.find_name(conn, name.encode("utf-8", "surrogateescape"), limit=_FILES_MOST, sight=sight)
        if len(places) == _FILES_MOST:
            raise InvalidInput(what=f"There are {_FILES_MOST} files called {name!r} or more. Ask for another name.")
        found[name] = sorted({dataset for dataset, _ in places})
    return found


def _file_names(condition: Condition) -> Iterator[str]:
    match condition:
        case File(name):
            yield name
        case All(parts) | Either(parts):
            for part in parts:
                yield from _file_names(part)
        case Not(part):
            yield from _file_names(part)
        case _:
            pass


# ---- saved searches ----


def keep(archive: Archive, name: str, wish: SavedWish, *, person: str) -> Saved:
    """Keep a search under a name, instead of one that has it already. Raises InvalidInput for one that cannot be read."""
    if not name.strip() or len(name) > _SAVED_NAME or not name.isprintable():
        raise InvalidInput(what=f"The name of a search has 1 to {_SAVED_NAME} characters that can be shown.")
    parse(wish.query)
    with archive.database.transaction() as conn:
        saved.run(conn, "keep", person=person, name=name, asked=wish.query, sort=wish.sort)
    return kept(archive, name, person=person)


def kept(archive: Archive, name: str, *, person: str) -> Saved:
    """Return a search that a person keeps. Raises NotFound."""
    with archive.database.reading() as conn:
        row = saved.first(conn, "one", person=person, name=name)
    if row is None:
        raise NotFound(kind="saved search", name=name)
    return Saved(**row)


def all_kept(archive: Archive, *, person: str) -> SavedPage:
    """Return all searches that a person keeps."""
    with archive.database.reading() as conn:
        return SavedPage(items=[Saved(**row) for row in saved.all(conn, "of", person=person)])


def forget(archive: Archive, name: str, *, person: str) -> None:
    """Keep a search no longer. Raises NotFound."""
    with archive.database.transaction() as conn:
        if not saved.run(conn, "forget", person=person, name=name):
            raise NotFound(kind="saved search", name=name)
