# SPDX-License-Identifier: Apache-2.0
"""Routes that cost little beside what they do.

FastAPI tries the pattern of each route in turn: ours look at the beginning of the path first. It checks each answer
against its model once more and writes it, in a thread of its own: as much work as to find it. Ours are models already, and
what a model holds was checked when it was made, so they become JSON in the thread that found them.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, get_type_hints

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

PREFIX: Final = "/api/v1"


class Route(APIRoute):
    """A route that is asked only for what may be its own."""

    def __init__(self, path: str, *args: Any, **how: Any) -> None:
        """`path` may have parameters."""
        super().__init__(path, *args, **how)
        self._begins = path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether this is the route of a call."""
        return super().matches(scope) if scope["path"].startswith(self._begins) else (Match.NONE, {})


class Router(APIRouter):
    """The routes of one noun."""

    def __init__(self, *, prefix: str = "", tags: list[str | Enum]) -> None:
        """`prefix` comes behind that of the API."""
        super().__init__(prefix=PREFIX + prefix, tags=tags, route_class=Route)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        """Add a route."""
        declared = how.get("response_model") or get_type_hints(endpoint).get("return")
        if isinstance(declared, type) and issubclass(declared, BaseModel) and not iscoroutinefunction(endpoint):
            endpoint = _written(endpoint, TypeAdapter(declared), how.get("status_code") or 200)
        super().add_api_route(path, endpoint, **how)


def _written(endpoint: Callable[..., Any], declared: TypeAdapter[Any], status: int) -> Callable[..., Any]:
    @wraps(endpoint)
    def answer(*args: Any, **kwargs: Any) -> Any:
        found = endpoint(*args, **kwargs)
        if not isinstance(found, BaseModel):
            return found
        # By the declared model: of one that derives from it, nothing more is told.
        return Response(declared.dump_json(found), status_code=status, media_type="application/json")

    return answer
