# SPDX-License-Identifier: Apache-2.0
"""Signing in at an OpenID Connect provider: with a browser (authorization code and PKCE), or by a code on another device.

RFC 6749, RFC 7636 (PKCE), RFC 8628 (device grant), OpenID Connect Core 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args
from urllib.parse import quote_plus, urlencode

import httpx

from holdfast.errors import Busy, SignInFailed, Unreachable
from holdfast.identity.jwt import Issuer, encrypted
from holdfast.identity.recognised import Recognised, of_claims

_TIMEOUT: Final = 10.0  # seconds
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_AT_ONCE: Final = 8  # of the 40 threads of a server: a provider that does not answer holds no more
Waiting = Literal["authorization_pending", "slow_down"]  # RFC 8628, section 3.5
_WAITING: Final[tuple[Waiting, ...]] = get_args(Waiting)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that a browser was sent away for; all but `url` is kept until it comes back."""

    url: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True, slots=True)
class Device:
    """A sign-in on another device: where to go with which code. Times in seconds."""

    device_code: str
    user_code: str
    address: str
    interval: float
    expires: float


class Provider:
    """One provider, as which the archive is registered as a client."""

    def __init__(self, issuer: str, *, client: str, secret: str, scopes: str, groups: str) -> None:
        """`groups` is the name of the claim with the groups."""
        self._issuer = Issuer(issuer)
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._client, self._secret, self._scopes, self._groups = client, secret, scopes, groups

    @contextmanager
    def place(self) -> Iterator[None]:
        """Let the caller ask the provider, unless enough others wait for its answers. Raises Busy."""
        if not self._places.acquire(blocking=False):
            raise Busy(what="The provider is being asked for others just now. Try again in a moment.")
        try:
            yield
        finally:
            self._places.release()

    def begin(self, redirect: str) -> Begun:
        """Return where to send a browser that shall come back to `redirect`. Raises Unreachable."""
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = urlencode({
            "response_type": "code", "client_id": self._client, "redirect_uri": redirect, "scope": self._scopes,
            "state": state, "nonce": nonce, "code_challenge": challenge, "code_challenge_method": "S256",
        })  # fmt: skip
        return Begun(f"{self._issuer.about()['authorization_endpoint']}?{query}", state, nonce, verifier)

    def finish(self, code: str, *, nonce: str, verifier: str, redirect: str) -> Recognised:
        """Return who came back with `code`. Raises NotSignedIn, Unreachable."""
        answer = self._token(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect, "code_verifier": verifier}
        )
        return self._who(answer, nonce=nonce)

    def begin_device(self) -> Device:
        """Begin a sign-in on another device. Raises Unreachable."""
        endpoint = self._issuer.about().get("device_authorization_endpoint")
        if not endpoint:
            raise Unreachable(url=self._issuer.url, why="it does not let people sign in on another device")
        found = self._post(str(endpoint), {"scope": self._scopes})
        if not {"device_code", "user_code", "verification_uri"} <= found.keys():
            why = found.get("error_description") or found.get("error") or "its answer is not what was expected"
            raise Unreachable(url=self._issuer.url, why=str(why))
        address = str(found.get("verification_uri_complete") or found["verification_uri"])
        return Device(
            str(found["device_code"]), str(found["user_code"]), address, float(found.get("interval", 5)),
            float(found.get("expires_in", 600)),
        )  # fmt: skip

    def finish_device(self, device_code: str) -> Recognised | Waiting:
        """Return who signed in on another device, or that nobody did as yet. Raises NotSignedIn, Unreachable."""
        answer = self._token({"grant_type": _DEVICE, "device_code": device_code})
        waiting = next((one for one in _WAITING if one == answer.get("error")), None)
        return waiting or self._who(answer)

    def _token(self, form: Mapping[str, str]) -> dict[str, Any]:
        return self._post(str(self._issuer.about()["token_endpoint"]), form)

    def _who(self, answer: Mapping[str, Any], *, nonce: str | None = None) -> Recognised:
        if "id_token" not in answer:
            why = answer.get("error_description") or answer.get("error") or "it gave no ID token"
            raise SignInFailed(what=f"The sign-in did not succeed: {why}.")
        claims = self._issuer.claims(str(answer["id_token"]), (self._client,))
        if nonce is not None and not hmac.compare_digest(str(claims.get("nonce", "")), nonce):
            raise SignInFailed(what="The sign-in did not succeed: it was begun somewhere else.")
        return of_claims("oidc", {**self._more(answer, claims), **claims}, groups=self._groups)

    def _more(self, answer: Mapping[str, Any], claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the provider tells of the person besides; only if it is the same person (Core 5.3.2)."""
        endpoint = self._issuer.about().get("userinfo_endpoint")
        if not endpoint or "access_token" not in answer:
            return {}
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        found = self._ask("GET", str(endpoint), headers=headers)
        return found if found.get("sub") == claims["sub"] else {}

    def _post(self, url: str, form: Mapping[str, str]) -> dict[str, Any]:
        who = (quote_plus(self._client), quote_plus(self._secret))  # RFC 6749, section 2.3.1
        return self._ask("POST", url, data=dict(form), auth=who)

    def _ask(self, method: str, url: str, **how: Any) -> dict[str, Any]:
        try:
            with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=encrypted(url)) as client:
                found = client.request(method, url, **how).json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unreachable(url=url, why=str(error) or type(error).__name__) from error
        if not isinstance(found, dict):
            raise Unreachable(url=url, why="its answer is not what was expected")
        return found
