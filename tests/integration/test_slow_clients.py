# SPDX-License-Identifier: Apache-2.0
"""Clients that send next to nothing keep nobody else waiting."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from persons import person
from served import client_of

from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

_MANY = 200


@pytest.fixture
def api(site: SmallSite) -> Iterator[httpx.Client]:
    with client_of(site) as client:
        yield client


def dangling(stack: ExitStack, api: httpx.Client, text: str) -> None:
    """Begin a call that does not go on."""
    opened = stack.enter_context(socket.create_connection((api.base_url.host, api.base_url.port), timeout=30))
    opened.sendall(text.encode())


@pytest.mark.parametrize("beginning", ["", "GET ", f"GET {PREFIX}/health HTTP/1.1\r\nHost: archive\r\n"])
def test_calls_that_never_end_harm_nobody(api: httpx.Client, beginning: str) -> None:
    with ExitStack() as stack:
        for _ in range(_MANY):
            dangling(stack, api, beginning)
        begun = time.monotonic()
        assert api.get(f"{PREFIX}/health").status_code == 200
        assert time.monotonic() - begun < 5


def test_bodies_that_never_come_harm_nobody(site: SmallSite, api: httpx.Client) -> None:
    token = person(site, "marie")["Authorization"]
    with ExitStack() as stack:
        for _ in range(_MANY):
            dangling(
                stack, api,
                f"POST {PREFIX}/datasets HTTP/1.1\r\nHost: archive\r\nAuthorization: {token}\r\n"
                "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{",
            )  # fmt: skip
        assert api.get(f"{PREFIX}/whoami").status_code == 200


def test_uploads_that_never_come_harm_nobody(site: SmallSite, api: httpx.Client) -> None:
    token, dataset = api.headers["Authorization"], site.open_dataset()
    with ExitStack() as stack:
        for number in range(_MANY):
            dangling(
                stack, api,
                f"PUT {PREFIX}/datasets/{dataset}/files/{number} HTTP/1.1\r\nHost: archive\r\n"
                f"Authorization: {token}\r\nContent-Length: 100000\r\n\r\nx",
            )  # fmt: skip
        for _ in range(20):
            assert api.get(f"{PREFIX}/datasets/{dataset}").status_code == 200
