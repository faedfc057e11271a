# SPDX-License-Identifier: Apache-2.0
"""The ASGI application and the process that serves it."""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import threading
import time
from collections import Counter
from functools import partial
from typing import Any, Final

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast import __version__
from holdfast.services.archive import Archive
from holdfast.services.tokens import Known
from holdfast.settings import Web
from holdfast.web import problems
from holdfast.web.api import (
    datasets,
    deletion,
    deposit,
    downloads,
    drives,
    grants,
    groups,
    links,
    metadata,
    people,
    profiles,
    requests,
    signin,
    statistics,
    status,
    tapes,
    uploads,
)  # fmt: skip
from holdfast.web.body import AT_ONCE
from holdfast.web.connection import PATIENCE, UNREAD, Connection
from holdfast.web.routing import PREFIX, Directory
from holdfast.web.tls import serving

NOUNS: Final = (
    datasets, deletion, deposit, downloads, drives, grants, groups, links, metadata, people, profiles, requests, signin,
    statistics, status, tapes, uploads,
)  # fmt: skip
_BODY_LIMIT: Final = 16 << 20  # bytes: 10,000 paths of 1 KB and some
_STALL: Final = 60.0  # seconds
# A byte now and then would keep one of the few places for uploads as well as a file does.
_LEAST: Final = 64 << 10  # bytes: the worst line that people use brings them in ten seconds
_STRETCH: Final = 300.0  # seconds for those: it may be away for most of them
# Routes that take files: they write what comes to disk as it comes, and know before how much it will be.
_FILES = re.compile(rf"(PUT|POST) {PREFIX}/datasets/[^/]+/files(/.*)?|(POST|PATCH) {PREFIX}/uploads(/.*)?", re.DOTALL)


class BodyLimit:
    """Refuses bodies over the limit, whatever their header says, and gives up those that do not come."""

    def __init__(self, app: ASGIApp, *, stall: float, stretch: float) -> None:
        """Wrap `app`; after `stall` seconds without a byte, or `stretch` seconds with few, the client counts as gone."""
        self._app, self._stall, self._stretch = app, stall, stretch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body as it comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = None if _FILES.fullmatch(f"{scope['method']} {scope['path']}") else _BODY_LIMIT
        seen, more = 0, True
        least, left = _LEAST, self._stretch

        async def counted() -> Message:
            nonlocal seen, more, least, left
            if not more:
                return await receive()
            begun = time.monotonic()
            try:
                async with asyncio.timeout(min(self._stall, left)):
                    message = await receive()
            except TimeoutError:
                return {"type": "http.disconnect"}
            left -= time.monotonic() - begun  # the time that it takes us to write is not the client's
            more = message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen >= least:
                least, left = seen + _LEAST, self._stretch
            if limit and seen > limit:
                return {"type": "http.disconnect"}
            return message

        length = next((int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit()), 0)
        if limit and length > limit:
            answer = problems.document(413, "too-large", "The body is too large.", f"At most {_BODY_LIMIT} bytes.")
            await answer(scope, receive, send)
            return
        await self._app(scope, counted, send)


def create_app(
    archive: Archive, *, at_once: int = AT_ONCE, stall: float = _STALL, stretch: float = _STRETCH
) -> FastAPI:
    """Return the application over one archive.

    It receives so many uploads `at_once`, half of them from one person, and gives a body up after `stall` seconds without a byte, or `stretch` seconds
    with next to none.
    """
    app = FastAPI(
        title="Holdfast",
        version=__version__,
        summary="An archive for scientific facilities.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # behind a proxy, the way that it shows may not be encrypted
        telemetry={"tracing": False, "metrics": False, "logs": False},  # nobody is told of what nobody chose to tell
    )
    app.state.archive = archive
    app.state.known = Known()
    app.state.at_once, app.state.receiving = at_once, Counter[str]()
    problems.install(app)
    problems.describe(app)
    app.add_middleware(BodyLimit, stall=stall, stretch=stretch)
    for module in NOUNS:
        app.router.routes.extend(module.router.routes)  # as they are: `include_router` has each matched twice
    app.router.middleware_stack = Directory(app.router)
    return app


def serve(archive: Archive) -> None:
    """Serve until SIGTERM or SIGINT."""
    web = archive.settings.web
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its starting and stopping is told by others
    # A client is a file, and so is what is sent to it; the usual 1,024 are for programs that still call select().
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = uvicorn.Server(server_config(create_app(archive), web))

    def stop() -> None:  # asked for before the server listens to signals itself
        archive.stopping.wait()
        server.should_exit = True

    threading.Thread(target=stop, name="stop", daemon=True).start()
    server.run()


def server_config(
    app: FastAPI, web: Web, *, patience: float = PATIENCE, unread: float = UNREAD, **more: Any
) -> uvicorn.Config:
    """Return how `app` is served; `patience`, `unread`: seconds, as for `Connection`. Raises SettingsError."""
    how: dict[str, Any] = {"host": web.host, "port": web.port, "http": Connection, **serving(web), **more}
    how["http"] = partial(how["http"], patience=patience, unread=unread)
    return uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=5, **how
    )  # fmt: skip
