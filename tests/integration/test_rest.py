# SPDX-License-Identifier: Apache-2.0
"""The REST API: who may, what is refused and how, pages, repeats; never a 5xx for what a caller sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import client_of

from holdfast import errors
from holdfast.cli.exits import EXITS, exit_code, exit_of_code
from holdfast.errors import HoldfastError, Refused
from holdfast.testing.proxy import Proxy
from holdfast.testing.site import SmallSite, small_site
from holdfast.web import paging
from holdfast.web.application import PREFIX, create_app
from holdfast.web.problems import STATUS, status_of

DATASETS = f"{PREFIX}/datasets"


def is_problem(response: Any, status: int, code: str = "") -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert body["type"].endswith(body["code"])
    assert body["title"]
    assert body["detail"]
    assert code in {"", body["code"]}


def tree(top: type[HoldfastError] = HoldfastError) -> Iterator[type[HoldfastError]]:
    yield top
    for below in top.__subclasses__():
        yield from tree(below)


def test_every_error_has_a_status_and_an_exit_code() -> None:
    for kind in tree():
        if kind in {HoldfastError, Refused}:
            continue
        assert any(issubclass(kind, family) for family, _ in STATUS), kind
        assert any(issubclass(kind, family) for family, _ in EXITS), kind
        assert 400 <= status_of(kind) < 600
        assert exit_of_code(kind.code) == next(code for family, code in EXITS if issubclass(kind, family))
        relayed = Refused(detail="x", code=kind.code)
        assert exit_code(relayed) == exit_of_code(kind.code)
    assert status_of(errors.NotFound) == 404
    assert status_of(errors.Conflict) == 409
    assert status_of(errors.NoSpace) == 507


def routes(api: httpx.Client) -> list[tuple[str, str]]:
    found = api.get(f"{PREFIX}/openapi.json").json()["paths"]
    return [(method, path) for path, methods in found.items() for method in methods]


def test_without_a_right_token_nothing_is_told(site: SmallSite, api: httpx.Client) -> None:
    site.archive_folder({"a": b"a"})
    for method, path in routes(api):
        if path.rpartition("/")[2] in {
            "health",
            "login",
            "password",
            "applications",
            "oidc",
            "back",
            "device",
            "{handle}",
            "certificate",
        }:  # for those who have none yet
            continue
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
            api.headers.pop("Authorization", None)
            answer = api.request(
                method,
                path.replace("{dataset}", "x"),
                headers=headers,
                json={},
                params={"name": "a"} if path.endswith("/v1/files") else {},
            )
            if answer.status_code == 200 and "wrong" not in str(headers):  # what is public; nothing is
                assert answer.json()["items"] == [], (method, path, headers)
                continue
            if "/shared/" in path:  # whose secret is the right to it
                is_problem(answer, 404, "not-found")
                continue
            assert answer.status_code == 401, (method, path, headers)
            if method != "head":  # has no body
                is_problem(answer, 401, "not-signed-in")
    assert api.get(f"{PREFIX}/health").json() == {"status": "ok"}


def test_the_description_is_openapi_3_1_and_every_route_tells_its_errors(api: httpx.Client) -> None:
    found = api.get(f"{PREFIX}/openapi.json").json()
    assert found["openapi"].startswith("3.1")
    for path, methods in found["paths"].items():
        for method, about in methods.items():
            assert {"401", "403", "422"} <= set(about["responses"]), (method, path)
            assert about["summary"], (method, path)
            error = about["responses"]["422"]["content"]
            assert list(error) == ["application/problem+json"], (method, path)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", f"{DATASETS}/nothing", None, 404, "not-found"),
        ("GET", f"{DATASETS}/nul%00", None, 422, "invalid-input"),
        ("GET", f"{PREFIX}/nothing", None, 404, "http-404"),
        ("DELETE", DATASETS, None, 405, "http-405"),
        ("POST", DATASETS, {"path": "/x", "title": "t", "more": 1}, 422, "invalid-input"),
        ("POST", DATASETS, {"path": "/x", "title": "t"}, 422, "outside-roots"),
        ("POST", DATASETS, {"path": "/x", "title": ""}, 422, "invalid-input"),
        ("POST", DATASETS, {"path": "/x\x00", "title": "t"}, 422, "invalid-input"),
        ("POST", DATASETS, [], 422, "invalid-input"),
        ("POST", f"{PREFIX}/requests", {"dataset": "x", "destination": "relative"}, 404, "not-found"),
        ("POST", f"{PREFIX}/requests", {"dataset": "x", "destination": "/nowhere/x"}, 404, "not-found"),
        (
            "POST",
            f"{PREFIX}/requests",
            {"dataset": "x", "destination": "/nowhere/x", "paths_base64": ["!"]},
            404,
            "not-found",
        ),
        ("POST", f"{DATASETS}/nothing/check", None, 404, "not-found"),
        ("POST", f"{DATASETS}/nothing/release", {}, 404, "not-found"),
        ("POST", f"{PREFIX}/requests/nothing/cancel", None, 404, "not-found"),
        ("GET", f"{PREFIX}/releases/nothing", None, 404, "not-found"),
        ("GET", f"{PREFIX}/events?after=x", None, 422, "invalid-input"),
        ("GET", f"{DATASETS}?limit=0", None, 422, "invalid-input"),
        ("GET", f"{DATASETS}?limit=1001", None, 422, "invalid-input"),
        ("GET", f"{PREFIX}/files", None, 422, "invalid-input"),
    ],
)
def test_what_is_wrong_is_answered_with_a_problem(
    api: httpx.Client, method: str, path: str, body: Any, status: int, code: str
) -> None:
    is_problem(api.request(method, path, json=body), status, code)


def test_a_body_that_is_too_large_is_refused(api: httpx.Client) -> None:
    is_problem(api.post(DATASETS, content=b" " * (17 << 20)), 413, "too-large")


def test_a_title_with_a_nul_is_the_callers_mistake(site: SmallSite, api: httpx.Client) -> None:
    folder = site.fill({"a": b"a"})
    for wish in ({"title": "a\0b"}, {"title": "t", "metadata": {"k": "a\0b"}}, {"title": "t", "metadata": {"\0": 1}}):
        is_problem(api.post(DATASETS, json={"path": str(folder), **wish}), 422, "invalid-input")
    assert site.rows("select * from dataset") == []


def pages(api: httpx.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = api.get(path, params={**query, **({"cursor": cursor} if cursor else {})}).json()
        found += page["items"]
        cursor = page["next"]
        if cursor is None:
            return found
        assert len(found) < 1000


def test_pages_are_complete(site: SmallSite, api: httpx.Client) -> None:
    names = {f"{name}/x": b"" for name in ("a", "a-", "b")} | {"a.b": b"", "c": b"", "a0": b"", "z/y/x": b""}
    for number in range(5):
        site.archive_folder(names, name=f"run{number}", title=f"{number}")
    site.drain()
    listed = pages(api, DATASETS, limit=2)
    assert [item["title"] for item in listed] == ["4", "3", "2", "1", "0"]
    one = listed[0]["id"]
    for limit in (1, 2, 3, 100):
        files = pages(api, f"{DATASETS}/{one}/files", limit=limit)
        assert [item["path"] for item in files] == sorted(names)
        folder = pages(api, f"{DATASETS}/{one}/folder", limit=limit)
        assert [item["path"] for item in folder] == ["a-", "a.b", "a", "a0", "b", "c", "z"]
    for number in range(3):
        site.ask(one, to=f"{number}")
    assert len(pages(api, f"{PREFIX}/requests", limit=1)) == 3


def test_names_that_are_no_text_can_be_listed_and_asked_for(site: SmallSite, api: httpx.Client) -> None:
    folder = site.fill({})
    for name in (b"\xff\xfe", b"\xff\xff", b"new\nline", b"ok"):
        with open(bytes(folder) + b"/" + name, "wb") as file:
            file.write(name)
    dataset = site.register(folder)
    site.drain()
    files = pages(api, f"{DATASETS}/{dataset}/files", limit=1)
    assert len(files) == 4
    odd = next(item for item in files if item["path"] == "\\xff\\xfe")
    wish = {"dataset": dataset, "destination": str(site.destinations / "b"), "paths_base64": [odd["path_base64"]]}
    asked = api.post(f"{PREFIX}/requests", json=wish)
    assert asked.status_code == 201
    site.drain()
    assert api.get(f"{PREFIX}/requests/{asked.json()['id']}").json()["state"] == "delivered"
    with open(bytes(site.destinations / "b") + b"/\xff\xfe", "rb") as file:
        assert file.read() == b"\xff\xfe"


@pytest.mark.parametrize(
    "cursor",
    ["x", "AAAA", "%00", "é", paging.give("a"), paging.give("a", "b", "c"), paging.give("no time", "x"), "W10", "e30"],
)
def test_a_cursor_that_no_list_gave_is_refused(api: httpx.Client, cursor: str) -> None:
    is_problem(api.get(DATASETS, params={"cursor": cursor}), 422, "invalid-input")


def test_a_cursor_with_half_a_character_is_refused(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b""})
    site.drain()
    for text in ("\ud800", "a\0"):
        answer = api.get(f"{DATASETS}/{dataset}/files", params={"cursor": paging.give(text)})
        assert answer.status_code in {200, 422}
    for path, values in (
        ("datasets", ("2026-01-01T00:00:00+00:00", "\udc80")),
        ("datasets?q=", ("\ud800", "1")),
        ("groups", ("\udc80",)),
        ("people", ("\ud800",)),
        (f"datasets/{dataset}/metadata/history", ("1", "\ud800")),
    ):
        address = f"{PREFIX}/{path}{'&' if '?' in path else '?'}cursor={paging.give(*values)}"
        is_problem(api.get(address), 422, "invalid-input")


def test_p11_a_repeated_call_gets_the_same_answer(site: SmallSite, api: httpx.Client) -> None:
    folder = site.fill({"a": b"a"})
    key = {"Idempotency-Key": "one"}
    wish = {"path": str(folder), "title": "t"}
    first = api.post(DATASETS, json=wish, headers=key)
    assert first.status_code == 201
    assert api.post(DATASETS, json=wish, headers=key).json() == first.json()
    assert len(site.rows("select * from dataset")) == 1
    is_problem(api.post(DATASETS, json={**wish, "title": "other"}, headers=key), 409, "conflict")
    is_problem(api.post(DATASETS, json=wish, headers={"Idempotency-Key": "two"}), 409, "already-archived")
    assert api.post(DATASETS, json=wish).json()["details"]["dataset"] == first.json()["id"]


def test_p11_a_key_is_for_one_thing(site: SmallSite, api: httpx.Client) -> None:
    ids = [site.archive_folder({"a": b"a"}, name=name) for name in ("one", "two")]
    site.drain()
    key = {"Idempotency-Key": "k"}
    first = api.post(f"{DATASETS}/{ids[0]}/release", json={"apply": False}, headers=key)
    assert first.json()["dataset"] == ids[0]
    is_problem(api.post(f"{DATASETS}/{ids[1]}/release", json={"apply": False}, headers=key), 409, "conflict")


def test_a_database_that_is_away_is_said_to_be(proxy: Proxy, tmp_path: Any) -> None:
    with small_site(tmp_path, proxy.dsn) as site, client_of(site) as api:
        assert api.get(f"{PREFIX}/health").status_code == 200
        site.archive.database._pool.timeout = 0.3
        proxy.cut()
        for path in ("/health", "/datasets", "/status"):
            answer = api.get(f"{PREFIX}{path}")
            is_problem(answer, 503, "database-unavailable")
            assert answer.headers["retry-after"]
        proxy.mend()
        site.archive.database._pool.timeout = 15
        assert api.get(f"{PREFIX}/datasets").json()["items"] == []


text = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(["", "/", "..", "\0", "/tmp", "a/b", "%00"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
words = st.sampled_from(
    ["path", "title", "profile", "metadata", "dataset", "paths", "paths_base64", "destination", "apply"]
)


_DESCRIBED: dict[str, Any] = {}


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_caller_sends_is_never_the_servers_fault(
    site: SmallSite, api: httpx.Client, data: st.DataObject
) -> None:
    if not site.rows("select 1 from dataset"):
        site.archive_folder({"a": b"a", "b/c": b"c"})
        site.drain()
    [row] = site.rows("select id from dataset")
    described = _DESCRIBED or create_app(site.archive).openapi()["paths"]
    _DESCRIBED.update(described)
    method, path = data.draw(st.sampled_from([(method, path) for path in described for method in described[path]]))
    about = described[path][method]
    ident = data.draw(st.sampled_from([row["id"], "x", "%00", "%F0%28", "0" * 26]))
    path = re.sub(r"\{\w+\}", ident, path)
    query = {
        item["name"]: data.draw(text | st.integers().map(str))
        for item in about.get("parameters", [])
        if item["in"] == "query" and data.draw(st.booleans())
    }
    query = {key: value.encode("utf-8", "replace").decode() for key, value in query.items()}
    body = data.draw(st.dictionaries(words | text, anything, max_size=4) | anything) if method == "post" else None
    content = json.dumps(body).encode() if method == "post" else None
    answer = api.request(method, path, params=query, content=content, headers={"Content-Type": "application/json"})
    assert str(answer.status_code) in {*about["responses"], "404", "405"}, (method, path, query, body, answer.text)
    assert answer.status_code < 500, (method, path, query, body, answer.text)


def test_what_nobody_reads_in_a_query_is_refused(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"})
    for path in (
        "/datasets?instrument=P06",
        f"/datasets/{dataset}/bundle?paths=a",
        "/whoami?x",
        "/files?name=a&limit=1&Limit=2",
    ):
        is_problem(api.get(PREFIX + path), 422, "invalid-input")
    assert "What can: cursor, deleted, facets, limit, q, sort." in api.get(f"{PREFIX}/datasets?Q=a").json()["detail"]
    is_problem(api.get(f"{PREFIX}/datasets/{dataset}/links?x=1", headers={"Authorization": ""}), 401)
    assert api.get(f"{PREFIX}/shared/nothing?utm_source=mail").status_code == 404
