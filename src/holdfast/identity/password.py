# SPDX-License-Identifier: Apache-2.0
"""Passwords of local accounts: Argon2id, compared in the same time whether or not there is such an account."""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from holdfast.errors import InvalidInput

SHORTEST: Final = 12  # characters; length is all that is asked for (NIST SP 800-63B)
LONGEST: Final = 1024  # characters
_HASHER: Final = PasswordHasher()  # RFC 9106 for little memory: 64 MiB, 3 passes, 4 lanes
_AT_ONCE: Final = threading.BoundedSemaphore(2)  # so that a flood of logins takes 128 MiB, and not all that there is
# Of a password that nobody knows, for accounts that are not there; made once, for it takes a tenth of a second.
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$GF89mAgHkaIX350SGjRM+g$2cdpJ76PZdg5y9dxcbkPioW/GVEB6qkrucVbLGj0yos"
_WORDS: Final = 4  # groups of five characters in a password that is made: 99 bits
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"  # without what is mistaken for something else


def hashed(password: str) -> str:
    """Return what is kept of a password. Raises InvalidInput."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise InvalidInput(what=f"A password has {SHORTEST} to {LONGEST} characters, of any kind.")
    with _AT_ONCE:
        return _HASHER.hash(_normal(password))


def matches(password: str, secret: str | None) -> bool:
    """Say whether `password` is the one of which `secret` was kept; it takes as long to say no to nobody's (None)."""
    with _AT_ONCE:
        try:
            return _HASHER.verify(secret or _NOBODY, _normal(password)) and secret is not None
        except VerificationError:
            return False


def same(one: str, other: str) -> bool:
    """Say whether two texts are one password."""
    return _normal(one) == _normal(other)


def renewed(password: str, secret: str) -> str:
    """Return what is to be kept of a password that matched: made anew when today's parameters are other ones."""
    return hashed(password) if _HASHER.check_needs_rehash(secret) else secret


def digest(secret: str) -> bytes:
    """Return what is kept of a secret that was made here: random and long, so that a plain digest cannot be guessed back."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def made() -> str:
    """Return a password to be written down and typed once."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(5)) for _ in range(_WORDS))


def _normal(password: str) -> bytes:
    """Keyboards differ in how they compose the same letter (RFC 8265)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
