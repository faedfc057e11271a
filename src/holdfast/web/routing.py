# SPDX-License-Identifier: Apache-2.0
"""Routes whose answers become JSON in the thread that found them.

FastAPI checks each answer against its model once more and writes it, in a thread of its own: as much work as to find
it. Ours are models already, and what a model holds was checked when it was made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response


class Router(APIRouter):
    """The routes of one noun."""

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        """Add a route."""
        if not iscoroutinefunction(endpoint):
            endpoint = _written(endpoint, how.get("status_code") or 200)
        super().add_api_route(path, endpoint, **how)


def _written(endpoint: Callable[..., Any], status: int) -> Callable[..., Any]:
    @wraps(endpoint)
    def answer(*args: Any, **kwargs: Any) -> Any:
        found = endpoint(*args, **kwargs)
        if isinstance(found, BaseModel):
            return Response(found.model_dump_json(), status_code=status, media_type="application/json")
        return found

    return answer
