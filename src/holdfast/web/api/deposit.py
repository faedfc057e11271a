# SPDX-License-Identifier: Apache-2.0
"""/datasets/{id}/files: files into open datasets and out of them; and closing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from holdfast.errors import InvalidInput
from holdfast.model.entry import size_of
from holdfast.model.ids import new_id
from holdfast.model.names import printable
from holdfast.services import batch, deposit, fetch, landing, show, uploads
from holdfast.services.placing import LATEST, PERMISSIONS, USUAL_MODE
from holdfast.services.rights import may, sight_aside, usable
from holdfast.web.body import admitted, digests, receive
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.content import path_of
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.datasets import DatasetDetail
from holdfast.wire.deposit import AddedFile, Batch, Fetching, FetchWish, RefusedFile, Upload, UploadPage

router = Router(tags=["deposit"])
Permissions = Annotated[
    str, Query(pattern="^[0-7]{3,4}$", description="its permissions when it is delivered, in octal as chmod has them")
]
T = TypeVar("T")
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
_TAR = {"requestBody": {"required": True, "content": {"application/x-tar": {"schema": {"type": "string"}}}}}
ModifiedAt = Annotated[
    int | None,
    Query(
        ge=-LATEST, le=LATEST, description="when it was modified, in nanoseconds since 1970, negative before; none: now"
    ),
]


@router.put(
    "/datasets/{dataset}/files/{path:path}",
    status_code=201,
    openapi_extra=_BODY,
    responses=responses(404, 409, 411, 507),
)
async def add_file(
    dataset: str,
    path: str,  # noqa: ARG001 (the exact bytes count)
    request: Request,
    archive: TheArchive,
    person: Caller,
    mtime_ns: ModifiedAt = None,
    mode: Permissions = f"{USUAL_MODE:04o}",
) -> AddedFile:
    """Add one file to an open dataset; a digest in `Repr-Digest` or `Content-Digest` (sha-256, sha-512) is compared."""
    await run_in_threadpool(may, archive, person, "write", dataset)
    raw, wanted = path_of(request, "/files/"), digests(request.headers)

    about = {"length": _length(request), "mtime_ns": mtime_ns, "mode": int(mode, 8) & PERMISSIONS}
    asked = {"person": person.name, "dataset": dataset, "path": raw, **about}
    arrived = await _received(request, uploads.Receiving(archive, new_id(), wanted), asked, uploads.Receiving.arrive)
    return AddedFile(path=printable(raw), size=arrived.size, blake3=arrived.blake3.hex())


async def _received(
    request: Request, receiving: uploads.Receiving, asked: dict[str, Any], finish: Callable[[uploads.Receiving], T]
) -> T:
    """Receive the body as an upload that ends with this call, and return what `finish` makes of it."""

    def begin() -> None:
        receiving.__enter__()
        uploads.begin(receiving.archive, ident=receiving.ident, resumable=False, **asked)
        receiving.open()

    def finished() -> T:
        receiving.note()
        return finish(receiving)

    with admitted(request):
        try:
            await run_in_threadpool(begin)
            await receive(request, receiving.write)
            return await run_in_threadpool(finished)
        except ClientDisconnect as error:
            raise InvalidInput(
                what="The connection ended, or brought too little for too long, before all bytes had come."
            ) from error
        finally:
            await run_in_threadpool(_forget, receiving)


def _forget(receiving: uploads.Receiving) -> None:
    try:
        uploads.end(receiving.archive, receiving.ident)
    finally:
        receiving.__exit__(None, None, None)


def _length(request: Request) -> int:
    length = size_of(request.headers.get("content-length", ""))
    if length is None:
        raise InvalidInput(what="Say in Content-Length how many bytes will come: room is promised before they move.")
    return length


@router.post("/datasets/{dataset}/files", openapi_extra=_TAR, responses=responses(404, 409, 507))
async def add_batch(dataset: str, request: Request, archive: TheArchive, person: Caller) -> Batch:
    """Add many small files at once: the body is a tar of them; each is added or refused by itself."""
    await run_in_threadpool(may, archive, person, "write", dataset)
    length = _length(request)
    if length > batch.MOST_BYTES:
        raise InvalidInput(
            what=f"A batch has at most {batch.MOST_BYTES} bytes: send more batches, or larger files by themselves."
        )
    asked = {
        "person": person.name,
        "dataset": dataset,
        "path": batch.NAME,
        "length": length,
        "mtime_ns": None,
        "one_file": False,
    }
    outcomes = await _received(request, uploads.Receiving(archive, new_id()), asked, batch.add_all)
    new = [outcome.arrived for outcome in outcomes if outcome.new]
    return Batch(
        added=[AddedFile(path=printable(item.path), size=item.size, blake3=item.blake3.hex()) for item in new],
        unchanged=sum(not outcome.new and outcome.error is None for outcome in outcomes),
        refused=[
            RefusedFile(path=printable(o.arrived.path), code=o.error.code, sentence=o.error.sentence)
            for o in outcomes
            if o.error
        ],
    )


@router.delete("/datasets/{dataset}/files/{path:path}", status_code=204, responses=responses(404, 409))
def remove_file(dataset: str, path: str, request: Request, archive: TheArchive, person: Caller) -> Response:  # noqa: ARG001 (the exact bytes count)
    """Take a file out of an open dataset."""
    may(archive, person, "write", dataset)
    landing.remove(archive, person=person.name, dataset=dataset, path=path_of(request, "/files/"))
    return Response(status_code=204)


@router.get("/datasets/{dataset}/uploads", responses=responses(404, 409))
def uploads_of(dataset: str, archive: TheArchive, person: Caller) -> UploadPage:
    """List the files that are on their way into a dataset."""
    may(archive, person, "write", dataset)
    keep = Upload.model_fields.keys() - {"path", "origin"}
    return UploadPage(
        items=[
            Upload(
                **{key: row[key] for key in keep}, path=printable(bytes(row["path"])),
                origin=printable(bytes(row["origin"])) if row["origin"] else None,
            )
            for row in uploads.of_dataset(archive, dataset)
        ]
    )  # fmt: skip


@router.post("/datasets/{dataset}/fetch", status_code=202, responses=responses(404, 409, 507))
def fetch_files(dataset: str, wish: FetchWish, archive: TheArchive, person: Caller) -> Fetching:
    """Have the archive copy files of its server, or one of another host, into an open dataset."""
    may(archive, person, "write", dataset)
    if wish.path is not None and wish.url is None:
        files = fetch.want_path(
            archive, dataset, wish.path, into=wish.into, person=person.name, within=usable(person, writing=False)
        )
    elif wish.url is not None and wish.path is None:
        files = fetch.want_url(archive, dataset, wish.url, path=wish.into, person=person.name)
    else:
        raise InvalidInput(what="Name either a path or a url.")
    return Fetching(files=files)


@router.post("/datasets/{dataset}/close", status_code=202, responses=responses(404, 409))
def close(dataset: str, archive: TheArchive, person: Caller) -> DatasetDetail:
    """Have a dataset closed: nothing is added from now on, and its files go onto their tapes."""
    may(archive, person, "write", dataset)
    deposit.close(archive, dataset, person=person.name)
    return show.dataset(archive, dataset, sight=sight_aside(person))
