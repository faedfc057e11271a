# SPDX-License-Identifier: Apache-2.0
"""Names in a dataset's folder in landing, which people choose: made and removed without ever following a link.

Links are among what is added, and may lead anywhere. So each folder on the way is opened by itself and must be one (openat(2),
O_NOFOLLOW); the last one stays open, because most names come folder by folder.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from holdfast.errors import Conflict, HoldfastError, InvalidInput
from holdfast.model.entry import Kind
from holdfast.model.names import printable
from holdfast.packaging.folders import enter, open_folder

LATEST: Final = (1 << 63) - 1  # nanoseconds before and after 1970 that a time can have
PERMISSIONS: Final = 0o777  # that are kept of a file's mode
USUAL_MODE: Final = 0o644  # of a file of which nobody said another
_IN_THE_WAY: Final = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENOTEMPTY})


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file that is whole in landing, a link or an empty folder, on its way to `path` in a dataset.

    `blake3` is that of the bytes: of a file, of the target of a link, of none.
    """

    file: Path  # where the bytes of a file are
    path: bytes
    size: int
    mtime_ns: int
    blake3: bytes
    kind: Kind = "file"
    target: bytes = b""  # of a link; never followed
    mode: int = USUAL_MODE  # of a file, for those to whom it is delivered


class Placing:
    """The folder of one dataset, while names in it are made or removed; `touched` are the folders that this changed."""

    def __init__(self, root: Path) -> None:
        """Work in `root`, which is not named by people."""
        self.root, self.touched = root, set[Path]()
        self._last: bytes | None = None
        self._fd = -1

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the folder that was kept open."""
        self._close()

    def put(self, item: Arrived) -> Arrived:
        """Give `item` its name and return it, a file with the time that the file system keeps of its own.

        What has its name already has no row, and is replaced. Raises Conflict (a folder or link is in the way), InvalidInput.
        """
        folder, _, name = item.path.rpartition(b"/")
        try:
            at = self._folder(item.path if item.kind == "directory" else folder, make=True)
            times = (item.mtime_ns, item.mtime_ns)
            if item.kind == "directory":
                os.utime(at, ns=times)
                return item
            self._clear(name, at, item.path)
            if item.kind == "link":
                os.symlink(item.target, name, dir_fd=at)
                os.utime(name, ns=times, dir_fd=at, follow_symlinks=False)
            else:
                os.utime(item.file, ns=times)
                # Its bytes stay where they came in until its row is committed.
                os.link(item.file, name, dst_dir_fd=at, follow_symlinks=False)
                # Some keep whole seconds, or nothing after 2038. By its time one sees later that nobody touched the file.
                item = replace(item, mtime_ns=os.stat(item.file).st_mtime_ns)
            return item
        except OSError as error:
            raise _told(item, error) from error

    def _clear(self, name: bytes, at: int, path: bytes) -> None:
        """Remove what has a name and no row: a file, a link, or an empty folder."""
        try:
            os.unlink(name, dir_fd=at)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            os.rmdir(name, dir_fd=at)
            self.touched.discard(self.root / os.fsdecode(path))

    def remove(self, path: bytes, kind: Kind) -> None:
        """Remove a name if it is there, and the folders that it leaves empty; of a folder only when it is empty."""
        folder, _, name = path.rpartition(b"/")
        with suppress(OSError):
            at = self._folder(folder, make=False)
            os.rmdir(name, dir_fd=at) if kind == "directory" else os.unlink(name, dir_fd=at)
            while folder:
                folder, _, name = folder.rpartition(b"/")
                os.rmdir(name, dir_fd=self._folder(folder, make=False))

    def _folder(self, path: bytes, *, make: bool) -> int:
        """Return a descriptor of a folder below the root. Raises OSError."""
        if path == self._last:
            return self._fd
        self._close()
        at, here = open_folder(self.root, create=make), self.root  # who made the dataset may have been killed before
        self.touched.add(here)
        for component in path.split(b"/") if path else ():
            try:
                below = enter(component, at, create=make)
            finally:
                os.close(at)
            at, here = below, here / os.fsdecode(component)
            self.touched.add(here)
        self._fd, self._last = at, path
        return at

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._last = -1, None


def _told(item: Arrived, error: OSError) -> HoldfastError:
    name = printable(item.path)
    if error.errno in _IN_THE_WAY:
        return Conflict(what=f"{name} cannot be both a folder and something else.")
    return InvalidInput(what=f"{name} cannot be stored: {error.strerror}.")
