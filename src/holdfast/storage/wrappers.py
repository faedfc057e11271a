# SPDX-License-Identifier: Apache-2.0
"""Wrappers around stores, with the same interface, and the one place where they are put together."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import parse_qs, unquote, urlsplit

import blake3

from holdfast.errors import DigestMismatch, HoldfastError, SettingsError
from holdfast.storage.posix import PosixStore
from holdfast.storage.store import Recall, RecallStatus, Store, Stored, StoreInfo

_log = logging.getLogger(__name__)
_BLOCK: Final = 1 << 20  # bytes


def open_store(url: str, *, create: bool = False) -> Store:
    """Open the store at `url`, checked and logged: `file:///path?name=NAME`; `create` makes it if it is not there.

    Raises SettingsError (no such kind of store), OperatorNeeded (it cannot be reached).
    """
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.scheme != "file" or parts.netloc or not path.startswith("/"):
        raise SettingsError(what=f"{url} is not the address of a store; file:///path is.")
    name = parse_qs(parts.query).get("name", [""])[0]
    store: Store = PosixStore.create(Path(path), name=name) if create else PosixStore(Path(path), name=name)
    return Logged(Checked(store))


class Through:
    """A store that passes everything on; what other wrappers are made from."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def info(self) -> StoreInfo:
        """What the store is."""
        return self.store.info

    def put(self, key: str, source: BinaryIO, *, size: int, digest: str) -> Stored:
        """Store a package."""
        return self.store.put(key, source, size=size, digest=digest)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a package."""
        return self.store.open(key, start=start, length=length)

    def stat(self, key: str) -> Stored:
        """Return what the medium says."""
        return self.store.stat(key)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what is stored."""
        return self.store.list(prefix)

    def delete(self, key: str) -> None:
        """Delete a package."""
        self.store.delete(key)

    def recall(self, keys: Iterable[str]) -> Recall:
        """Begin a recall."""
        return self.store.recall(keys)

    def recalled(self, recall: Recall) -> RecallStatus:
        """Return how far it is."""
        return self.store.recalled(recall)


class Checked(Through):
    """Compares the digest of what is read with what the medium remembers, when a whole package is read."""

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a package; the read that reaches the end of a whole one raises DigestMismatch when it is another."""
        stored = self.store.stat(key)
        opened = self.store.open(key, start=start, length=length)
        whole = start == 0 and length in {None, stored.size}
        if not whole or stored.digest is None:
            return opened
        return io.BufferedReader(_CheckedReader(opened, stored), _BLOCK)


class _CheckedReader(io.RawIOBase):
    # Not seekable: a reader that jumps has no digest to compare. It opens the range that it wants.
    def __init__(self, source: BinaryIO, stored: Stored) -> None:
        self._source = source
        self._stored = stored
        self._hasher = blake3.blake3()
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        view = memoryview(buffer)
        chunk = self._source.read(len(view))
        view[: len(chunk)] = chunk
        self._hasher.update(chunk)
        self._done += len(chunk)
        # Checked before the last bytes are handed out, so that nobody acts on a whole package that is a wrong one.
        ended = not chunk or self._done >= self._stored.size
        if ended and view and self._hasher.hexdigest() != self._stored.digest:
            raise DigestMismatch(name=self._stored.key)
        return len(chunk)

    def close(self) -> None:
        self._source.close()
        super().close()


class Logged(Through):
    """Writes one line for each change and for each failure."""

    @property
    def info(self) -> StoreInfo:
        """What the store is."""
        with self._line("info", "", logging.DEBUG):
            return self.store.info

    def put(self, key: str, source: BinaryIO, *, size: int, digest: str) -> Stored:
        """Store a package."""
        with self._line("put", f"{key} ({size} bytes)", logging.INFO):
            return self.store.put(key, source, size=size, digest=digest)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a package; failures while it is read are its reader's."""
        with self._line("open", f"{key} from {start}, {'all' if length is None else length}", logging.DEBUG):
            return self.store.open(key, start=start, length=length)

    def stat(self, key: str) -> Stored:
        """Return what the medium says."""
        with self._line("stat", key, logging.DEBUG):
            return self.store.stat(key)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield what is stored."""
        with self._line("list", prefix, logging.DEBUG):
            yield from self.store.list(prefix)

    def delete(self, key: str) -> None:
        """Delete a package."""
        with self._line("delete", key, logging.INFO):
            self.store.delete(key)

    def recall(self, keys: Iterable[str]) -> Recall:
        """Begin a recall."""
        wanted = tuple(keys)
        with self._line("recall", f"{len(wanted)} packages", logging.INFO):
            return self.store.recall(wanted)

    def recalled(self, recall: Recall) -> RecallStatus:
        """Return how far it is."""
        with self._line("recalled", recall.token, logging.DEBUG):
            return self.store.recalled(recall)

    @contextlib.contextmanager
    def _line(self, action: str, what: str, level: int) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except HoldfastError as error:
            _log.warning("%s %s: %s (%s)", action, what, error, error.code)
            raise
        _log.log(level, "%s %s: %.3f s", action, what, time.monotonic() - began)
