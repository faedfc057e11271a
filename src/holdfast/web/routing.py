# SPDX-License-Identifier: Apache-2.0
"""Routes that cost little beside what they do.

FastAPI tries the pattern of each route in turn: ours are looked up by method and noun first. It works out anew for each
call what its dependencies depend on: ours are given the archive and who calls without it, before the body is read. It
checks each answer against its model once more and writes it, in a thread of its own: as much work as to find it. Ours are
models already, and what a model holds was checked when it was made, so they become JSON in the thread that found them.
That is one of an executor, which takes half as long to hand a call over as the threads that starlette gives it to.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import partial, wraps
from typing import Any, Final, get_type_hints

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from holdfast.errors import InvalidInput
from holdfast.model.rights import Person
from holdfast.web.caller import Caller, TheArchive, Visitor, archive_of

PREFIX: Final = "/api/v1"
BEARER: Final = "bearer"  # the name of the way to say who calls, in the description of the API
_THREADS: Final = ThreadPoolExecutor(40, "call")  # of calls at a time; most wait for the catalogue, or for a disk
_FREE: Final = ("/login/oidc/back", "/shared/")  # to the addresses of which providers, and those who pass them on, add
_CALL: Final = "call"  # the parameter by which a route gets its request: no route has one of this name


class Directory:
    """Finds the route of a call among those of its method and noun; what is not there is left to the router (404, 405)."""

    def __init__(self, router: APIRouter) -> None:
        """Find the routes that `router` has now."""
        self._router = router
        self._routes: dict[tuple[str, str], list[Route]] = {}
        for route in router.routes:
            if isinstance(route, Route):
                for method in route.methods or ():
                    self._routes.setdefault((method, _noun(route.path)), []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call."""
        if scope["type"] == "http":
            for route in self._routes.get((scope["method"], _noun(scope["path"])), ()):
                match, found = route.matches(scope)
                if match is Match.FULL:
                    scope.update(found)
                    await route.handle(scope, receive, send)
                    return
        await self._router.app(scope, receive, send)


def _noun(path: str) -> str:
    return path.removeprefix(PREFIX + "/").partition("/")[0]


class Route(APIRoute):
    """A route that knows who calls before it reads what is sent."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        """`path` may have parameters; an `endpoint` that is for somebody says so in its attribute `admits`."""
        self._admits: Callable[[Request], Awaitable[Person]] | None = getattr(endpoint, "admits", None)
        if self._admits:
            how["openapi_extra"] = {"security": [{BEARER: []}], **(how.get("openapi_extra") or {})}
        super().__init__(path, endpoint, **how)
        self._taken = {one.alias for one in self.dependant.query_params}
        # The name of a file may have a line break in it.
        self.path_regex = re.compile(self.path_regex.pattern, re.DOTALL)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a call."""
        admits, answer = self._admits, super().get_route_handler()
        free = self.path.removeprefix(PREFIX).startswith(_FREE)

        async def admitted(request: Request) -> Response:
            if admits:
                request.state.person = await admits(request)
            if request.scope["query_string"] and not free:
                self._check(request.query_params)
            return await answer(request)

        return admitted

    def _check(self, asked: Iterable[str]) -> None:
        """Refuse what nobody reads: a filter with a slip in it would find everything. Raises InvalidInput."""
        for name in asked:
            if name not in self._taken:
                known = ", ".join(sorted(self._taken)) or "nothing"
                raise InvalidInput(what=f"{name[:100]!r} cannot be asked for here. What can: {known}.")


class Router(APIRouter):
    """The routes of one noun."""

    def __init__(self, *, prefix: str = "", tags: list[str | Enum]) -> None:
        """`prefix` comes behind that of the API."""
        super().__init__(prefix=PREFIX + prefix, tags=tags, route_class=Route)

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        """Add a route; its parameters `TheArchive`, `Caller` and `Visitor` are given to it."""
        declared = how.get("response_model") or get_type_hints(endpoint).get("return")
        plain = not inspect.iscoroutinefunction(endpoint)
        if plain and isinstance(declared, type) and issubclass(declared, BaseModel):
            endpoint = _written(endpoint, TypeAdapter(declared), how.get("status_code") or 200)
        super().add_api_route(path, _given(endpoint), **how)


def _given(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """Return the endpoint as FastAPI may see it: without what it is given here."""
    hints = get_type_hints(endpoint, include_extras=True)
    archives = [name for name, hint in hints.items() if hint == TheArchive]
    own = next((name for name, hint in hints.items() if hint is Request), None)  # FastAPI gives it to one parameter
    persons = {name: hint.__metadata__[0] for name, hint in hints.items() if hint in (Caller, Visitor)}
    waits = inspect.iscoroutinefunction(endpoint)

    @wraps(endpoint)
    async def answer(**found: Any) -> Any:
        call: Request = found[own] if own else found.pop(_CALL)
        found.update((name, archive_of(call)) for name in archives)
        found.update((name, call.state.person) for name in persons)
        if waits:
            return await endpoint(**found)
        return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(endpoint, **found))

    signature = inspect.signature(endpoint)
    taken = [
        one.replace(annotation=hints[name], kind=one.KEYWORD_ONLY)
        for name, one in signature.parameters.items()
        if name not in {*archives, *persons}
    ]
    if own is None:
        taken.append(inspect.Parameter(_CALL, inspect.Parameter.KEYWORD_ONLY, annotation=Request))
    vars(answer)["__signature__"] = signature.replace(parameters=taken)
    for admits in persons.values():
        vars(answer)["admits"] = admits
    return answer


def _written(endpoint: Callable[..., Any], declared: TypeAdapter[Any], status: int) -> Callable[..., Any]:
    @wraps(endpoint)
    def answer(*args: Any, **kwargs: Any) -> Any:
        found = endpoint(*args, **kwargs)
        if not isinstance(found, BaseModel):
            return found
        # By the declared model: of one that derives from it, nothing more is told.
        return Response(declared.dump_json(found), status_code=status, media_type="application/json")

    return answer
