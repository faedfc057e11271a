# SPDX-License-Identifier: Apache-2.0
"""Errors as problem documents (RFC 9457): one small table from families to HTTP status."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from holdfast.errors import (
    Busy,
    Conflict,
    DatabaseUnavailable,
    HoldfastError,
    IntegrityError,
    NoSpace,
    NotAllowed,
    NotFound,
    NotSignedIn,
    OperatorNeeded,
    PasswordNeeded,
    TooManyAttempts,
    TransientError,
    UsageError,
)
from holdfast.web.routing import BEARER, PREFIX
from holdfast.wire.status import ProblemDocument

_LOG = logging.getLogger(__name__)
_SECRET: Final = re.compile(r"(?<=/shared/)[^/]+|(?<=/login/device/)[^/]+")  # in paths: whoever has it, may
_MEDIA_TYPE: Final = "application/problem+json"

# The first that fits; tests walk the whole tree.
STATUS: Final[tuple[tuple[type[HoldfastError], int], ...]] = (
    (NotFound, 404),
    (Conflict, 409),
    (UsageError, 422),
    (NotSignedIn, 401),
    (NotAllowed, 403),
    (NoSpace, 507),
    (DatabaseUnavailable, 503),
    (TooManyAttempts, 429),
    (TransientError, 503),
    (IntegrityError, 500),
    (OperatorNeeded, 503),
)


def status_of(error: type[HoldfastError]) -> int:
    """Return the HTTP status of a class of errors."""
    return next((status for family, status in STATUS if issubclass(error, family)), 500)


def document(status: int, code: str, title: str, detail: str, **details: object) -> JSONResponse:
    """Return a problem document as a response."""
    body = ProblemDocument(
        type=f"https://holdfast.example/problems/{code}", title=title, status=status, detail=detail, code=code,
        details={key: value if isinstance(value, (int, float, str, bool)) else str(value) for key, value in details.items()},
    )  # fmt: skip
    return JSONResponse(body.model_dump(exclude_none=True), status_code=status, media_type=_MEDIA_TYPE)


def unreadable(detail: str) -> JSONResponse:
    """Return the answer to what is no request."""
    return document(HTTPStatus.BAD_REQUEST, "http-400", "This is no request that can be read.", detail)


def install(app: FastAPI) -> None:
    """Have every error of the application answered with a problem document, by functions that are not worth a thread."""

    @app.exception_handler(HoldfastError)
    async def ours(_: Request, error: HoldfastError) -> JSONResponse:
        title = (type(error).__doc__ or error.code).splitlines()[0]
        response = document(status_of(type(error)), error.code, title, error.sentence, **error.details)
        if isinstance(error, NotSignedIn):
            response.headers["WWW-Authenticate"] = "Basic" if isinstance(error, PasswordNeeded) else "Bearer"
        if isinstance(error, (Busy, DatabaseUnavailable)):
            response.headers["Retry-After"] = "1" if isinstance(error, Busy) else "5"
        if isinstance(error, TooManyAttempts):
            response.headers["Retry-After"] = str(error.details["seconds"])
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()[:10])
        return document(422, "invalid-input", "A value is not acceptable.", found)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's answer to a body that cannot be read at all
            return unreadable("The body cannot be read: it is no JSON in UTF-8, is too large, or did not come.")
        what = {404: "There is nothing at this address", 405: f"{request.method} is not for this address"}
        told = what.get(error.status_code)
        detail = f"{told}. What there is stands in {PREFIX}/openapi.json." if told else str(error.detail)
        response = document(error.status_code, f"http-{error.status_code}", str(error.detail), detail)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        _LOG.error("%s %s failed", request.method, _SECRET.sub("***", request.url.path), exc_info=error)
        detail = "The server could not do this. The reason is in its log."
        return document(500, "unexpected", "An unexpected error.", detail)


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the errors that a route may answer."""
    always = {400, 401, 403, 422, 500, 503}
    return {code: {"model": ProblemDocument} for code in sorted(always | set(codes))}


def describe(app: FastAPI) -> None:
    """Have the application's description say what FastAPI does not know: how callers say who they are, and what errors are."""
    described = app.openapi

    def with_ours() -> dict[str, Any]:
        schema = described()
        schema["components"]["securitySchemes"] = {
            **schema["components"].get("securitySchemes", {}),
            BEARER: {
                "type": "http",
                "scheme": "bearer",
                "description": "a token: `POST /login` gives one; another is in the file `token` of the data folder",
            },
        }
        for methods in schema["paths"].values():
            for route in methods.values():
                for status, response in route["responses"].items():
                    content = response.get("content", {})
                    if status >= "400" and content:
                        [(_, body)] = content.items()
                        response["content"] = {_MEDIA_TYPE: body}
        return schema

    app.openapi = with_ours  # type: ignore[method-assign]
