# SPDX-License-Identifier: Apache-2.0
"""Routes whose answers become JSON in the thread that found them.

FastAPI checks each answer against its model once more and writes it, in a thread of its own: as much work as to find
it. Ours are models already, and what a model holds was checked when it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, get_type_hints

from fastapi import APIRouter
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response


class Router(APIRouter):
    """The routes of one noun."""

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
