# SPDX-License-Identifier: Apache-2.0
"""Moving one package to several tapes at once, and reading it back from each.

The source is read once. Each tape has a thread of its own behind a bounded queue, so a slow drive delays the other by
the queue's length at most, and a failed one not at all.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from holdfast.errors import Damaged, DigestMismatch, HoldfastError
from holdfast.tape.library import Extent, TapeSession

_BLOCKS: Final = 16  # of 4 MiB in each queue: 64 MiB, a fifth of a second of LTO
_PATIENCE: Final = 0.5  # seconds between two looks whether the other side is still there


@dataclass(frozen=True, slots=True)
class Put:
    """What came of writing to one tape."""

    serial: str
    extent: Extent | None
    generation: int
    rate: float  # bytes per second, the index included
    error: Exception | None


class _Feed:
    """A bounded queue from the one reader to one writer, which either side may leave."""

    def __init__(self) -> None:
        self._blocks: queue.Queue[memoryview | bytes | None] = queue.Queue(_BLOCKS)
        self.left = threading.Event()  # the writer has stopped reading
        self.broken: Exception | None = None  # the reader failed: the writer must not believe that this was all

    def give(self, block: memoryview | bytes | None) -> None:
        while not self.left.is_set():
            try:
                self._blocks.put(block, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def __iter__(self) -> Iterator[memoryview | bytes]:
        while (block := self._blocks.get()) is not None:
            yield block
        if self.broken:
            raise self.broken


def put_twins(
    sessions: Sequence[TapeSession],
    *,
    name: str,
    chunks: Iterable[memoryview | bytes],
    size: int,
    digest: str,
    attributes: Mapping[str, str],
    message: str,
    progress: Callable[[int], None],
) -> list[Put]:
    """Write `chunks` to all sessions in parallel, each with its own index write, and return what came of each.

    `progress` gets the bytes that all tapes have taken or will take from memory. Raises DigestMismatch or Damaged when the source is not what it should be; then no tape keeps the file.
    """
    feeds = [_Feed() for _ in sessions]
    with ThreadPoolExecutor(len(sessions), thread_name_prefix="tape") as pool:
        writing = [
            pool.submit(_put, session, feed, name, size, attributes, message)
            for session, feed in zip(sessions, feeds, strict=True)
        ]
        failure = _pump(_noted(chunks, progress), feeds, size, digest, name)
        results = [future.result() for future in writing]
    if failure:
        raise failure
    return results


def _noted(chunks: Iterable[memoryview | bytes], progress: Callable[[int], None]) -> Iterator[memoryview | bytes]:
    total = 0
    for chunk in chunks:
        yield chunk
        total += len(chunk)
        progress(total)


def _pump(
    chunks: Iterable[memoryview | bytes], feeds: Sequence[_Feed], size: int, digest: str, name: str
) -> Exception | None:
    """Hand the source to all feeds; a source that is not the expected one breaks all of them."""
    hasher, total = blake3(), 0
    failure: Exception | None = None
    try:
        for chunk in chunks:
            hasher.update(chunk)
            total += len(chunk)
            for feed in feeds:
                feed.give(chunk)
            if all(feed.left.is_set() for feed in feeds):
                return None  # every tape failed and says so itself
        if total != size or hasher.hexdigest() != digest:
            failure = DigestMismatch(name=f"{name} in staging")
    except OSError as error:
        failure = Damaged(name=f"{name} in staging", why=error.strerror or "it cannot be read")
    except HoldfastError as error:
        failure = error
    finally:
        for feed in feeds:
            feed.broken = failure
            feed.give(None)
    return failure


def _put(session: TapeSession, feed: _Feed, name: str, size: int, attributes: Mapping[str, str], message: str) -> Put:
    begun = time.monotonic()
    try:
        extent = session.write(name, feed, attributes, size=size)
        generation = session.sync(message)
    except HoldfastError as error:
        return Put(session.serial, None, 0, 0.0, error)
    finally:
        feed.left.set()
    return Put(session.serial, extent, generation, size / max(time.monotonic() - begun, 1e-9), None)


def read_back(session: TapeSession, name: str, progress: Callable[[int], None] = lambda _: None) -> tuple[str, int]:
    """Return the BLAKE3 digest and size of a file as the medium gives them (P2). Raises MediumFailed, NotFound."""
    hasher, total = blake3(), 0
    for chunk in session.read(name):
        hasher.update(chunk)
        total += len(chunk)
        progress(total)
    return hasher.hexdigest(), total


def in_parallel(
    sessions: Sequence[TapeSession], work: Callable[[TapeSession], tuple[str, int]]
) -> list[tuple[str, int] | HoldfastError]:
    """Do `work` on all sessions at once; an error of one is its result."""

    def guarded(session: TapeSession) -> tuple[str, int] | HoldfastError:
        try:
            return work(session)
        except HoldfastError as error:
            return error

    with ThreadPoolExecutor(max(len(sessions), 1), thread_name_prefix="tape") as pool:
        return list(pool.map(guarded, sessions))
