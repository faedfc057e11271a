# SPDX-License-Identifier: Apache-2.0
"""The one interface of stores.

A store keeps packages under keys. It creates and never overwrites; what `put` returned from is durable. Retries,
limits, logging and checking are wrappers with the same interface (`holdfast.storage.wrappers`). Every driver passes
the contract `holdfast.testing.store_contract`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal, Protocol

from holdfast.errors import InvalidInput

_PART: Final = re.compile(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]{0,254}")
_KEY_LIMIT: Final = 1024  # bytes; what S3 takes


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store is."""

    name: str
    kind: Literal["online", "nearline"]
    streams: int  # how many transfers at once do it good
    digests: tuple[str, ...] = ()  # that the medium itself remembers and `stat` returns
    free: int | None = None  # bytes, now; None: the store does not say


@dataclass(frozen=True, slots=True)
class Stored:
    """One package in a store, as the medium says."""

    key: str
    size: int  # bytes
    digest: str | None = None  # BLAKE3 in hex as it was when it was put; None: the medium does not remember


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall that was begun; `token` is the store's own."""

    token: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecallStatus:
    """How far a recall is."""

    ready: frozenset[str]
    waiting: frozenset[str] = frozenset()
    failed: Mapping[str, str] = field(default_factory=dict)  # key: why

    @property
    def done(self) -> bool:
        """Whether nothing is waited for."""
        return not self.waiting


class Store(Protocol):
    """A place for packages.

    Every method raises OperatorNeeded when the store cannot be reached: it is never answered as if it were empty.
    """

    @property
    def info(self) -> StoreInfo:
        """What the store is, and how much room it has now."""

    def put(self, key: str, source: BinaryIO, *, size: int, digest: str) -> Stored:
        """Store `size` bytes with this BLAKE3 hex digest; durable when it returns.

        The name appears when the digest was checked, never before. Raises Conflict (the key is there), IntegrityError
        (other length; DigestMismatch: other bytes), NoSpace, InvalidInput (no key, no digest).
        """

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open for reading from byte `start`, `length` bytes or all that follow.

        A whole package comes from the medium, not from a cache. Raises NotFound, InvalidInput (not within it).
        """

    def stat(self, key: str) -> Stored:
        """Return what the medium says. Raises NotFound."""

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what is stored under keys that begin with `prefix`, ascending; no temporaries."""

    def delete(self, key: str) -> None:
        """Delete a package if it is there; durable when it returns."""

    def recall(self, keys: Iterable[str]) -> Recall:
        """Begin to bring packages to where they can be opened. Raises NotFound."""

    def recalled(self, recall: Recall) -> RecallStatus:
        """Return how far a recall is."""


def check_key(key: str) -> None:
    """Refuse what is no key: parts of `[A-Za-z0-9._+=-]` that begin with no dot. Raises InvalidInput."""
    if len(key) > _KEY_LIMIT or not all(_PART.fullmatch(part) for part in key.split("/")):
        raise InvalidInput(what=f"{key!r} is not a key for a package.")


def check_digest(digest: str) -> None:
    """Refuse what is no BLAKE3 digest in hex. Raises InvalidInput."""
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise InvalidInput(what=f"{digest!r} is not a BLAKE3 digest.")
