# SPDX-License-Identifier: Apache-2.0
"""JWT bearer tokens of issuers that are trusted, as the WLCG Common JWT Profiles 1.0 have them, and ID tokens (OIDC)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

import httpx
import jwt

from holdfast.errors import NotSignedIn, Unreachable
from holdfast.model.rights import Scope

# Signatures by a key pair; never `none`, and no secret that both sides share.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
ANY_AUDIENCE: Final = "https://wlcg.cern.ch/jwt/v1/any"
_LEEWAY: Final = 30  # seconds that clocks may differ
_TIMEOUT: Final = 10.0  # seconds
PAUSE: Final = 30.0  # seconds
_WAITING: Final = 4  # of the 40 threads of a server
_FRESH: Final = 3600.0  # seconds after which keys are asked for again
_USABLE: Final = 86400.0  # seconds for which they are believed when the issuer does not answer
_LONGEST: Final = 16_384  # characters
# WLCG profile, section "Capability-based authorization".
_CAPABILITIES: Final[Mapping[str, Scope]] = {
    "storage.read": "read", "storage.stage": "read", "storage.create": "write", "storage.modify": "write",
}  # fmt: skip


class Issuer:
    """Somebody whose tokens are believed; its keys are fetched when they are needed, and kept for a while."""

    def __init__(self, url: str, *, pause: float = PAUSE, fresh: float = _FRESH) -> None:
        """`url` is the value of `iss`, below which the issuer describes itself (OpenID Connect Discovery 1.0).

        `pause` in seconds: one that did not answer is not asked again sooner, nor one whose keys do not have the one wanted.
        `fresh` in seconds: then its keys are asked for again.
        """
        self.url = url
        self._pause, self._fresh = pause, fresh
        self._places = threading.BoundedSemaphore(_WAITING)
        self._about: dict[str, Any] = {}
        self._keys: dict[str, jwt.PyJWK] = {}
        self._keys_at = -math.inf  # when they were fetched
        self._away: tuple[float, dict[str, object]] = (-math.inf, {})  # until when it is not asked, and why

    def about(self) -> Mapping[str, Any]:
        """Return how the issuer describes itself. Raises Unreachable."""
        if not self._about:
            found = self._asked(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
            if found.get("issuer") != self.url:
                raise Unreachable(url=self.url, why=f"it calls itself {found.get('issuer')!r}")
            self._about = found
        return self._about

    def claims(self, token: str, audience: tuple[str, ...]) -> dict[str, Any]:
        """Return what a token says, if this issuer signed it for one of `audience` and it is good now.

        Raises NotSignedIn, Unreachable.
        """
        if len(token) > _LONGEST:
            raise NotSignedIn(what="This token cannot be read.")
        try:
            key = self._key(str(jwt.get_unverified_header(token).get("kid")))
            return dict(
                jwt.decode(
                    token, key.key, algorithms=list(ALGORITHMS), issuer=self.url, audience=list(audience), leeway=_LEEWAY,
                    options={"require": ["exp", "iat", "sub", "iss", "aud"]},
                )
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise NotSignedIn(what=f"This token is not valid: {error}.") from error

    def _key(self, name: str) -> jwt.PyJWK:
        """Return a key of the issuer. Raises NotSignedIn, Unreachable; jwt.PyJWKSetError when it has none at all."""
        age = time.monotonic() - self._keys_at
        if age > self._fresh or (name not in self._keys and age > self._pause):
            try:
                self._fetch_keys()
            except Unreachable:
                if name not in self._keys or age > _USABLE:
                    raise
        if name not in self._keys:
            raise NotSignedIn(what="This token is not valid: its issuer does not have the key that it names.")
        return self._keys[name]

    def _fetch_keys(self) -> None:
        found = jwt.PyJWKSet.from_dict(self._asked(str(self.about().get("jwks_uri"))))
        self._keys = {key.key_id: key for key in found.keys if key.key_id and key.public_key_use in {"sig", None}}
        self._keys_at = time.monotonic()

    def _asked(self, url: str) -> dict[str, Any]:
        """Return what the issuer says; few wait for one that is away, and nobody after them for a while.

        Who asks need not be known: a token that names the issuer is enough. Raises Unreachable.
        """
        until, details = self._away
        if time.monotonic() < until:
            raise Unreachable(**details)
        if not self._places.acquire(blocking=False):
            raise Unreachable(url=self.url, why="others wait for its answer already")
        try:
            return fetched(url)
        except Unreachable as error:
            self._away = time.monotonic() + self._pause, error.details
            raise
        finally:
            self._places.release()


def looks_like(token: str) -> bool:
    """Say whether a token is a JWT by its looks: three parts with points between."""
    return token.count(".") == 2 and token.startswith("ey")  # noqa: PLR2004 (header, claims, signature)


def issuer_of(token: str) -> str:
    """Return which issuer a token names; nothing of it is proven by that. Raises NotSignedIn."""
    try:
        return str(jwt.decode(token, options={"verify_signature": False}).get("iss", ""))
    except jwt.PyJWTError as error:
        raise NotSignedIn(what="This token cannot be read.") from error


def scopes_of(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """Return what a token is good for: its WLCG capabilities for all paths; those for one path only give nothing."""
    found = str(claims.get("scope") or "").split()
    parts = [item.partition(":") for item in found]
    return frozenset(_CAPABILITIES[name] for name, _, path in parts if name in _CAPABILITIES and path in {"", "/"})


def encrypted(url: str) -> bool:
    """Say whether certificates matter on the way to an address: else reading those of the world is saved."""
    return not url.lower().startswith("http:")


def fetched(url: str) -> dict[str, Any]:
    """Return a JSON object from another server. Raises Unreachable."""
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=encrypted(url)) as client:
            found = client.get(url).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(url=url, why=str(error) or type(error).__name__) from error
    if not isinstance(found, dict):
        raise Unreachable(url=url, why="its answer is not what was expected")
    return found
