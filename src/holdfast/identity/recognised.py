# SPDX-License-Identifier: Apache-2.0
"""Somebody whom another party vouches for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["oidc", "ldap", "x509", "jwt"]


@dataclass(frozen=True, slots=True)
class Recognised:
    """Who somebody is, in the words of who vouches: `issuer` and `subject` together are one credential."""

    kind: Kind
    issuer: str
    subject: str
    name: str = ""  # what this person would like to be called
    title: str = ""
    mail: str = ""
    groups: tuple[str, ...] = ()


def of_claims(kind: Kind, claims: Mapping[str, Any], *, groups: str = "groups") -> Recognised:
    """Return who claims tell of (OpenID Connect Core 1.0, section 5.1); `groups` is the claim with the groups.

    The name is the preferred one, else the part of a mail address or eduPersonPrincipalName before the @.
    """
    found = claims.get(groups) or ()
    name = next((str(claims[key]) for key in ("preferred_username", "eppn", "email") if claims.get(key)), "")
    return Recognised(
        kind, str(claims["iss"]), str(claims["sub"]), name=name.partition("@")[0], title=str(claims.get("name") or ""),
        mail=str(claims.get("email") or ""),
        groups=tuple(str(item) for item in found) if isinstance(found, (list, tuple)) else (str(found),),
    )  # fmt: skip
