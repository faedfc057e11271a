# SPDX-License-Identifier: Apache-2.0
"""What a route answers is what it declared, and nothing more."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI, Response
from pydantic import BaseModel

from holdfast.errors import NotSignedIn
from holdfast.services.archive import Archive
from holdfast.settings import Settings
from holdfast.web.caller import Caller
from holdfast.web.routing import PREFIX, Directory, Router


class Told(BaseModel):
    name: str


class Known(Told):
    secret: str = "hidden"


class Page(BaseModel):
    items: list[Told]


router = Router(tags=["told"])


@router.get("/one")
def one() -> Told:
    return Known(name="a")


@router.post("/many", status_code=201)
def many() -> Page:
    return Page(items=[Known(name="a")])


@router.get("/any", response_model=Told, responses={202: {"description": "later"}})
def anything(*, later: bool = False) -> Response | Told:
    return Response(status_code=202) if later else Known(name="a")


@router.get("/async")
async def waiting() -> Told:
    return Known(name="a")


@router.get("/named/{path:path}")
def named(path: str) -> Told:
    return Told(name=path)


@router.post("/mine")
def mine(wish: Told, person: Caller) -> Told:
    return Told(name=wish.name + person.name)


@pytest.mark.parametrize("route", ["/one", "/any", "/async"])
def test_a_model_that_derives_from_the_declared_one_tells_no_more(route: str) -> None:
    assert called("GET", route).json() == {"name": "a"}


def test_the_same_within_a_page_and_its_status_is_the_declared_one() -> None:
    answer = called("POST", "/many")
    assert (answer.status_code, answer.json()) == (201, {"items": [{"name": "a"}]})
    assert answer.headers["content-type"] == "application/json"


def test_a_path_that_is_none_and_a_method_that_is_none_are_told_apart() -> None:
    assert called("GET", "/on").status_code == 404
    assert called("GET", "/onE").status_code == 404
    assert called("POST", "/one").status_code == 405


def test_an_answer_that_is_one_already_stays_as_it_is() -> None:
    assert called("GET", "/any?later=true").status_code == 202


@pytest.mark.parametrize("path", ["a", "a/b", "a\nb/c", "a\n", "\n\n", ""])
def test_a_path_may_have_line_breaks(path: str) -> None:
    assert called("GET", f"/named/{quote(path)}").json() == {"name": path}


def test_who_calls_is_asked_before_what_is_sent_is_looked_at() -> None:
    with pytest.raises(NotSignedIn):
        called("POST", "/mine")


def called(method: str, route: str) -> httpx.Response:
    app = FastAPI()
    app.state.archive = Archive(Settings(Path()), None, None, None)  # type: ignore[arg-type]
    app.router.routes.extend(router.routes)
    app.router.middleware_stack = Directory(app.router)

    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://archive") as client:
            return await client.request(method, PREFIX + route)

    return asyncio.run(call())
