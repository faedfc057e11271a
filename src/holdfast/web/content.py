# SPDX-License-Identifier: Apache-2.0
"""Bytes as answers: one file with ranges, or many as a stream; what is on tape only is answered with its request."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from urllib.parse import quote, unquote_to_bytes

from fastapi import Request
from starlette.datastructures import Headers
from starlette.responses import FileResponse, MalformedRangeHeader, RangeNotSatisfiable, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from holdfast.errors import HoldfastError
from holdfast.model.entry import Packed
from holdfast.model.names import printable
from holdfast.packaging import bundle
from holdfast.services import content, show
from holdfast.services.archive import Archive
from holdfast.web.problems import document, unreadable
from holdfast.wire.links import Coming

# What strangers archive must never run as a page of ours.
_SAFE: Final = {
    "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "private, no-cache",
}  # fmt: skip
_AGAIN: Final = 10  # seconds after which one may ask again for what comes from tape
_BINARY: Final = "application/octet-stream"


class _FileResponse(FileResponse):
    """A file by its descriptor, which is closed however the answer ends."""

    chunk_size = 1 << 20  # bytes

    def __init__(self, file: content.Opened, **how: Any) -> None:
        self._descriptor = file.descriptor
        # Opened anew by the kernel's name for it: what was checked is what is sent, also if its folder is evicted.
        super().__init__(f"/proc/self/fd/{file.descriptor}", stat_result=os.fstat(file.descriptor), **how)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if refused := self._refused(Headers(scope=scope)):
                await refused(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            os.close(self._descriptor)

    def _refused(self, asked: Headers) -> Response | None:
        """Return the answer to ranges that cannot be had: a problem document, as for all errors."""
        wanted, only_if = asked.get("range"), asked.get("if-range")
        if wanted is None or (only_if is not None and not self._should_use_range(only_if)):
            return None
        size = int(self.headers["content-length"])
        try:
            self._parse_range_header(wanted, size)
        except MalformedRangeHeader:
            return unreadable(f"The header Range cannot be read: {wanted}.")
        except RangeNotSatisfiable:
            told = document(416, "http-416", "There is no such range.", f"The file has {size} bytes.")
            told.headers["Content-Range"] = f"bytes */{size}"
            return told
        return None


class _StreamingResponse(StreamingResponse):
    """What a generator yields; it is closed, and with it the file that it reads, however the answer ends."""

    def __init__(self, pieces: Generator[bytes, None, None], **how: Any) -> None:
        self._pieces = pieces
        super().__init__(pieces, **how)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pieces.close()


def path_of(request: Request, behind: str) -> bytes:
    """Return the exact bytes of the path behind `behind` in the address of a call: names need not be UTF-8."""
    raw: bytes = request.scope.get("raw_path") or quote(request.url.path).encode()
    return unquote_to_bytes(raw.partition(b"?")[0].partition(behind.encode())[2])


def file_answer(archive: Archive, request: Request, dataset: str, path: bytes, *, person: str,
    count: Callable[[], None] | None = None,
) -> Response:  # fmt: skip
    """Answer with a file, ranges of it, 304 when the caller has it, or 202 when it has to come from tape.

    `count` is that of a link: it is called once the bytes are there, and may raise.
    """
    found = content.open_file(archive, dataset, path, person=person)
    if isinstance(found, content.Away):
        return _away(archive, found, by_link=count is not None)
    try:
        if count:
            count()
    except HoldfastError:
        os.close(found.descriptor)
        raise
    tag = f'"{found.packed.file_digest.hex()}"'
    name = printable(path.rpartition(b"/")[2])
    headers = {
        **_SAFE, "ETag": tag, "Repr-Digest": f"sha-512=:{base64.b64encode(found.packed.file_digest).decode()}:",
    }  # fmt: skip
    known = [item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")]
    if tag in known or "*" in known:
        os.close(found.descriptor)
        return Response(status_code=304, headers=headers)
    return _FileResponse(found, headers=headers, media_type=_BINARY, filename=name)


def bundle_answer(
    archive: Archive, request: Request, chain: Sequence[str], paths: Sequence[bytes], *, form: str, person: str,
    name: str, count: Callable[[], None] | None = None,
) -> Response:  # fmt: skip
    """Answer with a tar or zip of what is at and below `paths` (none: all), or 202 when it has to come from tape.

    `chain` is one dataset or, the newest first, those whose union is wanted.
    `count` is that of a link: it is called once the bytes are there, and may raise.
    """
    places = content.select(archive, chain, paths, person=person)
    if isinstance(places, content.Away):
        return _away(archive, places, by_link=count is not None)
    if count:
        count()

    def entries() -> Iterator[tuple[str, Packed]]:
        return content.entries(archive, chain, paths)

    def opened(dataset: str, packed: Packed) -> AbstractContextManager[int]:
        return content.reading(places[dataset], packed)

    headers = {**_SAFE, "Content-Disposition": f'attachment; filename="{name}.{form}"'}
    kind = f"application/{'x-tar' if form == 'tar' else 'zip'}"
    if request.method == "HEAD":
        return Response(headers=headers, media_type=kind)
    make = bundle.tar if form == "tar" else bundle.zipped
    pieces = make(name, entries, opened)
    return _StreamingResponse(pieces, headers=headers, media_type=kind)


def checksums_answer(archive: Archive, chain: Sequence[str], paths: Sequence[bytes], *, name: str) -> Response:
    """Answer with the checksums of files of a dataset, or of a union, as `sha512sum -c` reads them."""
    lines = bundle.checksums(content.entries(archive, chain, paths))
    headers = {**_SAFE, "Content-Disposition": f'attachment; filename="{name}.sha512"'}
    return _StreamingResponse(lines, headers=headers, media_type="text/plain; charset=utf-8")


def _away(archive: Archive, found: content.Away, *, by_link: bool) -> Response:
    """Answer that the files are being brought, with the request to follow; who has a link only is told how far it is."""
    request = show.request(archive, found.request)
    headers = {"Retry-After": f"{_AGAIN}"}
    if by_link:  # P8: the request is of who made the link, and may be for more than the link opens
        body = Coming(state=request.state).model_dump_json()
    else:
        body, headers["Location"] = request.model_dump_json(), f"/api/v1/requests/{found.request}"
    return Response(body, status_code=202, headers=headers, media_type="application/json")
