# SPDX-License-Identifier: Apache-2.0
"""Adding whole folders to an open dataset: in parallel, small files together, large ones in pieces that can be resumed."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

from blake3 import blake3

from holdfast.client.client import Client
from holdfast.client.content import raw_target
from holdfast.client.deposit import LocalFile
from holdfast.client.parallel import in_parallel
from holdfast.errors import HoldfastError, Unreachable
from holdfast.model.names import printable
from holdfast.wire.datasets import File

_PERMISSIONS: Final = 0o777  # what is kept of a mode
_BLOCK: Final = 1 << 20  # bytes
_SMALL: Final = 1_000_000  # bytes; below it a call for each file costs more than its bytes
_BATCH_FILES: Final = 1000
_BATCH_BYTES: Final = 32_000_000
_LARGE: Final = 128_000_000  # bytes; above it starting anew costs more than asking how far it is


@dataclass(slots=True)
class Added:
    """What became of all that was to be added: counts, and what was not added with the reason."""

    files: int = 0
    bytes: int = 0
    there: int = 0  # were in the dataset already, unchanged
    refused: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is."""

    files: int
    bytes: int
    all_files: int
    all_bytes: int


def found(sources: Sequence[str], into: str = "") -> tuple[list[LocalFile], list[tuple[str, str]]]:
    """Return the files, links and empty folders at and below `sources`, and what cannot be added with the reason.

    A folder comes with its name, as `cp -r` has it; one that is written with a slash behind it, or as `.`, without.
    """
    files: list[LocalFile] = []
    odd: list[tuple[str, str]] = []
    prefix = os.fsencode(into.strip("/")) + b"/" if into.strip("/") else b""
    for text in sources:
        bare = os.path.basename(text) in {"", ".", ".."}
        base = prefix if bare else prefix + os.fsencode(os.path.basename(text))
        for path, name in _below(text, base, odd):
            try:
                file = _seen(path, name)
            except OSError as error:
                odd.append((path, error.strerror or str(error)))
                continue
            if file is None:
                odd.append((path, "is no file, link or folder: devices and the like are not added"))
            elif file.path:
                files.append(file)
    return files, odd


def _seen(path: str, name: bytes) -> LocalFile | None:
    """Return what is there, None for devices and the like. Raises OSError."""
    status = os.lstat(path)
    if stat.S_ISREG(status.st_mode):
        mode = stat.S_IMODE(status.st_mode) & _PERMISSIONS
        return LocalFile(Path(path), name, status.st_size, status.st_mtime_ns, mode=mode)
    if stat.S_ISLNK(status.st_mode):
        target = os.fsencode(os.readlink(path))  # where it leads, nobody looks
        return LocalFile(Path(path), name, 0, status.st_mtime_ns, "link", target)
    if stat.S_ISDIR(status.st_mode):
        return LocalFile(Path(path), name.strip(b"/"), 0, status.st_mtime_ns, "directory")
    return None


def _below(path: str, name: bytes, odd: list[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """Yield what is at and below a path, with its path in the dataset; folders that cannot be read go to `odd`."""
    if os.path.islink(path) or not os.path.isdir(path):
        yield path, name
        return
    base = name + b"/" if name and not name.endswith(b"/") else name
    try:
        with os.scandir(path) as content:
            items = sorted(content, key=lambda item: item.name)
    except OSError as error:
        odd.append((path, error.strerror or str(error)))
        return
    if not items:
        yield path, name
    for item in items:
        yield from _below(item.path, base + os.fsencode(item.name), odd)


class Adding:
    """One run of adding files to a dataset."""

    def __init__(
        self, client: Client, dataset: str, *, parallel: int = 4, progress: Callable[[Progress], None] = lambda _: None
    ) -> None:
        """`progress` is called from several threads, one at a time."""
        self._client, self._dataset, self._parallel, self._tell = client, dataset, parallel, progress
        self._lock = threading.Lock()
        self._added = Added()
        self._moved = 0
        self._all = (0, 0)
        self._there: dict[str, File] = {}

    def run(self, files: Sequence[LocalFile]) -> Added:
        """Add `files`; what is there already, unchanged, is left out, so that it can be repeated. Raises Unreachable."""
        self._there = {item.path: item for item in self._client.files(self._dataset)}
        self._all = (len(files), sum(file.size for file in files))
        large = (partial(self._one, file) for file in files if file.size >= _SMALL)
        small = (partial(self._batch, batch) for batch in _batches(file for file in files if file.size < _SMALL))
        in_parallel(chain(large, small), lambda send: send(), self._parallel)
        return self._added

    def _one(self, file: LocalFile) -> None:
        if self._is_there(file):
            return
        try:
            if file.size >= _LARGE:
                self._client.add_large(self._dataset, file, moved=self._note)
            else:
                self._client.add_file(self._dataset, file, moved=self._note)
        except Unreachable:
            raise
        except (HoldfastError, OSError) as error:
            self._refuse([file], error)
        else:
            self._count(1, file.size)

    def _batch(self, batched: Sequence[LocalFile]) -> None:
        files = [file for file in batched if not self._is_there(file)]
        if not files:
            return
        try:
            batch = self._client.add_batch(self._dataset, files, moved=self._note)
        except Unreachable:
            raise
        except (HoldfastError, OSError) as error:
            self._refuse(files, error)
            return
        with self._lock:
            self._added.refused += [(item.path, item.sentence) for item in batch.refused]
            self._added.there += batch.unchanged
        self._count(len(batch.added), sum(item.size for item in batch.added))

    def _is_there(self, file: LocalFile) -> bool:
        """Say whether the dataset has a file already, and count it then; of a large one, size and time tell."""
        item = self._there.get(printable(file.path))
        same = item is not None and (item.kind, item.size, item.mtime_ns) == (file.kind, file.size, file.mtime_ns)
        if item is None or not same or raw_target(item) != file.target:
            return False
        # Programs give all their files one time, and a clock gives it to what was written in the same moment.
        if file.kind == "file" and file.size < _LARGE and item.blake3 != _blake3(file.file):
            return False
        with self._lock:
            self._added.there += 1
        self._note(file.size)
        return True

    def _refuse(self, files: Sequence[LocalFile], error: HoldfastError | OSError) -> None:
        with self._lock:
            self._added.refused += [(printable(file.path), str(error)) for file in files]

    def _count(self, files: int, size: int) -> None:
        with self._lock:
            self._added.files += files
            self._added.bytes += size
        self._note(0)

    def _note(self, size: int) -> None:
        with self._lock:
            self._moved += size
            self._tell(Progress(self._added.files + self._added.there, self._moved, *self._all))


def _blake3(file: Path) -> str:
    """Return the digest of a file, in base 16; empty when it cannot be read, which is told when it is sent."""
    hasher = blake3()
    try:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                hasher.update(block)
    except OSError:
        return ""
    return hasher.hexdigest()


def _batches(files: Iterator[LocalFile]) -> Iterator[list[LocalFile]]:
    batch: list[LocalFile] = []
    size = 0
    for file in files:
        batch.append(file)
        size += file.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
