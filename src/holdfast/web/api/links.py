# SPDX-License-Identifier: Apache-2.0
"""Share links: made and ended by those who manage a dataset, opened by whoever has one."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Request
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from starlette.responses import Response

from holdfast.errors import NotFound
from holdfast.model.ids import new_id
from holdfast.model.names import printable
from holdfast.services import links, show
from holdfast.services.rights import may, still_may
from holdfast.web.api.datasets import raw
from holdfast.web.api.downloads import BINARY, BUNDLE, SUMS
from holdfast.web.body import unbase64
from holdfast.web.caller import Caller, TheArchive, archive_of
from holdfast.web.content import bundle_answer, checksums_answer, file_answer, path_of
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.links import Coming, Link, LinkPage, LinkUses, NewLink, Shared

router = Router(tags=["links"])
_BASIC: Final = HTTPBasic(auto_error=False, description="the password of a link, with any user name")
_FIRST: Final = 1000  # files in what a link shows
_SHARED: Final = responses(404)
_COMES: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": Coming, "description": "It is on tape and is being brought; repeat after some seconds."}
}


@router.post("/datasets/{dataset}/links", status_code=201, responses=responses(404, 409))
def add(dataset: str, wish: NewLink, archive: TheArchive, person: Caller) -> Link:
    """Make a share link. Its secret is in this answer and nowhere else."""
    may(archive, person, "manage", dataset)
    path = unbase64(wish.path_base64) if wish.path_base64 else raw(wish.path.strip("/"))
    return links.add(archive, dataset, wish, path=path, person=person.name, ident=new_id())


@router.get("/datasets/{dataset}/links", responses=responses(404, 409))
def of_dataset(dataset: str, archive: TheArchive, person: Caller) -> LinkPage:
    """List the share links of a dataset, the newest first."""
    may(archive, person, "manage", dataset)
    return LinkPage(items=links.of_dataset(archive, dataset))


@router.delete("/links/{link}", responses=responses(404, 409))
def revoke(link: str, archive: TheArchive, person: Caller) -> Link:
    """End a share link. Repeating it changes nothing."""
    may(archive, person, "manage", links.dataset_of(archive, link), by=("link", link))
    return links.revoke(archive, link, person=person.name)


@router.get("/links/{link}/uses", responses=responses(404, 409))
def uses(link: str, archive: TheArchive, person: Caller) -> LinkUses:
    """List the newest downloads through a link."""
    may(archive, person, "manage", links.dataset_of(archive, link), by=("link", link))
    return LinkUses(items=links.uses(archive, link))


def opening(
    request: Request, secret: str, credentials: Annotated[HTTPBasicCredentials | None, Depends(_BASIC)]
) -> links.Opening:
    """Return what a link opens, as long as who made it may make one. Raises NotFound, NotSignedIn."""
    archive = archive_of(request)
    password = credentials.password if credentials else None
    found = links.opened(archive, secret, password, address=_address(request))
    if not still_may(archive, found.person, "manage", found.dataset):
        raise NotFound(kind="link", name="like this, or it has ended")
    return found


@router.get("/shared/{secret}", responses=_SHARED)
def shared(archive: TheArchive, link: Annotated[links.Opening, Depends(opening)]) -> Shared:
    """Tell what a link opens."""
    found = show.files(archive, link.dataset, prefix=link.path, after=b"", limit=_FIRST + 1)
    files = [file for _, file in found[:_FIRST]]
    return Shared(title=link.title, path=printable(link.path), files=files, more=len(found) > _FIRST)


@router.get(
    "/shared/{secret}/content/{path:path}", response_class=Response, responses={200: BINARY, **_COMES, **_SHARED}
)
def download(
    secret: str,
    path: str,  # noqa: ARG001 (the exact bytes of it count)
    request: Request,
    archive: TheArchive,
    link: Annotated[links.Opening, Depends(opening)],
) -> Response:
    """Download a file through a link."""
    wanted = link.inside(path_of(request, f"/{secret}/content/"))
    count = partial(links.use, archive, link, path=wanted, address=_address(request))
    return file_answer(archive, request, link.dataset, wanted, person=link.person, count=count)


@router.get("/shared/{secret}/bundle", response_class=Response, responses={200: BUNDLE, **_COMES, **_SHARED})
def download_all(
    request: Request,
    archive: TheArchive,
    link: Annotated[links.Opening, Depends(opening)],
    format: Literal["tar", "zip"] = "tar",  # noqa: A002
) -> Response:
    """Download all that a link opens as one tar or zip."""
    count = partial(links.use, archive, link, path=link.path, address=_address(request))
    paths = [link.path] if link.path else []
    return bundle_answer(
        archive, request, [link.dataset], paths, form=format, person=link.person, name=link.dataset, count=count
    )


@router.get("/shared/{secret}/checksums", response_class=Response, responses={200: SUMS, **_SHARED})
def checksums(archive: TheArchive, link: Annotated[links.Opening, Depends(opening)]) -> Response:
    """List the SHA-512 of all files that a link opens, as `sha512sum -c` reads it."""
    return checksums_answer(archive, [link.dataset], [link.path] if link.path else [], name=link.dataset)


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
