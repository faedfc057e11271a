# SPDX-License-Identifier: Apache-2.0
"""/requests: files that somebody wants back."""

from __future__ import annotations

from holdfast.services import buffer, deliver, show
from holdfast.services.rights import may, may_with_request, usable, whose_requests
from holdfast.web import paging
from holdfast.web.api.datasets import Cursor, Limit, raw
from holdfast.web.body import unbase64
from holdfast.web.caller import Caller, IdempotencyKey, TheArchive, once
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.requests import KeepWish, PriorityWish, Request, RequestPage, RequestWish

router = Router(tags=["requests"])


@router.post("/requests", status_code=201, responses=responses(404, 409, 507))
def ask(wish: RequestWish, archive: TheArchive, person: Caller, idempotency_key: IdempotencyKey = None) -> Request:
    """Ask for files back, to a folder of the server or to the archive's buffer; the room is reserved at once.

    A request for the buffer waits as `asked` until there is room, is `ready` when all is there, and then `expired`.
    """
    may(archive, person, "read", wish.dataset)

    def work(ident: str) -> Request:
        paths = [raw(path.strip("/")) for path in wish.paths] + [unbase64(path) for path in wish.paths_base64]
        deliver.ask(
            archive, ident=ident, person=person.name, dataset=wish.dataset, paths=paths, destination=wish.destination,
            keep=wish.keep, priority=wish.priority, within=usable(person, writing=True),
        )  # fmt: skip
        return show.request(archive, ident)

    return once(archive, person, idempotency_key, wish, work, Request)


@router.get("/requests", responses=responses())
def requests(archive: TheArchive, person: Caller, cursor: Cursor = None, limit: Limit = 50) -> RequestPage:
    """List requests, the newest first."""
    items = show.request_list(archive, before=paging.take_time(cursor), limit=limit, person=whose_requests(person))
    return RequestPage(items=items, next=paging.newest_first([(item.created_at, item.id) for item in items], limit))


@router.get("/requests/{request}", responses=responses(404))
def one_request(request: str, archive: TheArchive, person: Caller) -> Request:
    """Tell how far a request is, with what could not be delivered and why."""
    may_with_request(archive, person, request)
    return show.request(archive, request)


@router.post("/requests/{request}/cancel", responses=responses(404))
def cancel(request: str, archive: TheArchive, person: Caller) -> Request:
    """End a request; what was delivered stays."""
    may_with_request(archive, person, request)
    deliver.cancel(archive, request, person=person.name)
    return show.request(archive, request)


@router.post("/requests/{request}/priority", responses=responses(404, 409))
def prioritise(request: str, archive: TheArchive, person: Caller, wish: PriorityWish) -> Request:
    """Change how soon a request is served. Repeating it changes nothing."""
    may(archive, person, "operate")
    deliver.prioritise(archive, request, priority=wish.priority, person=person.name)
    return show.request(archive, request)


@router.post("/requests/{request}/keep", responses=responses(404, 409))
def keep(request: str, wish: KeepWish, archive: TheArchive, person: Caller) -> Request:
    """Keep the files of a request in the buffer for so long from now; a pin is never shortened."""
    may_with_request(archive, person, request)
    buffer.keep(archive, request, person=person.name, seconds=wish.seconds)
    return show.request(archive, request)


@router.post("/requests/{request}/unstage", responses=responses(404, 409))
def unstage(request: str, archive: TheArchive, person: Caller) -> Request:
    """Have the files of a request removed from the buffer now. Repeating it changes nothing."""
    may_with_request(archive, person, request)
    buffer.unstage(archive, request, person=person.name)
    return show.request(archive, request)
