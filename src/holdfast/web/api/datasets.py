# SPDX-License-Identifier: Apache-2.0
"""/datasets: archive, look, check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from holdfast.errors import InvalidInput
from holdfast.services import check, deposit, free, register, search, show
from holdfast.services.groups import may_in_group
from holdfast.services.rights import may, seen, sight, sight_aside, usable
from holdfast.web import paging
from holdfast.web.caller import Caller, IdempotencyKey, TheArchive, Visitor, once
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.datasets import CheckAsked, DatasetDetail, DatasetPage, DatasetWish, FilePage, FoundFiles
from holdfast.wire.requests import Release, ReleaseWish

router = Router(tags=["datasets"])
Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(max_length=8192)]
QueryText = Annotated[
    str | None,
    Query(max_length=4000, description="CQL2-text, or words: instrument = 'P06' AND energy BETWEEN 12 AND 13 keV"),
]
SortText = Annotated[str, Query(max_length=1025, description="a key, or -KEY for the largest first; created")]
Facets = Annotated[Sequence[str], Query(max_length=10, description="keys whose values are counted")]
PathText = Annotated[str, Query(max_length=4096)]


@router.post("/datasets", status_code=201, responses=responses(404, 409))
def make_dataset(
    wish: DatasetWish, archive: TheArchive, person: Caller, idempotency_key: IdempotencyKey = None
) -> DatasetDetail:
    """Archive a folder of the server in place, or make an open dataset to which files are added."""
    may(archive, person, "create")
    if wish.extends:
        may(archive, person, "read", wish.extends)
    if wish.group is not None:
        may_in_group(archive, person, "contribute", wish.group)
    asked = deposit.Wish(**wish.model_dump(exclude={"path"}))

    def work(ident: str) -> DatasetDetail:
        if wish.path is None:
            deposit.create(archive, asked, ident=ident, person=person)
        else:
            within = usable(person, writing=False)
            register.register(archive, asked, ident=ident, person=person, path=wish.path, within=within)
        return show.dataset(archive, ident, sight=sight_aside(person))

    return once(archive, person, idempotency_key, wish, work, DatasetDetail)


@router.get("/datasets", responses=responses())
def datasets(
    archive: TheArchive, person: Visitor, q: QueryText = None, sort: SortText = "", facets: Facets = (),
    cursor: Cursor = None, limit: Limit = 50, *, deleted: bool = False,
) -> DatasetPage:  # fmt: skip
    """List datasets, the newest first; with `q`, `sort` or `facets`, search them."""
    if q is not None or sort or facets:
        if deleted:
            raise InvalidInput(what="Deleted datasets are listed, not searched: leave q, sort and facets out.")
        after = paging.take(cursor, 2 if sort.removeprefix("-") in {"", "created"} else 3)
        page, end = search.find(archive, q or "", sort=sort, after=after, limit=limit, keys=facets, sight=sight(person))
        return page.model_copy(update={"next": paging.give(*end) if end else None})
    items = show.dataset_list(
        archive, before=paging.take_time(cursor), limit=limit, deleted=deleted, sight=sight(person)
    )
    return DatasetPage(items=items, next=paging.newest_first([(item.created_at, item.id) for item in items], limit))


@router.get("/datasets/{dataset}", responses=responses(404))
def one_dataset(dataset: str, archive: TheArchive, person: Visitor) -> DatasetDetail:
    """Tell all that is known of a dataset: packages, copies, tapes, digests, and what is pending and why."""
    return show.detail(archive, seen(archive, person, dataset), sight=sight(person))


@router.get("/datasets/{dataset}/files", responses=responses(404))
def files(
    dataset: str,
    archive: TheArchive,
    person: Visitor,
    prefix: PathText = "",
    cursor: Cursor = None,
    limit: Limit = 1000,
    *,
    union: bool = False,
) -> FilePage:
    """List the files of a dataset, or those at and below `prefix`, in path order; with `union`, also of what it extends."""
    may(archive, person, "see", dataset)
    (after,) = paging.take(cursor, 1, paths=True) or [""]
    if union:
        found = show.union(archive, dataset, prefix=raw(prefix), after=raw(after), limit=limit, sight=sight(person))
    else:
        found = show.files(archive, dataset, prefix=raw(prefix), after=raw(after), limit=limit)
    return FilePage(items=[item for _, item in found], next=paging.give(found[-1][0]) if len(found) == limit else None)


@router.get("/datasets/{dataset}/folder", responses=responses(404))
def folder(
    dataset: str, archive: TheArchive, person: Visitor, path: PathText = "", cursor: Cursor = None, limit: Limit = 1000
) -> FilePage:
    """List what is directly in a folder of a dataset."""
    may(archive, person, "see", dataset)
    after = paging.take(cursor, 1, paths=True) or [""]
    found = show.folder(archive, dataset, path=raw(path), after=raw(after[0]), limit=limit)
    return FilePage(items=[item for _, item in found], next=paging.give(found[-1][0]) if len(found) == limit else None)


@router.get("/files", responses=responses())
def find(
    archive: TheArchive, person: Visitor, name: Annotated[str, Query(min_length=1, max_length=1024)], limit: Limit = 100
) -> FoundFiles:
    """Find files by their name in all datasets."""
    return FoundFiles(items=show.find(archive, raw(name), limit=limit, sight=sight(person)))


@router.post("/datasets/{dataset}/check", status_code=202, responses=responses(404, 409))
def check_copies(dataset: str, archive: TheArchive, person: Caller) -> CheckAsked:
    """Have all copies of a dataset read again from their media."""
    may(archive, person, "check", dataset)
    return check.want_check(archive, dataset, person=person.name)


@router.post("/datasets/{dataset}/release", status_code=202, responses=responses(404, 409))
def release(
    dataset: str, wish: ReleaseWish, archive: TheArchive, person: Caller, idempotency_key: IdempotencyKey = None
) -> Release:
    """Plan, and with `apply` do, the removal of source files that are byte-identical to what is archived."""
    may(archive, person, "release", dataset)

    def work(ident: str) -> Release:
        free.want_release(archive, dataset, ident=ident, person=person.name, apply=wish.apply)
        return show.release(archive, ident)

    return once(archive, person, idempotency_key, wish, work, Release, about=dataset)


@router.get("/releases/{release}", responses=responses(404))
def one_release(release: str, archive: TheArchive, person: Caller) -> Release:
    """Tell how far a release is."""
    found = show.release(archive, release)
    may(archive, person, "who", found.dataset, by=("release", release))
    return found


def raw(text: str) -> bytes:
    """Return a path as bytes. Raises InvalidInput."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(what="A path holds half of a character.") from error
