# SPDX-License-Identifier: Apache-2.0
"""The files of a dataset: one with ranges, many as tar or zip, and their checksums."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import Query, Request
from starlette.responses import Response

from holdfast.services.rights import may, sight
from holdfast.services.show import versions
from holdfast.web.api.datasets import raw
from holdfast.web.body import unbase64
from holdfast.web.caller import TheArchive, Visitor
from holdfast.web.content import bundle_answer, checksums_answer, file_answer, path_of
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.requests import Request as FileRequest

router = Router(tags=["downloads"])
Paths = Annotated[list[str], Query(max_length=1000, description="files and folders; none: all")]
PathsBase64 = Annotated[list[str], Query(max_length=1000, description="likewise, as exact bytes")]
_NONE: Final[list[str]] = []
COMES: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": FileRequest, "description": "It is on tape and is being brought; follow the request, then repeat."}
}
_BYTES: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
BINARY: Final[dict[str, Any]] = {"content": {"application/octet-stream": _BYTES}}
BUNDLE: Final[dict[str, Any]] = {"content": {"application/x-tar": _BYTES, "application/zip": _BYTES}}
SUMS: Final[dict[str, Any]] = {"content": {"text/plain": {"schema": {"type": "string"}}}}


def chosen(paths: list[str], exact: list[str]) -> list[bytes]:
    """Return the paths of a call as bytes. Raises InvalidInput."""
    return [raw(path.strip("/")) for path in paths] + [unbase64(path) for path in exact]


@router.head("/datasets/{dataset}/content/{path:path}", include_in_schema=False)
@router.get(
    "/datasets/{dataset}/content/{path:path}", response_class=Response,
    responses={
        200: BINARY, 206: {**BINARY, "description": "The ranges that were asked for."}, **COMES,
        304: {"description": "You have it: its ETag is the one you sent."}, 416: {"description": "No such range."},
        **responses(404, 409, 507), 400: {"description": "The header Range cannot be read."},
    },
)  # fmt: skip
def download(dataset: str, path: str, request: Request, archive: TheArchive, person: Visitor) -> Response:  # noqa: ARG001 (the exact bytes count)
    """Download a file, or ranges of it. `ETag` and `Repr-Digest` are its SHA-512."""
    may(archive, person, "read", dataset)
    return file_answer(archive, request, dataset, path_of(request, f"/{dataset}/content/"), person=person.name)


@router.head("/datasets/{dataset}/bundle", include_in_schema=False)
@router.get(
    "/datasets/{dataset}/bundle", response_class=Response,
    responses={200: BUNDLE, **COMES, **responses(404, 409, 507)},
)  # fmt: skip
def download_many(
    dataset: str, request: Request, archive: TheArchive, person: Visitor, path: Paths = _NONE,
    path_base64: PathsBase64 = _NONE, format: Literal["tar", "zip"] = "tar", *,  # noqa: A002 (the name that people send)
    union: bool = False,
) -> Response:  # fmt: skip
    """Download files and folders as one tar or zip, with their checksums at its end; with `union`, also of what it extends."""
    may(archive, person, "read", dataset)
    paths, chain = chosen(path, path_base64), _chain(archive, dataset, person, "read", union=union)
    return bundle_answer(archive, request, chain, paths, form=format, person=person.name, name=dataset)


@router.get(
    "/datasets/{dataset}/checksums", response_class=Response,
    responses={200: SUMS, **responses(404)},
)  # fmt: skip
def checksums(
    dataset: str, archive: TheArchive, person: Visitor, path: Paths = _NONE, path_base64: PathsBase64 = _NONE, *,
    union: bool = False,
) -> Response:  # fmt: skip
    """List the SHA-512 of files, as `sha512sum -c` reads it; with `union`, also of what the dataset extends."""
    may(archive, person, "see", dataset)
    chain = _chain(archive, dataset, person, "see", union=union)
    return checksums_answer(archive, chain, chosen(path, path_base64), name=dataset)


def _chain(
    archive: TheArchive, dataset: str, person: Visitor, action: Literal["see", "read"], *, union: bool
) -> list[str]:
    """Return a dataset, with `union` and all that it extends and to which the person may do that."""
    return versions(archive, dataset, sight=sight(person, action)) if union else [dataset]
