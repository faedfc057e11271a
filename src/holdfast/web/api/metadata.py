# SPDX-License-Identifier: Apache-2.0
"""/datasets/ID/metadata, /metadata and /searches: what is known of datasets, and questions that people keep."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Query

from holdfast.errors import HoldfastError, InvalidInput
from holdfast.model.rights import Person
from holdfast.services import metadata, search
from holdfast.services.archive import Archive
from holdfast.services.rights import may, sight
from holdfast.web import paging
from holdfast.web.caller import Caller, TheArchive, Visitor
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.metadata import (
    Changed,
    ChangePage,
    ManyChanged,
    ManyWish,
    Metadata,
    MetadataWish,
    Saved,
    SavedPage,
    SavedWish,
)
from holdfast.wire.model import Problem

router = Router(tags=["metadata"])
_CURSOR: Final = 2  # values: version and key


@router.get("/datasets/{dataset}/metadata", responses=responses(404))
def read(dataset: str, archive: TheArchive, person: Visitor) -> Metadata:
    """Tell all metadata of a dataset, with types, version, checksum and who set each key."""
    may(archive, person, "see", dataset)
    return metadata.current(archive, dataset)


@router.post("/datasets/{dataset}/metadata", responses=responses(404, 409))
def change(dataset: str, wish: MetadataWish, archive: TheArchive, person: Caller) -> Metadata:
    """Set and remove keys, all or none, also of a closed dataset; every change is kept. Repeating it changes nothing."""
    may(archive, person, "write", dataset)
    metadata.change(archive, dataset, wish, person=person.name)
    return metadata.current(archive, dataset)


@router.get("/datasets/{dataset}/metadata/history", responses=responses(404))
def history(
    dataset: str,
    archive: TheArchive,
    person: Visitor,
    key: Annotated[str | None, Query(max_length=1024)] = None,
    cursor: Annotated[str | None, Query(max_length=8192)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ChangePage:
    """List changes of the metadata, the newest first: who, when, old and new."""
    may(archive, person, "see", dataset)
    before = paging.take(cursor, _CURSOR)
    if before and not (before[0].isascii() and before[0].isdigit() and len(before[0]) < 10):  # noqa: PLR2004 - an integer
        raise InvalidInput(what="This cursor is not one that this list gave.")
    found = metadata.history(
        archive, dataset, key=key, before=(int(before[0]), before[1]) if before else None, limit=limit
    )
    last = found.items[-1] if len(found.items) == limit else None
    return ChangePage(items=found.items, next=paging.give(str(last.version), last.key) if last else None)


@router.post("/metadata", responses=responses())
def change_many(wish: ManyWish, archive: TheArchive, person: Caller) -> ManyChanged:
    """Change the metadata of many datasets, each for itself; what cannot be changed is told with the reason."""
    refused = {ident: error for ident in wish.changes if (error := _refusal(archive, person, ident))}
    granted = {ident: one for ident, one in wish.changes.items() if ident not in refused}
    done = {**refused, **metadata.change_many(archive, granted, person=person.name)}
    return ManyChanged(items=[Changed(dataset=ident, problem=_problem(done[ident])) for ident in wish.changes])


def _refusal(archive: Archive, person: Person, dataset: str) -> HoldfastError | None:
    try:
        may(archive, person, "write", dataset)
    except HoldfastError as error:
        return error
    return None


def _problem(error: HoldfastError | None) -> Problem | None:
    return Problem(code=error.code, sentence=error.sentence, who="user") if error else None


@router.get("/searches", responses=responses())
def searches(archive: TheArchive, person: Caller) -> SavedPage:
    """List the searches that you keep."""
    sight(person)
    return search.all_kept(archive, person=person.name)


@router.get("/searches/{name:path}", responses=responses(404))
def one_search(name: str, archive: TheArchive, person: Caller) -> Saved:
    """Tell a search that you keep."""
    sight(person)
    return search.kept(archive, name, person=person.name)


@router.put("/searches/{name:path}", responses=responses())
def keep(name: str, wish: SavedWish, archive: TheArchive, person: Caller) -> Saved:
    """Keep a search under a name, instead of one that has it already."""
    sight(person)
    return search.keep(archive, name, wish, person=person.name)


@router.delete("/searches/{name:path}", status_code=204, responses=responses(404))
def forget(name: str, archive: TheArchive, person: Caller) -> None:
    """Keep a search no longer."""
    sight(person)
    search.forget(archive, name, person=person.name)
