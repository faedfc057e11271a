# SPDX-License-Identifier: Apache-2.0
"""Stretches of a package on their way from the one reader to the workers that decode them."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator

from holdfast.errors import Damaged, HoldfastError, IntegrityError, UnsafePackage
from holdfast.model.entry import Packed
from holdfast.packaging.reader import Source

_IN_FLIGHT = 64 << 20  # bytes read but not yet decoded
_PIECES_AHEAD = 8  # decoded pieces of at most 1 MiB that wait to be hashed


class Group:
    """The files that begin in one frame, and the bytes of the package from there, as they are read."""

    def __init__(self, members: list[Packed], budget: Budget) -> None:
        self.members = members
        self.frame = members[0].location.frame
        self.closed = False  # nobody wants further bytes
        self._lock = threading.Lock()
        self._budget = budget
        self._chunks: queue.SimpleQueue[bytes | HoldfastError | None] = queue.SimpleQueue()

    @property
    def bound(self) -> int:
        """The largest offset in the package file that can be needed: content that did not shrink, and its framing."""
        need = max(packed.location.skip + packed.entry.size for packed in self.members)
        return self.frame + need + need // 64 + (256 << 10)

    def feed(self, chunk: bytes) -> None:
        """Add bytes that were read; waits while too many are in memory."""
        self._budget.take(len(chunk))
        with self._lock:
            if self.closed:
                self._budget.give(len(chunk))
            else:
                self._chunks.put(chunk)

    def end(self, error: HoldfastError | None = None) -> None:
        """Tell that no more bytes come, and why when that is an error."""
        self._chunks.put(error)

    def chunks(self) -> Iterator[bytes]:
        """Yield what was fed, waiting for it; raises the error of `end`."""
        while (chunk := self._chunks.get()) is not None:
            if isinstance(chunk, HoldfastError):
                raise chunk
            self._budget.give(len(chunk))
            yield chunk

    def close(self) -> None:
        """Give back what was read in vain. Called when the end was seen or no more is wanted."""
        with self._lock:
            self.closed = True
            while not self._chunks.empty():
                chunk = self._chunks.get()
                if isinstance(chunk, bytes):
                    self._budget.give(len(chunk))


class Budget:
    """Bounds the bytes that are read but not decoded."""

    def __init__(self) -> None:
        self._used = 0
        self._state = threading.Condition()
        self.stopped = False

    def take(self, count: int) -> None:
        """Wait for room and use `count` bytes of it."""
        with self._state:
            self._state.wait_for(lambda: self.stopped or self._used < _IN_FLIGHT)
            self._used += count

    def give(self, count: int) -> None:
        """Free `count` bytes."""
        with self._state:
            self._used -= count
            self._state.notify()

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._state:
            self.stopped = True
            self._state.notify()


class Stream:
    """The decoded content of a group, taken from front to back."""

    def __init__(self, pieces: Iterator[bytes], name: str) -> None:
        self._pieces, self._name = pieces, name
        self._rest = memoryview(b"")
        self._at = 0
        self._error: HoldfastError | None = None

    def skip_to(self, position: int) -> None:
        """Drop bytes up to `position`. Raises UnsafePackage when it lies behind."""
        if position < self._at:
            raise UnsafePackage(name=self._name, why="two of its files overlap")
        for _ in self.take(position - self._at):
            pass

    def take(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces. Raises Damaged."""
        while count:
            if not self._rest:
                self._rest = memoryview(self._next())
            piece = self._rest[:count]
            self._rest = self._rest[len(piece) :]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def _next(self) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            return next(self._pieces)
        except StopIteration:
            self._error = Damaged(name=self._name, why="it ends in the middle of a member")
            raise self._error from None
        except IntegrityError as error:
            self._error = error
            raise


class Span:
    """One stretch of the package, read in order and divided at given offsets."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self._chunks = iter(source.read(start, max(end - start, 0)))
        self._at = start
        self._rest = b""

    def until(self, stop: int) -> Iterator[bytes]:
        """Yield the bytes up to offset `stop` of the package, as far as there are any."""
        while self._at < stop:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                return
            self._rest = chunk[stop - self._at :]
            chunk = chunk[: stop - self._at]
            self._at += len(chunk)
            yield chunk


class HashAside:
    """SHA-512 in a thread of its own, for large files: one core decodes and writes while another hashes."""

    def __init__(self) -> None:
        """Start the thread; `close` or `digest` must end it."""
        self._sha = hashlib.sha512()
        self._pieces: queue.Queue[memoryview | None] = queue.Queue(_PIECES_AHEAD)
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        self._thread.start()

    def update(self, piece: memoryview) -> None:
        """Take the next bytes; they must not change afterwards."""
        self._pieces.put(piece)

    def close(self) -> None:
        """End the thread after what was given; may be called again."""
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()

    def digest(self) -> bytes:
        """Return the digest of all bytes given."""
        self.close()
        return self._sha.digest()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._sha.update(piece)
