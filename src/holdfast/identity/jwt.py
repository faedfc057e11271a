# SPDX-License-Identifier: Apache-2.0
"""JWT bearer tokens of issuers that are trusted, as the WLCG Common JWT Profiles 1.0 have them, and ID tokens (OIDC)."""

from __future__ import annotations

import threading
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
_LONGEST: Final = 16_384  # characters
# WLCG profile, section "Capability-based authorization".
_CAPABILITIES: Final[Mapping[str, Scope]] = {
    "storage.read": "read", "storage.stage": "read", "storage.create": "write", "storage.modify": "write",
}  # fmt: skip


class Issuer:
    """Somebody whose tokens are believed; its keys are fetched when they are needed, and kept for a while."""

    def __init__(self, url: str) -> None:
        """`url` is the value of `iss`, below which the issuer describes itself (OpenID Connect Discovery 1.0)."""
        self.url = url
        self._lock = threading.Lock()
        self._about: dict[str, Any] = {}
        self._keys: jwt.PyJWKClient | None = None

    def about(self) -> Mapping[str, Any]:
        """Return how the issuer describes itself. Raises Unreachable."""
        with self._lock:
            if not self._about:
                found = fetched(f"{self.url.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self.url:
                    raise Unreachable(url=self.url, why=f"it calls itself {found.get('issuer')!r}")
                self._keys = jwt.PyJWKClient(str(found["jwks_uri"]), cache_keys=True, lifespan=3600, timeout=_TIMEOUT)
                self._about = found
            return self._about

    def claims(self, token: str, audience: tuple[str, ...]) -> dict[str, Any]:
        """Return what a token says, if this issuer signed it for one of `audience` and it is good now.

        Raises NotSignedIn, Unreachable.
        """
        self.about()
        if self._keys is None or len(token) > _LONGEST:
            raise NotSignedIn(what="This token cannot be read.")
        try:
            key = self._keys.get_signing_key_from_jwt(token)
            return dict(
                jwt.decode(
                    token, key.key, algorithms=list(ALGORITHMS), issuer=self.url, audience=list(audience), leeway=_LEEWAY,
                    options={"require": ["exp", "iat", "sub", "iss", "aud"]},
                )
            )  # fmt: skip
        except jwt.PyJWKClientConnectionError as error:
            raise Unreachable(url=self.url, why=str(error)) from error
        except jwt.PyJWTError as error:
            raise NotSignedIn(what=f"This token is not valid: {error}.") from error


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


def fetched(url: str) -> dict[str, Any]:
    """Return a JSON object from another server. Raises Unreachable."""
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False, verify=url.startswith("https:")) as client:
            found = client.get(url).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        raise Unreachable(url=url, why=str(error) or type(error).__name__) from error
    if not isinstance(found, dict):
        raise Unreachable(url=url, why="its answer is not what was expected")
    return found
