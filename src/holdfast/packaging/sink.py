# SPDX-License-Identifier: Apache-2.0
"""Where a package goes: the same aligned blocks to every file, one writer thread each, durable at the end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from blake3 import blake3

from holdfast.errors import Conflict, HoldfastError, MediumFailed, NoSpace
from holdfast.writing import write_all

_BLOCK_SIZE = 4 << 20  # bytes; a multiple of every device's sector
_BLOCKS = 6  # in flight
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _Block:
    """One page-aligned buffer, free again when every sink has written it."""

    def __init__(self) -> None:
        self.memory = memoryview(mmap.mmap(-1, _BLOCK_SIZE))
        self.length = 0
        self.readers = 0


class _Sink(threading.Thread):
    """Writes blocks to one new file."""

    def __init__(self, path: Path, done: Sinks, planned: int, *, direct: bool, durable: bool) -> None:
        super().__init__(name=f"sink-{path.name}")
        self.path, self._done, self._planned = path, done, planned
        self.blocks: queue.SimpleQueue[_Block | None] = queue.SimpleQueue()
        self.error: HoldfastError | None = None
        self.abandoned = False  # the files will be removed: no need to write on
        self._at = 0
        self._direct, self._durable = direct, durable
        self._fd = self._create()

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self.path, flags, 0o640)
        except FileExistsError as error:
            raise Conflict(what=f"{self.path} exists already.") from error
        except OSError as error:
            raise self._failure(error) from error
        if self._direct:
            self._set_direct(fd, wanted=True)
        return fd

    def _set_direct(self, fd: int, *, wanted: bool) -> None:
        """Ask for writing past the page cache; a file system that cannot do it is written through the cache."""
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        try:
            fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if wanted else flags & ~os.O_DIRECT)
            self._direct = wanted
        except OSError:
            self._direct = False

    def run(self) -> None:
        """Write what comes; after an error only give the blocks back."""
        while (block := self.blocks.get()) is not None:
            if self.error is None and not self.abandoned:
                try:
                    self._write(block.memory[: block.length])
                except OSError as error:
                    self.error = self._failure(error)
            self._done.give_back(block)
        if self.error is None and not self.abandoned:
            try:
                self._make_durable()
            except OSError as error:
                self.error = self._failure(error)

    def _write(self, data: memoryview) -> None:
        if self._direct and len(data) % mmap.PAGESIZE:
            whole = len(data) - len(data) % mmap.PAGESIZE
            self._write(data[:whole])
            self._set_direct(self._fd, wanted=False)
            data = data[whole:]
        while data and self._direct:
            try:
                count = os.pwrite(self._fd, data, self._at)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._set_direct(self._fd, wanted=False)  # accepted at open, refused at write
                continue
            self._at += count
            data = data[count:]
            if count % mmap.PAGESIZE:
                self._set_direct(self._fd, wanted=False)
        write_all(self._fd, data, self._at)
        self._at += len(data)

    def _make_durable(self) -> None:
        if not self._durable:
            os.close(self._fd)
            self._fd = -1
            return
        os.fsync(self._fd)
        with contextlib.suppress(OSError):  # only advice: what was written is not read from the cache again
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(self._fd)
        self._fd = -1
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _failure(self, error: OSError) -> HoldfastError:
        if error.errno not in _FULL:
            return MediumFailed(medium=str(self.path), why=error.strerror or str(error))
        try:
            found = os.statvfs(self.path.parent)
            free = found.f_bavail * found.f_frsize
        except OSError:
            free = 0
        return NoSpace(area=str(self.path.parent), needed=max(self._planned - self._at, _BLOCK_SIZE), free=free)

    def remove(self) -> None:
        """Close and delete the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.path.unlink(missing_ok=True)


class Sinks:
    """All files that one package is written to, and the BLAKE3 of what they hold.

    As a context it removes all of them when the block ends with an exception.
    """

    def __init__(self, paths: Sequence[Path], *, direct: bool, durable: bool, planned: int) -> None:
        """Create the files; each must not exist. `planned` is about how many bytes come.

        Raises Conflict, NoSpace and MediumFailed.
        """
        self._sinks: list[_Sink] = []
        self._free: queue.SimpleQueue[_Block] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._hash = blake3()
        self.size = 0
        try:
            for path in paths:
                self._sinks.append(_Sink(path, self, planned, direct=direct, durable=durable))
        except BaseException:
            for sink in self._sinks:
                sink.remove()
            raise
        for _ in range(_BLOCKS):
            self._free.put(_Block())
        self._current = self._free.get()
        for sink in self._sinks:
            sink.start()

    def __enter__(self) -> Self:
        """Return this object."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Stop the writers; remove the files when something went wrong."""
        for sink in self._sinks:
            sink.abandoned = kind is not None
        self._stop()
        if kind is not None:
            for sink in self._sinks:
                sink.remove()

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`. Raises NoSpace and MediumFailed, perhaps of an earlier write."""
        view = memoryview(data)
        self.size += len(view)
        while view:
            block = self._current
            taken = view[: _BLOCK_SIZE - block.length]
            block.memory[block.length : block.length + len(taken)] = taken
            block.length += len(taken)
            view = view[len(taken) :]
            if block.length == _BLOCK_SIZE:
                self._send()

    def finish(self) -> str:
        """Make all files durable and return the BLAKE3 of their content, in hex."""
        self._send()
        self._stop()
        self._raise()
        return self._hash.hexdigest()

    def give_back(self, block: _Block) -> None:
        """Take note that one sink has written `block`."""
        with self._lock:
            block.readers -= 1
            free = not block.readers
        if free:
            self._free.put(block)

    def _send(self) -> None:
        block = self._current
        block.readers = len(self._sinks) + 1
        for sink in self._sinks:
            sink.blocks.put(block)
        self._hash.update(block.memory[: block.length])
        self.give_back(block)
        self._current = self._free.get()
        self._current.length = 0
        self._raise()

    def _raise(self) -> None:
        for sink in self._sinks:
            if sink.error is not None:
                raise sink.error

    def _stop(self) -> None:
        for sink in self._sinks:
            sink.blocks.put(None)
        for sink in self._sinks:
            sink.join()
