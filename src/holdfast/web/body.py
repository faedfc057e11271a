# SPDX-License-Identifier: Apache-2.0
"""Large bodies: taken from the network by the event loop while a thread writes what came before."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from holdfast.errors import Busy, InvalidInput

_PIECE: Final = 4 << 20  # bytes handed to a thread at once; a body takes three times as much memory at most
AT_ONCE: Final = 40  # uploads that one server receives at a time: each holds one of the catalogue's 100 connections
_NAMES: Final = {"sha-256": "sha256", "sha-512": "sha512"}  # RFC 9530 -> hashlib
_MEMBER: Final = re.compile(r"\s*([a-z0-9-]+)=:([A-Za-z0-9+/=]*):\s*")


@contextmanager
def admitted(request: Request) -> Iterator[None]:
    """Be one of the uploads that this server receives at a time, of which half may be those of one person.

    Raises Busy. Runs in the event loop only: no lock.
    """
    state, person = request.app.state, request.state.person.name
    own = -(-state.at_once // 2)
    if state.receiving[person] >= own:
        raise Busy(what=f"This server receives {own} uploads of yours already. Repeat this one in a moment.")
    if state.receiving.total() >= state.at_once:
        raise Busy(what=f"This server receives {state.at_once} uploads already. Repeat this one in a moment.")
    state.receiving[person] += 1
    try:
        yield
    finally:
        state.receiving -= Counter([person])  # who has none is not kept


async def receive(request: Request, write: Callable[[list[bytes]], None]) -> None:
    """Give the body to `write`, piece by piece, in a thread. Raises what it raises, and ClientDisconnect.

    When the client goes away, what came until then is written first.
    """
    writing: asyncio.Future[None] | None = None
    parts: list[bytes] = []
    size = 0
    gone: ClientDisconnect | None = None
    try:
        async for chunk in request.stream():
            parts.append(chunk)
            size += len(chunk)
            if size >= _PIECE:
                if writing:
                    await writing
                writing = asyncio.ensure_future(run_in_threadpool(write, parts))
                parts, size = [], 0
    except ClientDisconnect as error:
        gone = error
    finally:
        # Also when the server stops: no thread may write after this.
        if writing:
            await writing
    if parts:
        await run_in_threadpool(write, parts)
    if gone:
        raise gone


def digests(headers: Mapping[str, str]) -> dict[str, bytes]:
    """Return the digests that the content must have, by algorithm of hashlib (RFC 9530). Raises InvalidInput."""
    found: dict[str, bytes] = {}
    for header in ("content-digest", "repr-digest"):
        value = headers.get(header, "")
        members = [_MEMBER.fullmatch(part) for part in value.split(",")] if value else []
        known = [(_NAMES[m[1]], m[2]) for m in members if m and m[1] in _NAMES]
        if value and not known:
            raise InvalidInput(what=f"The digest in {header} is none that is known here: {', '.join(_NAMES)}.")
        found |= {name: unbase64(text, header) for name, text in known}
    return found


def unbase64(text: str, what: str = "a path") -> bytes:
    """Return the bytes of base 64. Raises InvalidInput."""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(what=f"The base 64 in {what} cannot be read.") from error
