# SPDX-License-Identifier: Apache-2.0
"""The ASGI application and the process that serves it."""

from __future__ import annotations

import logging
import re

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast import __version__
from holdfast.services.archive import Archive
from holdfast.services.tokens import Known
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

_BODY_LIMIT = 16 << 20  # bytes: 10,000 paths of 1 KB and some
PREFIX = "/api/v1"
# Routes that take files: they write what comes to disk as it comes, and know before how much it will be.
_FILES = re.compile(rf"(PUT|POST) {PREFIX}/datasets/[^/]+/files(/.*)?|(POST|PATCH) {PREFIX}/uploads(/.*)?", re.DOTALL)


class BodyLimit:
    """Refuses bodies over the limit, whatever their header says."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body as it comes."""
        if scope["type"] != "http" or _FILES.fullmatch(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > _BODY_LIMIT:
                return {"type": "http.disconnect"}
            return message

        length = next((int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit()), 0)
        if length > _BODY_LIMIT:
            answer = problems.document(413, "too-large", "The body is too large.", f"At most {_BODY_LIMIT} bytes.")
            await answer(scope, receive, send)
            return
        await self._app(scope, counted, send)


def create_app(archive: Archive) -> FastAPI:
    """Return the application over one archive."""
    app = FastAPI(
        title="Holdfast",
        version=__version__,
        summary="An archive for scientific facilities.",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.state.archive = archive
    app.state.known = Known()
    problems.install(app)
    problems.describe(app)
    app.add_middleware(BodyLimit)
    for module in (
        datasets, deletion, deposit, downloads, drives, grants, groups, links, metadata, people, profiles, requests,
        signin, statistics, status, tapes, uploads,
    ):  # fmt: skip
        app.include_router(module.router, prefix=PREFIX)
    return app


def serve(archive: Archive) -> None:
    """Serve until SIGTERM or SIGINT."""
    web = archive.settings.web
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # its starting and stopping is told by others
    uvicorn.run(
        create_app(archive), host=web.host, port=web.port, log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
