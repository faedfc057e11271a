# SPDX-License-Identifier: Apache-2.0
"""Issuers of tokens: whoever is not known can name one, so one that is away must not keep the server waiting."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from holdfast.errors import NotSignedIn, Unreachable
from holdfast.identity.jwt import Issuer
from holdfast.testing.hosts import Quiet, answering
from holdfast.testing.program import wait_for

_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Server(ThreadingHTTPServer):
    """An issuer that can keep those waiting who ask, or be out of order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.status = 200
        self.answers = threading.Event()
        self.answers.set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def token(self, kid: str = "one", **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": self.url, "sub": "x", "aud": "us", "iat": now, "exp": now + 60, **claims}
        return jwt.encode(body, _KEY, algorithm="RS256", headers={"kid": kid})


class Answers(Quiet):
    """Says who it is, and which key it has."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.answers.wait(20)
        key = jwt.algorithms.RSAAlgorithm.to_jwk(_KEY.public_key(), as_dict=True)
        told = {
            "/.well-known/openid-configuration": {"issuer": self.server.url, "jwks_uri": f"{self.server.url}/keys"},
            "/keys": {"keys": [{**key, "kid": "one", "use": "sig"}]},
        }
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(told[self.path]).encode())


@pytest.fixture
def server() -> Iterator[Server]:
    with answering(Server()) as made:
        yield made
        made.answers.set()


def refused(issuer: Issuer, token: str) -> str:
    with pytest.raises((Unreachable, NotSignedIn)) as error:
        issuer.claims(token, ("us",))
    return error.value.code


def test_few_wait_for_an_issuer_that_does_not_answer_and_nobody_after_them(server: Server) -> None:
    server.answers.clear()
    server.status = 500
    issuer, token = Issuer(server.url), server.token()
    with ThreadPoolExecutor(40) as pool:
        calls = [pool.submit(refused, issuer, token) for _ in range(40)]
        wait_for(lambda: sum(call.done() for call in calls) >= 36, "most are told at once", patience=5)
        server.answers.set()
        assert {call.result() for call in calls} == {"unreachable"}
    asked = len(server.asked)
    assert asked <= 4
    assert refused(issuer, token) == "unreachable"
    assert len(server.asked) == asked, "it is let alone for a while"


def test_an_issuer_that_comes_back_is_believed_again(server: Server) -> None:
    issuer = Issuer(server.url, pause=0)
    server.status = 500
    assert refused(issuer, server.token()) == "unreachable"
    server.status = 200
    assert issuer.claims(server.token(), ("us",))["sub"] == "x"


def test_keys_that_are_known_are_believed_while_their_issuer_is_away(server: Server) -> None:
    issuer = Issuer(server.url, pause=0, fresh=0)
    assert issuer.claims(server.token(), ("us",))["sub"] == "x"
    server.status = 500
    assert issuer.claims(server.token(), ("us",))["sub"] == "x"
    assert refused(issuer, server.token("new")) == "unreachable"
    assert server.asked.count("/keys") == 3


def test_keys_that_there_are_not_make_no_calls(server: Server) -> None:
    issuer = Issuer(server.url)
    assert issuer.claims(server.token(), ("us",))["sub"] == "x"
    assert len(server.asked) == 2
    for number in range(10):
        assert refused(issuer, server.token(f"none-{number}")) == "not-signed-in"
    server.status = 500
    assert issuer.claims(server.token(), ("us",))["sub"] == "x"
    assert refused(issuer, server.token(aud="others")) == "not-signed-in"
    assert len(server.asked) == 2
    later = Issuer(server.url, pause=0)
    server.status = 200
    assert later.claims(server.token(), ("us",))
    assert refused(later, server.token("new")) == "not-signed-in"
    assert server.asked[-1] == "/keys", "it may have a new one"


def test_an_issuer_that_calls_itself_otherwise_is_not_believed(server: Server) -> None:
    assert refused(Issuer(server.url + "/"), server.token()) == "unreachable"
