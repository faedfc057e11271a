# SPDX-License-Identifier: Apache-2.0
"""Big sequential reads and writes that leave nothing in the page cache.

Writing goes through O_DIRECT where the file system takes it (half the time of buffered writing, and what is read
back later comes from the medium); reading drops the cache first and behind itself (P2).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

BLOCK: Final = 4 << 20  # bytes of one write
READ_BLOCK: Final = 2 << 20  # bytes of one read; measured best with bench/verify.py
ALIGNMENT: Final = 4096  # bytes; what O_DIRECT wants of offsets, lengths and addresses
_STRAIGHT: Final = 1 << 20  # bytes; a chunk of this size is worth writing without a copy
_POOL_LIMIT: Final = 4  # blocks kept for the next file; two sessions in one process need two
_NO_DIRECT: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})

_pool: list[mmap.mmap] = []  # append and pop are atomic


class BlockWriter:
    """Writes one new file from begin to end.

    `admit(done, wanted)` says how many of the `wanted` bytes the medium takes after the `done` ones, or raises
    OSError as write(2) would. All methods raise OSError.
    """

    def __init__(self, path: Path, admit: Callable[[int, int], int]) -> None:
        """Create the file; raises FileExistsError."""
        self.written = 0  # bytes that reached the file
        self._admit = admit
        self._fd, self._direct = _create(path)
        self._straight = True
        self._block = _pool.pop() if _pool else mmap.mmap(-1, BLOCK)
        self._fill = 0

    @property
    def accepted(self) -> int:
        """How many bytes were taken so far, the ones in the block that is being filled included."""
        return self.written + self._fill

    def write(self, chunk: memoryview | bytes) -> None:
        """Append the bytes of `chunk`."""
        view = memoryview(chunk).cast("B")
        while len(view):
            whole = len(view) // ALIGNMENT * ALIGNMENT
            if self._fill == 0 and whole >= _STRAIGHT and self._straight and self._put_straight(view[:whole]):
                view = view[whole:]
                continue
            part = view[: BLOCK - self._fill]
            self._block[self._fill : self._fill + len(part)] = part
            self._fill += len(part)
            view = view[len(part) :]
            if self._fill == BLOCK:
                self._flush()

    def finish(self) -> None:
        """Write what is left, bring all to the medium and close."""
        self._flush()
        os.fsync(self._fd)
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self.close()

    def close(self) -> None:
        """Close without writing what is left; idempotent."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        if len(_pool) < _POOL_LIMIT:
            _pool.append(self._block)
        os.close(fd)

    def _flush(self) -> None:
        with memoryview(self._block) as block:
            view = block[: self._fill]
            self._fill = 0
            self._put(view)

    def _put_straight(self, view: memoryview) -> bool:
        # O_DIRECT refuses badly aligned memory with EINVAL before it writes anything; then we copy from now on.
        before = self.written
        try:
            self._put(view)
        except OSError as error:
            if error.errno != errno.EINVAL or not self._direct or self.written != before:
                raise
            self._straight = False
            return False
        return True

    def _put(self, view: memoryview) -> None:
        while len(view):
            admitted = self._admit(self.written, len(view))
            whole = admitted // ALIGNMENT * ALIGNMENT if self._direct else admitted
            self._put_raw(view[:whole])
            if whole < admitted:
                self._leave_direct()
                self._put_raw(view[whole:admitted])
            view = view[admitted:]

    def _put_raw(self, view: memoryview) -> None:
        while len(view):
            count = os.write(self._fd, view)
            self.written += count
            view = view[count:]
            if self._direct and count % ALIGNMENT:
                self._leave_direct()

    def _leave_direct(self) -> None:
        # The end of a file is seldom a multiple of 4096 bytes; its last piece goes through the page cache.
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_DIRECT)
        self._direct = False


def _create(path: Path) -> tuple[int, bool]:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o644), True
    except OSError as error:
        if error.errno not in _NO_DIRECT:
            raise
    # Some file systems create the file and refuse O_DIRECT afterwards.
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == 0:
            path.unlink()
    return os.open(path, flags, 0o644), False


def read_blocks(
    path: Path, offset: int, end: int, place: Callable[[], memoryview] | None = None
) -> Iterator[bytes | memoryview]:
    """Yield the bytes from `offset` to `end` (not included) from the medium. Raises OSError.

    With `place`, each block is read into the memory that it returns, of BLOCK bytes, and a view of that is given:
    larger than others, for such blocks go to another process, and taking turns costs more than a call.
    """
    largest = READ_BLOCK if place is None else BLOCK
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)  # dirty pages survive DONTNEED
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        # The kernel's readahead is left alone: asking for more in advance (WILLNEED, or a thread that reads one
        # block ahead) measured no faster, at more CPU time.
        while offset < end:
            block = _read_block(fd, min(largest, end - offset), offset, place)
            if not len(block):
                raise OSError(errno.EIO, "the file ends early", str(path))
            yield block
            os.posix_fadvise(fd, offset, len(block), os.POSIX_FADV_DONTNEED)
            offset += len(block)
    finally:
        os.close(fd)


def _read_block(fd: int, length: int, offset: int, place: Callable[[], memoryview] | None) -> bytes | memoryview:
    if place is None:
        return os.pread(fd, length, offset)
    memory = place()[:length]
    return memory[: os.preadv(fd, [memory], offset)]
