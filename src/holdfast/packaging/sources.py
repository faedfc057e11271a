# SPDX-License-Identifier: Apache-2.0
"""The folder that is packed: files opened without following links, and checked to be what the scan saw.

The packer's child processes import this module, so it imports little.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress

from holdfast.errors import Cancelled, HoldfastError, SourceChanged, SourceUnreadable
from holdfast.model.entry import Entry
from holdfast.model.names import printable
from holdfast.packaging.folders import enter, open_folder

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_READ_SIZE = 4 << 20  # bytes
_IDENTITY = ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")


@contextmanager
def opened_root(path: os.PathLike[str] | bytes) -> Iterator[int]:
    """Give a descriptor of a folder by its real path; a link in it is not followed. Raises SourceUnreadable."""
    try:
        root = open_folder(path)
    except OSError as error:
        raise SourceUnreadable(path=printable(os.fsencode(path)), why=error.strerror or str(error)) from error
    try:
        yield root
    finally:
        os.close(root)


def is_changed(before: os.stat_result, now: os.stat_result) -> bool:
    """Say whether a file is another one, or was written to, since it was `before`."""
    return any(getattr(before, what) != getattr(now, what) for what in _IDENTITY)


class SourceFolder:
    """Opens files below one root; keeps the last directory open, because paths come in order. One per thread."""

    def __init__(self, root: int) -> None:
        """Use the directory descriptor `root`, which stays the caller's."""
        self._root = root
        self._last: bytes = b""
        self._fd = -1

    def open(self, path: bytes) -> int:
        """Return a descriptor of the file, which the caller has to check with `check_unchanged`.

        Raises SourceChanged when it is not there any more, SourceUnreadable when it cannot be opened.
        """
        folder, _, name = path.rpartition(b"/")
        try:
            return os.open(name, FILE, dir_fd=self.folder(folder))
        except OSError as error:
            raise _told(path, error) from error

    def close(self) -> None:
        """Close the directory that was kept open."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def unlink(self, path: bytes, known: os.stat_result) -> bool:
        """Remove the file or link at `path` if it is the one of which `known` tells, unchanged; say whether. Raises OSError."""
        folder, _, name = path.rpartition(b"/")
        at = self.folder(folder)
        with suppress(FileNotFoundError):
            if is_changed(known, os.stat(name, dir_fd=at, follow_symlinks=False)):
                return False
            os.unlink(name, dir_fd=at)
        return True

    def remove_empty_folders(self) -> None:
        """Remove the folders in it that hold nothing any more."""
        for _, folders, _, at in os.fwalk(b".", topdown=False, dir_fd=self._root):
            for name in folders:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=at)

    def folder(self, folder: bytes) -> int:
        """Return a descriptor of a folder, valid until the next call. Raises OSError."""
        if not folder:
            return self._root
        if self._fd >= 0 and folder == self._last:
            return self._fd
        self.close()
        at = self._root
        for component in folder.split(b"/"):
            try:
                below = enter(component, at, create=False)
            finally:
                if at != self._root:
                    os.close(at)
            at = below
        self._fd, self._last = at, folder
        return at


def read_pieces(
    root: int, entry: Entry, offset: int, size: int, cancelled: Callable[[], bool]
) -> Generator[memoryview, None, None]:
    """Yield `size` bytes of a file from `offset`, each piece in memory of its own; the file must be as it was scanned.

    Raises SourceChanged, SourceUnreadable, Cancelled.
    """
    whole = entry.file_size
    with closing(SourceFolder(root)) as folder:
        fd = folder.open(entry.path)
    try:
        check_unchanged(fd, entry.path, whole, entry.mtime_ns)
        for at in range(offset, offset + size, _READ_SIZE):
            if cancelled():
                raise Cancelled(what="Packing")
            piece = memoryview(bytearray(min(_READ_SIZE, offset + size - at)))
            read_exactly(fd, piece, at, entry.path)
            yield piece
        check_unchanged(fd, entry.path, whole, entry.mtime_ns)
    finally:
        os.close(fd)


def whole_digest(root: int, entry: Entry, cancelled: Callable[[], bool]) -> bytes:
    """Return the SHA-512 of the whole file of which `entry` is a part: an extra read. Raises as `read_pieces`."""
    sha = hashlib.sha512()
    for piece in read_pieces(root, entry, 0, entry.whole_size, cancelled):
        sha.update(piece)
    return sha.digest()


def check_unchanged(fd: int, path: bytes, size: int, mtime_ns: int | None) -> None:
    """Raise SourceChanged when the open file is not regular or has another size or, unless that is None, time."""
    try:
        found = os.fstat(fd)
    except OSError as error:
        raise _told(path, error) from error
    if found.st_size != size or mtime_ns not in {None, found.st_mtime_ns} or not stat.S_ISREG(found.st_mode):
        raise SourceChanged(path=printable(path), what="changed")


def read_exactly(fd: int, into: memoryview, offset: int, path: bytes) -> None:
    """Fill `into` from byte `offset` of the file. Raises SourceChanged when the file ends before."""
    while into:
        try:
            count = os.preadv(fd, [into], offset)
        except OSError as error:
            raise _told(path, error) from error
        if count == 0:
            raise SourceChanged(path=printable(path), what="changed")
        into, offset = into[count:], offset + count


def _told(path: bytes, error: OSError) -> HoldfastError:
    """Return an error of the system as one of the source file `path`."""
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return SourceChanged(path=printable(path), what="vanished")
    if error.errno in (errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
        return SourceChanged(path=printable(path), what="changed")
    return SourceUnreadable(path=printable(path), why=error.strerror or str(error))
