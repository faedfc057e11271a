# SPDX-License-Identifier: Apache-2.0
"""Clients that send next to nothing keep nobody else waiting."""

from __future__ import annotations

import gc
import os
import socket
import time
from base64 import b64encode
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from persons import person
from served import client_of

from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

_MANY = 200


def dangling(stack: ExitStack, api: httpx.Client, text: str) -> socket.socket:
    """Begin a call that does not go on."""
    opened = stack.enter_context(socket.create_connection((api.base_url.host, api.base_url.port), timeout=30))
    opened.sendall(text.encode())
    return opened


def all_of(opened: socket.socket) -> str:
    """Return what the server says until it hangs up."""
    said = b""
    with suppress(ConnectionResetError):
        while piece := opened.recv(65536):
            said += piece
    return said.decode()


def putting(api: httpx.Client, dataset: str, name: str) -> str:
    """Return the beginning of an upload."""
    return (
        f"PUT {PREFIX}/datasets/{dataset}/files/{name} HTTP/1.1\r\nHost: archive\r\nContent-Length: 100000\r\n"
        f"Authorization: {api.headers['Authorization']}\r\n\r\nx"
    )


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
    dataset = site.open_dataset()
    with ExitStack() as stack:
        for number in range(_MANY):
            dangling(stack, api, putting(api, dataset, str(number)))
        for _ in range(20):
            assert api.get(f"{PREFIX}/datasets/{dataset}").status_code == 200


@pytest.mark.parametrize(
    "beginning", ["", "\r\n", "GET ", f"GET {PREFIX}/health HTTP/1.1\r\nHost: archive\r\n\r\n\r\n"]
)
def test_a_call_whose_head_does_not_come_is_given_up(site: SmallSite, beginning: str) -> None:
    with client_of(site, patience=0.3) as api, ExitStack() as stack:
        said = all_of(dangling(stack, api, beginning))
        assert said.startswith("HTTP/1.1 200" if "health" in beginning else "")
        assert said.count("HTTP/1.1") == ("health" in beginning)


def test_a_call_whose_head_does_not_end_is_refused(api: httpx.Client) -> None:
    with ExitStack() as stack:
        opened = dangling(stack, api, "GET / HTTP/1.1\r\nX-Long: ")
        with suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(1000):  # far more than the network holds on the way
                opened.sendall(b"x" * 100_000)
            raise AssertionError("100 MB of a head were taken")
    assert api.get(f"{PREFIX}/health").status_code == 200


def test_an_upload_that_brings_nothing_is_given_up(site: SmallSite) -> None:
    dataset = site.open_dataset()
    with client_of(site, stall=0.3, patience=0.3) as api, ExitStack() as stack:
        said = all_of(dangling(stack, api, putting(api, dataset, "a")))
        assert said.startswith("HTTP/1.1 422")
        assert "brought too little for too long" in said
        assert api.get(f"{PREFIX}/datasets/{dataset}/uploads").json()["items"] == []
    assert site.rows("select 1 from upload") == []


def test_an_upload_that_trickles_is_given_up(site: SmallSite) -> None:
    dataset = site.open_dataset()
    with client_of(site, stretch=0.5, patience=0.3) as api, ExitStack() as stack:
        opened = dangling(stack, api, putting(api, dataset, "a"))
        opened.settimeout(0.05)
        said = b""
        for _ in range(200):  # 10 seconds
            with suppress(TimeoutError):
                said = opened.recv(65536)
                break
            opened.sendall(b"x")
        assert said.startswith(b"HTTP/1.1 422")
    assert site.rows("select 1 from upload") == []


def test_an_upload_that_goes_on_may_take_its_time(site: SmallSite) -> None:
    dataset = site.open_dataset()
    with client_of(site, stretch=1) as api, ExitStack() as stack:
        opened = dangling(stack, api, putting(api, dataset, "a").replace("100000", str(7 * 65536 + 1)))
        opened.settimeout(0.2)
        for _ in range(7):
            with pytest.raises(TimeoutError):
                opened.recv(1)
            opened.sendall(bytes(65536))
        opened.settimeout(30)
        assert opened.recv(65536).startswith(b"HTTP/1.1 201")


def test_what_an_upload_brought_before_it_was_given_up_counts(site: SmallSite) -> None:
    dataset = site.open_dataset()
    with client_of(site, stall=0.3, patience=0.3) as api, ExitStack() as stack:
        tus = {"Tus-Resumable": "1.0.0"}
        about = f"dataset {b64encode(dataset.encode()).decode()},filename {b64encode(b'a').decode()}"
        begun = api.post(f"{PREFIX}/uploads", headers={**tus, "Upload-Length": "10", "Upload-Metadata": about})
        place = begun.headers["Location"]
        opened = dangling(
            stack, api,
            f"PATCH {place} HTTP/1.1\r\nHost: archive\r\nAuthorization: {api.headers['Authorization']}\r\n"
            "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\nContent-Type: application/offset+octet-stream\r\n"
            "Content-Length: 10\r\n\r\n1234",
        )  # fmt: skip
        assert "can go on" in all_of(opened)
        assert api.head(place, headers=tus).headers["Upload-Offset"] == "4"


def test_a_server_receives_so_many_uploads_at_a_time_and_says_so(site: SmallSite) -> None:
    dataset, others = site.open_dataset(), [person(site, name, role="admin") for name in ("marie", "pierre")]
    with client_of(site, at_once=4) as api:

        def put(whose: dict[str, str] | None = None) -> httpx.Response:
            return api.put(f"{PREFIX}/datasets/{dataset}/files/more", content=b"more", headers=whose)

        def hang(stack: ExitStack, names: str, whose: str) -> None:
            """Begin uploads of these names."""
            own = api.headers["Authorization"]
            for name in names:
                dangling(stack, api, putting(api, dataset, name).replace(own, whose))

        under_way = f"{PREFIX}/datasets/{dataset}/uploads"
        with ExitStack() as stack:
            hang(stack, "ab", api.headers["Authorization"])
            wait_for(lambda: len(api.get(under_way).json()["items"]) == 2, "both are received")
            assert "2 uploads of yours" in put().json()["detail"]
            assert put(others[0]).status_code == 201  # nobody else is kept waiting by them
            hang(stack, "cd", others[0]["Authorization"])
            wait_for(lambda: len(api.get(under_way).json()["items"]) == 4, "all are received")
            refused = put(others[1])
            assert refused.json()["code"] == "busy"
            assert "receives 4 uploads already" in refused.json()["detail"]
            assert int(refused.headers["Retry-After"]) > 0
            assert api.get(f"{PREFIX}/datasets/{dataset}").status_code == 200
        wait_for(lambda: put().status_code == 201, "they hung up")


@pytest.mark.parametrize("place", ["content/a", "bundle?format=tar", "bundle?format=zip"])
def test_a_client_that_does_not_take_what_it_asked_for_is_given_up(site: SmallSite, place: str) -> None:
    dataset = site.archive_folder({"a": bytes(16 << 20)})  # more than the network holds on the way
    site.drain()

    def held() -> bool:
        """Say whether the file is open."""
        found = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):
                found.append(os.readlink(descriptor))
        return f"{site.sources / 'run' / 'a'}" in found

    with client_of(site, unread=0.5) as api, ExitStack() as stack:
        gc.disable()
        stack.callback(gc.enable)
        opened = stack.enter_context(socket.socket())
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        opened.connect((api.base_url.host, api.base_url.port))
        opened.sendall(
            f"GET {PREFIX}/datasets/{dataset}/{place} HTTP/1.1\r\nHost: archive\r\n"
            f"Authorization: {api.headers['Authorization']}\r\n\r\n".encode()
        )
        assert opened.recv(100).startswith(b"HTTP/1.1 200")
        wait_for(held, "the file is sent")
        wait_for(lambda: not held(), "it is given up")
        opened.settimeout(10)
        with suppress(ConnectionResetError):
            assert sum(iter(lambda: len(opened.recv(1 << 20)), 0)) < 16 << 20
        assert api.get(f"{PREFIX}/datasets/{dataset}/{place}").is_success  # it reads
