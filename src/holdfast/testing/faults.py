# SPDX-License-Identifier: Apache-2.0
"""Faults as wrappers: sources that break while they are read, and stores that fail or lie.

They have the interface of what they wrap, so that code under test cannot tell. All are deterministic.

    store.put("key", FailingSource(file, after=1000), size=..., digest=...)   # a disk that breaks at byte 1000
    FailingStore(store, {"open": [Busy(what="All drives are in use.")]})      # the first open fails, the next works
    BitFlipStore(store, offset=5)                                             # every package comes back changed
    ShortWriteStore(store, keep=100)                                          # says it has all, has 100 bytes
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import blake3

from holdfast.errors import HoldfastError
from holdfast.storage.store import Store, Stored
from holdfast.storage.wrappers import Through


def sample(size: int, seed: str = "") -> bytes:
    """Return `size` bytes that do not compress and are always the same for one seed."""
    return hashlib.shake_128(f"holdfast {seed}".encode()).digest(size)


class BitFlip(io.RawIOBase):
    """A source in which the lowest bit of the byte at `offset` is another."""

    def __init__(self, source: BinaryIO, offset: int) -> None:
        self._source = source
        self._offset = offset
        self._at = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read on."""
        view = memoryview(buffer)
        chunk = self._source.read(len(view))
        view[: len(chunk)] = chunk
        if self._at <= self._offset < self._at + len(chunk):
            view[self._offset - self._at] ^= 1
        self._at += len(chunk)
        return len(chunk)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
        super().close()


class ShortSource(io.RawIOBase):
    """A source that ends after `keep` bytes."""

    def __init__(self, source: BinaryIO, keep: int) -> None:
        self._source = source
        self._left = keep

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read on."""
        view = memoryview(buffer)
        chunk = self._source.read(min(len(view), self._left))
        view[: len(chunk)] = chunk
        self._left -= len(chunk)
        return len(chunk)


class FailingSource(io.RawIOBase):
    """A source that raises OSError (EIO) when `after` bytes were read."""

    def __init__(self, source: BinaryIO, after: int) -> None:
        self._source = ShortSource(source, after)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read on, or fail."""
        count = self._source.readinto(buffer)
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return count


class BitFlipStore(Through):
    """A store that gives back every package with one bit changed, at byte `offset` of it."""

    def __init__(self, store: Store, offset: int) -> None:
        super().__init__(store)
        self._offset = offset

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a package."""
        opened = super().open(key, start=start, length=length)
        return io.BufferedReader(BitFlip(opened, self._offset - start))


class ShortWriteStore(Through):
    """A store that keeps `keep` bytes of each package and says it has all."""

    def __init__(self, store: Store, keep: int) -> None:
        super().__init__(store)
        self._keep = keep

    def put(self, key: str, source: BinaryIO, *, size: int, digest: str) -> Stored:
        """Store the beginning of a package."""
        kept = source.read(self._keep)
        super().put(key, io.BytesIO(kept), size=len(kept), digest=blake3.blake3(kept).hexdigest())
        return Stored(key, size, digest)


class FailingStore(Through):
    """A store whose methods raise the given errors, one at each call, and work when these are used up.

    `failures` has lists of errors by the name of the method.
    """

    def __init__(self, store: Store, failures: Mapping[str, Iterable[HoldfastError]]) -> None:
        super().__init__(store)
        self._failures = {name: list(errors) for name, errors in failures.items()}

    def put(self, key: str, source: BinaryIO, *, size: int, digest: str) -> Stored:
        """Store a package, or fail."""
        self._fail("put")
        return super().put(key, source, size=size, digest=digest)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a package, or fail."""
        self._fail("open")
        return super().open(key, start=start, length=length)

    def stat(self, key: str) -> Stored:
        """Return what the medium says, or fail."""
        self._fail("stat")
        return super().stat(key)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what is stored, or fail."""
        self._fail("list")
        return super().list(prefix)

    def delete(self, key: str) -> None:
        """Delete a package, or fail."""
        self._fail("delete")
        super().delete(key)

    def _fail(self, method: str) -> None:
        if errors := self._failures.get(method):
            raise errors.pop(0)
