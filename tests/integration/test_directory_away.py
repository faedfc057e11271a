# SPDX-License-Identifier: Apache-2.0
"""Directories and providers that do not answer, or ask to be left alone: strangers must not stop the archive by them."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from persons import PASSWORD
from provider import directory
from served import client_of

from holdfast.identity.ldap import ldap3
from holdfast.testing.hosts import Quiet, answering
from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX


def login(api: httpx.Client, name: str, password: str = "x") -> httpx.Response:
    return api.post(f"{PREFIX}/login", json={"name": name, "password": password})


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_few_wait_for_a_directory_that_does_not_answer(make_site: Callable[..., SmallSite], scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        site = make_site(ldap__url=f"{scheme}://127.0.0.1:{silent.getsockname()[1]}", people__attempts=4)
        with client_of(site) as api, ThreadPoolExecutor(40) as pool:
            began = time.monotonic()
            answers = list(pool.map(lambda number: (login(api, f"a{number}"), time.monotonic() - began), range(40)))
    told = Counter(answer.json()["code"] for answer, _ in answers)
    assert told["busy"] >= 20
    assert told.keys() == {"busy", "unreachable"}
    assert not [answer for answer, _ in answers if "HOLDFAST_URL" in answer.text], "that is not what they can mend"
    assert not site.rows("select * from attempt where count > 0"), "nothing is counted that nobody compared"
    assert {answer.headers["Retry-After"] for answer, _ in answers if answer.json()["code"] == "busy"} == {"1"}
    assert max(seconds for _, seconds in answers) < 8


def test_somebody_who_applies_keeps_nobody_out_whom_the_directory_knows(
    make_site: Callable[..., SmallSite], tmp_path: Path
) -> None:
    with directory(tmp_path / "ldap") as (addresses, ca):
        settings = {
            "ldap__url": f"ldaps://{addresses.split()[1]}", "ldap__ca": str(ca), "ldap__base": "dc=example,dc=org",
            "ldap__bind_dn": "cn=root,dc=example,dc=org", "people__newcomers": "admit",
        }  # fmt: skip
        site = make_site(**settings, ldap__bind_password="secret-of-root")
        with client_of(site) as api:
            wish = {"name": "marie", "title": "", "mail": "", "password": PASSWORD}
            assert api.post(f"{PREFIX}/applications", json=wish).status_code == 202
            assert login(api, "marie", "radium and polonium").json()["person"] == "marie-2"
            assert api.post(f"{PREFIX}/people/marie/disable", json={"reason": "not she"}).status_code == 200
            assert login(api, "marie", "radium and polonium").json()["person"] == "marie-2"
            assert login(api, "marie", PASSWORD).status_code == 401
        wrong = make_site(**settings, ldap__bind_password="another one")
        with client_of(wrong) as api:
            answer = login(api, "marie", "radium and polonium")
            assert (answer.status_code, "ldap.bind_dn" in answer.json()["detail"]) == (503, True)


def test_nobody_whom_a_directory_names_is_shown_a_password(make_site: Callable[..., SmallSite], tmp_path: Path) -> None:
    with directory(tmp_path / "ldap") as (addresses, ca), socket.create_server(("127.0.0.1", 0)) as other:
        plain, tls = addresses.split()
        server = ldap3.Server("127.0.0.1", int(plain.partition(":")[2]), get_info=ldap3.NONE)
        with ldap3.Connection(server, "cn=root,dc=example,dc=org", "secret-of-root") as root:
            leads = {"ou": "away", "ref": f"ldap://127.0.0.1:{other.getsockname()[1]}/ou=away,dc=example,dc=org"}
            assert root.add("ou=away,dc=example,dc=org", ["referral", "extensibleObject"], leads), root.result
        site = make_site(
            ldap__url=f"ldaps://{tls}", ldap__ca=str(ca), ldap__base="ou=away,dc=example,dc=org",
            ldap__bind_dn="cn=root,dc=example,dc=org", ldap__bind_password="secret-of-root",
        )  # fmt: skip
        other.settimeout(0)
        with client_of(site) as api:
            assert login(api, "marie", "radium and polonium").status_code == 401
        with pytest.raises(BlockingIOError):
            other.accept()


class Provider(ThreadingHTTPServer):
    """A provider at which nobody signs in."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: Counter[str] = Counter()
        self.says = "authorization_pending"
        self.answers = threading.Event()
        self.answers.set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answers(Quiet):
    """Answers each call alike."""

    server: Provider

    def do_GET(self) -> None:
        url = self.server.url
        self._answer({
            "issuer": url, "token_endpoint": f"{url}/token", "device_authorization_endpoint": f"{url}/device",
        })  # fmt: skip

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked[self.path] += 1
        if self.path == "/device":
            self._answer({"device_code": "x", "user_code": "y", "verification_uri": "z", "interval": 5})
            return
        self.server.answers.wait(20)
        self._answer({"error": self.server.says})

    def _answer(self, told: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(told).encode())


@contextmanager
def away() -> Iterator[Provider]:
    with answering(Provider()) as made:
        try:
            yield made
        finally:
            made.answers.set()


def test_a_provider_is_asked_as_often_as_it_wants_to_be(make_site: Callable[..., SmallSite]) -> None:
    with away() as provider:
        site = make_site(oidc__issuer=provider.url, oidc__client="holdfast", oidc__secret="x")
        with client_of(site) as api:
            poll = f"{PREFIX}/login/device/{api.post(f'{PREFIX}/login/device').json()['handle']}"
            with ThreadPoolExecutor(8) as pool:
                assert set(pool.map(lambda _: api.post(poll).status_code, range(20))) == {202}
            assert provider.asked["/token"] == 1
            provider.says = "slow_down"
            for _ in range(2):
                site.rows("update sign_in set asked_at = now() - interval '6 seconds'")
                assert api.post(poll).status_code == 202
            assert provider.asked["/token"] == 2, "it wants five seconds more"
            site.rows("update sign_in set asked_at = now() - interval '11 seconds'")
            assert api.post(poll).status_code == 202
            assert provider.asked["/token"] == 3


def test_few_wait_for_a_provider_that_does_not_answer(make_site: Callable[..., SmallSite]) -> None:
    with away() as provider:
        site = make_site(oidc__issuer=provider.url, oidc__client="holdfast", oidc__secret="x")
        with client_of(site) as api, ThreadPoolExecutor(30) as pool:
            polls = [f"{PREFIX}/login/device/{api.post(f'{PREFIX}/login/device').json()['handle']}" for _ in range(30)]
            provider.answers.clear()
            calls = [pool.submit(api.post, poll) for poll in polls]
            wait_for(lambda: sum(call.done() for call in calls) >= 22, "most are told at once", patience=5)
            provider.answers.set()
            told = Counter((call.result().status_code, call.result().headers.get("Retry-After")) for call in calls)
            assert told == {(202, None): 8, (503, "1"): 22}
