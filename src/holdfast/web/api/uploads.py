# SPDX-License-Identifier: Apache-2.0
"""/uploads: resumable uploads, as tus 1.0 has them (creation, creation-with-upload, checksum, expiration, termination).

`Upload-Metadata` says where the file goes: `dataset` and `filename` (a path in it; `relativePath`, which browsers give for a
folder, counts more), and, if known, `mtime_ns` and `mode` (permissions in octal).
"""

from __future__ import annotations

import asyncio
import re
from email.utils import format_datetime
from typing import Final

from fastapi import Depends, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from holdfast.catalog.database import Row
from holdfast.errors import InvalidInput, NotFound, UploadDamaged
from holdfast.model.entry import size_of
from holdfast.model.ids import new_id
from holdfast.model.rights import Person
from holdfast.services import uploads
from holdfast.services.archive import Archive
from holdfast.services.placing import LATEST, PERMISSIONS, USUAL_MODE
from holdfast.services.rights import may
from holdfast.web import problems
from holdfast.web.body import admitted, receive, unbase64
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router

VERSION: Final = "1.0.0"
_ABOUT: Final = {"Tus-Resumable": VERSION}
_BYTES: Final = "application/offset+octet-stream"
_BODY: Final = {"requestBody": {"required": False, "content": {_BYTES: {"schema": {"type": "string"}}}}}
_METADATA: Final = 16_384  # characters of Upload-Metadata
_MTIME: Final = re.compile(rb"-?[0-9]{1,20}")  # nanoseconds since 1970
_MODE: Final = re.compile(rb"[0-7]{3,4}")
_NOTE: Final = 64 << 20  # bytes after which it is noted how far an upload is


async def _same_protocol(request: Request) -> None:
    """Raise InvalidInput unless the client speaks the version of the protocol that is spoken here."""
    if request.headers.get("tus-resumable") != VERSION:
        raise InvalidInput(what=f"Say in the header Tus-Resumable that this is tus {VERSION}.")


router = Router(tags=["uploads"])
Tus = Depends(_same_protocol)


@router.options("/uploads", status_code=204, responses=responses())
def protocol(_person: Caller) -> Response:
    """Tell what is spoken here of tus."""
    extensions = "creation,creation-with-upload,checksum,expiration,termination"
    about = {"Tus-Version": VERSION, "Tus-Extension": extensions, "Tus-Checksum-Algorithm": ",".join(uploads.DIGESTS)}
    return Response(status_code=204, headers=_ABOUT | about)


@router.post("/uploads", status_code=201, dependencies=[Tus], openapi_extra=_BODY, responses=responses(404, 409, 507))
async def begin(request: Request, archive: TheArchive, person: Caller) -> Response:
    """Begin an upload, with its first bytes if there are any; one of the same unchanged file is gone on with."""
    length = size_of(request.headers.get("upload-length", ""))
    if length is None:
        raise InvalidInput(what="Say in Upload-Length how many bytes the file has: room is promised before they move.")
    metadata, at_once = request.headers.get("upload-metadata", ""), request.headers.get("content-type") == _BYTES
    with admitted(request):
        row = await run_in_threadpool(_begun, archive, person, length, metadata, reuse=not at_once)
        headers = _ABOUT | {"Location": f"{request.url.path}/{row['id']}"}
        if at_once or row["length"] == 0:
            row = await _take(request, archive, row, offset=0)
    return Response(status_code=201, headers=headers | _place(row))


def _begun(archive: Archive, person: Person, length: int, metadata: str, *, reuse: bool) -> Row:
    known = _metadata(metadata)
    dataset = known.get("dataset", b"").decode("ascii", "replace")
    may(archive, person, "write", dataset)
    path, mtime = known.get("relativePath") or known.get("filename") or b"", known.get("mtime_ns", b"")
    mode = known.get("mode", b"")
    return uploads.begin(
        archive, ident=new_id(), person=person.name, dataset=dataset, path=path, length=length, resumable=True,
        reuse=reuse, mtime_ns=max(min(int(mtime), LATEST), -LATEST) if _MTIME.fullmatch(mtime) else None,
        mode=int(mode, 8) & PERMISSIONS if _MODE.fullmatch(mode) else USUAL_MODE, metadata=metadata,
    )  # fmt: skip


def _metadata(text: str) -> dict[str, bytes]:
    """Return the pairs of Upload-Metadata. Raises InvalidInput."""
    if len(text) > _METADATA:
        raise InvalidInput(what=f"Upload-Metadata has at most {_METADATA} characters.")
    pairs = (part.strip().partition(" ") for part in text.split(",") if part.strip())
    return {key: unbase64(value, "Upload-Metadata") if blank else b"" for key, blank, value in pairs}


def _own(archive: Archive, person: Person, ident: str) -> Row:
    """Return an upload of this person, who may still add to its dataset. Raises NotFound."""
    row = uploads.upload_row(archive, ident)
    if row["person"] != person.name or not row["resumable"]:
        raise NotFound(kind="upload", name=ident)
    may(archive, person, "write", row["dataset"])
    return row


def _place(row: Row) -> dict[str, str]:
    return {
        "Upload-Offset": str(row["received"]),
        "Upload-Length": str(row["length"]),
        "Upload-Expires": format_datetime(uploads.expires(row), usegmt=True),
        "Upload-Metadata": row["metadata"],
        "Cache-Control": "no-store",
    }


@router.head("/uploads/{upload}", dependencies=[Tus], responses=responses(404, 409))
def where(upload: str, archive: TheArchive, person: Caller) -> Response:
    """Tell in `Upload-Offset` how many bytes count, from where it goes on."""
    return Response(headers=_ABOUT | _place(_own(archive, person, upload)))


@router.patch(
    "/uploads/{upload}",
    status_code=204,
    dependencies=[Tus],
    openapi_extra=_BODY,
    responses=responses(404, 409, 415, 460, 507),
)
async def go_on(upload: str, request: Request, archive: TheArchive, person: Caller) -> Response:
    """Bring the next bytes; with the last ones the file is in its dataset."""
    row = await run_in_threadpool(_own, archive, person, upload)
    if request.headers.get("content-type") != _BYTES:
        return problems.document(415, "invalid-input", "A value is not acceptable.", f"The bytes come as {_BYTES}.")
    offset = size_of(request.headers.get("upload-offset", ""))
    if offset is None:
        raise InvalidInput(what="Say in Upload-Offset from where these bytes go on.")
    try:
        with admitted(request):
            row = await _take(request, archive, row, offset=offset)
    except UploadDamaged as error:
        return problems.document(460, error.code, "Checksum mismatch", error.sentence)
    return Response(status_code=204, headers=_ABOUT | _place(row))


async def _take(request: Request, archive: Archive, row: Row, *, offset: int) -> Row:
    """Append the body to an upload, and add the file to its dataset when it is whole; return how far it is."""
    wanted = _checksum(request.headers.get("upload-checksum", ""))
    receiving = uploads.Receiving(archive, row["id"], wanted)
    await run_in_threadpool(receiving.__enter__)

    def write(parts: list[bytes]) -> None:
        receiving.write(parts)
        # With a digest nothing counts before it was compared.
        if not wanted and receiving.received - receiving.row["received"] >= _NOTE:
            receiving.note()

    def finish() -> None:
        receiving.note()
        if receiving.received == row["length"]:
            receiving.arrive()

    try:
        await run_in_threadpool(receiving.open, offset)
        try:
            await receive(request, write)
        except (ClientDisconnect, asyncio.CancelledError):
            if not wanted:
                await run_in_threadpool(receiving.note)
            raise
        await run_in_threadpool(finish)
        return await run_in_threadpool(uploads.upload_row, archive, row["id"])
    except ClientDisconnect as error:
        raise InvalidInput(
            what="The connection ended, or brought too little for too long. The upload can go on from where it is."
        ) from error
    finally:
        await run_in_threadpool(receiving.__exit__, None, None, None)


def _checksum(header: str) -> dict[str, bytes]:
    """Return the digest of Upload-Checksum by its algorithm. Raises InvalidInput."""
    if not header:
        return {}
    name, _, value = header.partition(" ")
    if name not in uploads.DIGESTS:
        raise InvalidInput(what=f"Upload-Checksum is one of {', '.join(uploads.DIGESTS)}.")
    return {name: unbase64(value.strip(), "Upload-Checksum")}


@router.delete("/uploads/{upload}", status_code=204, dependencies=[Tus], responses=responses(404, 409))
def give_up(upload: str, archive: TheArchive, person: Caller) -> Response:
    """End an upload and forget what was received of it: one's own, or into a dataset that one may write to."""
    row = uploads.upload_row(archive, upload)
    may(archive, person, "write", row["dataset"], by=("upload", upload))
    with uploads.Receiving(archive, upload):
        uploads.end(archive, upload)
    return Response(status_code=204, headers=_ABOUT)
