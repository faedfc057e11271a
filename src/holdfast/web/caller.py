# SPDX-License-Identifier: Apache-2.0
"""What routes are given: the archive, the person who calls, and answers that are given once (P11)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, TypeVar

from fastapi import Header, Request
from psycopg.types.json import Jsonb
from pydantic import BaseModel, TypeAdapter
from starlette.concurrency import run_in_threadpool

from holdfast.catalog.queries import idempotency
from holdfast.errors import Conflict, NotAllowed, NotSignedIn
from holdfast.identity.jwt import looks_like
from holdfast.model.ids import new_id
from holdfast.model.rights import VISITOR, Person
from holdfast.services.archive import Archive
from holdfast.services.signin import by_jwt
from holdfast.services.tokens import Known


def archive_of(request: Request) -> Archive:
    """Return the archive that this server serves."""
    found: Archive = request.app.state.archive
    return found


def address_of(request: Request) -> str:
    """Return from where the call comes: the address that a proxy names, if it is one that is trusted."""
    return request.client.host if request.client else ""


async def visitor(request: Request) -> Person:
    """Return who calls, possibly nobody that is known. Raises NotSignedIn for a token that is not good."""
    archive = archive_of(request)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        if looks_like(token):
            return await run_in_threadpool(by_jwt, archive, token)
        return await _known(request, archive, token)
    if session := request.cookies.get(cookie_of(archive)):
        _check_origin(request, archive.settings.web.address)
        with suppress(NotSignedIn):  # a browser keeps showing what has ended, and what is public is public
            return await _known(request, archive, session)
    return VISITOR


async def _known(request: Request, archive: Archive, secret: str) -> Person:
    known: Known = request.app.state.known
    found = known.person(archive, secret)  # a look into memory: not worth a thread
    if found is None:
        found = await run_in_threadpool(known.ask, archive, secret, used_from=address_of(request))
    return found


def cookie_of(archive: Archive) -> str:
    """Return the name of the cookie by which a browser stays signed in; archives on one host have one each."""
    return "holdfast_" + hashlib.sha256(f"{archive.site}:{archive.settings.data}".encode()).hexdigest()[:12]


def _check_origin(request: Request, address: str) -> None:
    """Raise NotAllowed when a page of somebody else has a browser change something here.

    Browsers say so in Sec-Fetch-Site (W3C Fetch Metadata), older ones in Origin.
    """
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}", address.rstrip("/") or None}
    if site not in {None, "same-origin"} or (site is None and (not origin or origin not in own)):
        raise NotAllowed(action="do this from the page of another site")


async def caller(request: Request) -> Person:
    """Return who calls. Raises NotSignedIn."""
    person = await visitor(request)
    if person is VISITOR:
        raise NotSignedIn
    return person


# What `Router` gives to a route that has such a parameter.
TheArchive = Annotated[Archive, archive_of]
Visitor = Annotated[Person, visitor]  # also for the public
Caller = Annotated[Person, caller]
IdempotencyKey = Annotated[
    str | None, Header(min_length=1, max_length=200, description="repeats with it change nothing")
]


M = TypeVar("M", bound=BaseModel)


def once(
    archive: Archive, person: Person, key: str | None, wish: BaseModel, work: Callable[[str], M], kind: type[M], *,
    about: str = "",
) -> M:  # fmt: skip
    """Do `work`, or give the answer that the same call with the same key was given before.

    `work` gets the id of what it makes, and makes nothing when that is there: so a call that was killed before it was
    answered can be repeated too. `about` is what the call names in its path. Raises Conflict when the key was used for
    another call.
    """
    if key is None:
        return work(new_id())
    asked = hashlib.sha256(f"{kind.__name__} {about} {wish.model_dump_json()}".encode()).hexdigest()
    with archive.database.claim(f"idempotency:{person.name}:{key}") as held:
        if not held:
            raise Conflict(what="A call with the same idempotency key is being answered now. Repeat it in a moment.")
        with archive.database.transaction() as conn:
            known = idempotency.first(conn, "by_key", person=person.name, key=key)
            ident = str(known["ident"]) if known else new_id()
            if known is None:
                idempotency.run(conn, "insert", person=person.name, key=key, request=asked, ident=ident)
        if known and known["request"] != asked:
            raise Conflict(what="This idempotency key was used for another call.")
        if known and known["body"] is not None:
            return kind.model_validate_json(json.dumps(known["body"]))
        answer = work(ident)
        with archive.database.transaction() as conn:
            body = TypeAdapter(kind).dump_python(answer, mode="json")  # no more than is told
            idempotency.run(conn, "answered", person=person.name, key=key, body=Jsonb(body))
        return answer
