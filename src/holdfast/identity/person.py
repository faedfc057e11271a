# SPDX-License-Identifier: Apache-2.0
"""Persons and rights: one question, `may(person, action)`, asked by every way in."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast.errors import NotAllowed

Action = Literal["read", "archive", "request", "release", "check", "operate"]
Role = Literal["admin", "nobody"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who was recognised."""

    name: str
    role: Role


ADMIN = Person("admin", "admin")


class TokenFile:
    """The administrator's token in a file that only the archive's user can read."""

    def __init__(self, path: Path) -> None:
        """Keep only the digest of the token."""
        self._digest = hashlib.sha256(path.read_bytes().strip()).digest()

    def person(self, token: str) -> Person:
        """Return whose token this is. Raises NotAllowed; takes equally long for every wrong token."""
        if hmac.compare_digest(hashlib.sha256(token.encode()).digest(), self._digest):
            return ADMIN
        raise NotAllowed(action="do this without a valid token")


def may(person: Person, action: Action) -> None:
    """Raise NotAllowed unless `person` may do `action`."""
    if person.role != "admin":
        raise NotAllowed(action=action)
