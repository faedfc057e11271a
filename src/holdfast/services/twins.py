# SPDX-License-Identifier: Apache-2.0
"""Moving one package to several tapes at once, and reading it back from each.

A plain package has a sidecar, which is written before it, so that whoever reads a tape from its begin knows what comes.
The source is read once. Each tape has a thread of its own behind a bounded queue, so a slow drive delays the other by
the queue's length at most, and a failed one not at all.
"""

from __future__ import annotations

import mmap
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Final

from blake3 import blake3

from holdfast.catalog.database import Row
from holdfast.crashpoint import crash_point
from holdfast.errors import Damaged, DigestMismatch, HoldfastError
from holdfast.model.names import sidecar_name
from holdfast.services.proof import DIGEST_ATTRIBUTE
from holdfast.tape.library import Extent, TapeSession
from holdfast.writing import write_all

_BLOCKS: Final = 16  # of 4 MiB in each queue: 64 MiB, a fifth of a second of LTO
_CHUNK: Final = 4 << 20  # bytes read from staging at once
_PATIENCE: Final = 0.5  # seconds between two looks whether the other side is still there


@dataclass(frozen=True, slots=True)
class Put:
    """What came of writing to one tape."""

    serial: str
    extent: Extent | None
    rate: float  # bytes per second
    error: HoldfastError | None


def files_of(package: Row) -> dict[str, tuple[str, int]]:
    """Return BLAKE3 and size of each file that a packed package is on a tape, by name, in their order there."""
    files: dict[str, tuple[str, int]] = {}
    if package["sidecar"] is not None:
        text = package["sidecar"].encode()
        files[sidecar_name(package["name"])] = blake3(text).hexdigest(), len(text)
    files[package["name"]] = package["digest"], package["size"]
    return files


def chunks(path: Path) -> Iterator[memoryview]:
    """Yield the content of a file in blocks that the drives can take as they are."""
    with path.open("rb", buffering=0) as file:
        while True:
            # Page-aligned memory goes to the drives as it is, without a copy; it is freed with its last reader.
            block = memoryview(mmap.mmap(-1, _CHUNK))
            length = file.readinto(block)
            if not length:
                return
            yield block[:length]


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
    package: Row,
    chunks: Iterable[memoryview | bytes],
    progress: Callable[[int], None],
) -> list[Put]:
    """Write a package to all sessions in parallel and return what came of each; nothing is durable before their `sync`.

    `chunks` are its bytes; `progress` gets how many of them all tapes have taken or will take from memory. Raises
    DigestMismatch or Damaged when they are not what they should be; then no tape keeps the package.
    """
    feeds = [_Feed() for _ in sessions]
    with ThreadPoolExecutor(len(sessions), thread_name_prefix="tape") as pool:
        writing = [pool.submit(_put, session, feed, package) for session, feed in zip(sessions, feeds, strict=True)]
        failure = _pump(_noted(chunks, progress), feeds, package["size"], package["digest"], package["name"])
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


def _put(session: TapeSession, feed: _Feed, package: Row) -> Put:
    begun = time.monotonic()
    try:
        extent = _write(session, feed, package)
    except HoldfastError as error:
        return Put(session.serial, None, 0.0, error)
    finally:
        feed.left.set()
    return Put(session.serial, extent, package["size"] / max(time.monotonic() - begun, 1e-9), None)


def _write(session: TapeSession, feed: _Feed, package: Row) -> Extent:
    """Write the files of a package, all or none of them."""
    attributes = {name: {DIGEST_ATTRIBUTE: digest} for name, (digest, _) in files_of(package).items()}
    name = package["name"]
    beside = sidecar_name(name) if package["sidecar"] is not None else ""
    try:
        if beside:
            session.write(beside, [package["sidecar"].encode()], attributes[beside])
        return session.write(name, feed, attributes[name], size=package["size"])
    except HoldfastError:
        if beside:
            with suppress(HoldfastError):  # a tape that broke keeps what it has; it gets no more writes
                session.delete(beside)
        raise


def read_back(
    session: TapeSession, package: Row, progress: Callable[[int], None], *, into: FileIO | None = None
) -> None:
    """Read all files of a package as the medium gives them (P2); `progress` gets its bytes so far, without a sidecar.

    The package, without a sidecar, is written to `into`, which has no buffer. Raises DigestMismatch when a file is not what was written,
    MediumFailed, NotFound.
    """
    for name, (digest, size) in files_of(package).items():
        hasher, read = blake3(), 0
        for chunk in session.read(name):
            hasher.update(chunk)
            read += len(chunk)
            if name == package["name"]:
                progress(read)
                if into:
                    write_all(into.fileno(), chunk)
                    if read * 2 >= size:
                        crash_point("recall.half")
        if (hasher.hexdigest(), read) != (digest, size):
            raise DigestMismatch(name=f"{name} on {session.serial}")


def in_parallel(
    sessions: Sequence[TapeSession], work: Callable[[TapeSession], None]
) -> dict[str, HoldfastError | None]:
    """Do `work` on all sessions at once and return the error of each, or None, by serial."""

    def guarded(session: TapeSession) -> HoldfastError | None:
        try:
            work(session)
        except HoldfastError as error:
            return error
        return None

    with ThreadPoolExecutor(max(len(sessions), 1), thread_name_prefix="tape") as pool:
        errors = pool.map(guarded, sessions)
        return {session.serial: error for session, error in zip(sessions, errors, strict=True)}
