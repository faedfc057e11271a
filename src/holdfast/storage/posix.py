# SPDX-License-Identifier: Apache-2.0
"""A store in a folder of any POSIX file system."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import blake3

from holdfast.errors import (
    Conflict,
    DigestMismatch,
    HoldfastError,
    IntegrityError,
    InvalidInput,
    MediumFailed,
    NoSpace,
    NotFound,
    OperatorNeeded,
    TransientError,
)
from holdfast.storage.store import Recall, RecallStatus, Stored, StoreInfo, check_digest, check_key
from holdfast.writing import write_all

_BLOCK: Final = 1 << 20  # bytes
_MARKER: Final = ".holdfast-store"  # says that this is the store, and not the empty mount point of one
_INCOMING: Final = ".incoming"  # temporaries; no key begins with a dot
_STALE: Final = 3600  # seconds after which a temporary that nobody holds is removed
_DIGEST: Final = "user.holdfast.blake3"  # extended attribute
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NOT_THE_MEDIUM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # this process or host is at its limit
_STREAMS: Final = 4


class PosixStore:
    """The store in the folder `root`."""

    def __init__(self, root: Path, *, name: str = "") -> None:
        """Open a store that `create` made, and remove temporaries of dead processes. Raises OperatorNeeded."""
        self.root = root
        self._name = name or root.name
        self._is_there()
        self._sweep()

    @classmethod
    def create(cls, root: Path, *, name: str = "") -> PosixStore:
        """Make a store, or open the one that is there. Raises OperatorNeeded."""
        try:
            (root / _INCOMING).mkdir(parents=True, exist_ok=True)
            (root / _MARKER).touch()
            _sync_folder(root)
        except OSError as error:
            raise OperatorNeeded(what=f"The store at {root} cannot be made: {error.strerror}.") from error
        return cls(root, name=name)

    @property
    def info(self) -> StoreInfo:
        """What the store is; the room is what the file system gives to us."""
        with self._translated(""):
            room = os.statvfs(self.root)
            return StoreInfo(self._name, "online", _STREAMS, ("blake3",), room.f_bavail * room.f_frsize)

    def put(self, key: str, source: BinaryIO, *, size: int, digest: str) -> Stored:
        """Write to a temporary, check, make durable, then give it its name; the name is never taken twice."""
        check_key(key)
        check_digest(digest)
        self._is_there()
        path = self.root / key
        if path.exists():
            raise Conflict(what=f"{key} exists already in {self._name}.")
        temporary = self.root / _INCOMING / f"{os.getpid()}.{secrets.token_hex(8)}"
        with self._translated(key, size):
            fd = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            with self._translated(key, size):
                fcntl.flock(fd, fcntl.LOCK_EX)  # as long as it is held, nobody sweeps it away
            self._fill(fd, key, source, size, digest)
            with self._translated(key, size):
                _remember(fd, digest)
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                self._publish(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
            os.close(fd)
        return Stored(key, size, digest)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> BinaryIO:
        """Open a package or a range of it; a whole one is read from the medium, not from the page cache."""
        size = self.stat(key).size
        end = size if length is None else start + length
        if not 0 <= start <= end <= size:
            raise InvalidInput(what=f"{key} has {size} bytes; {start} to {end} are not all within.")
        with self._translated(key):
            fd = os.open(self.root / key, os.O_RDONLY | os.O_CLOEXEC)
            if (start, end) == (0, size):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return io.BufferedReader(_Range(fd, key, start, end), _BLOCK)

    def stat(self, key: str) -> Stored:
        """Return what the file system says; the digest is the one that was noted beside the bytes."""
        check_key(key)
        self._is_there()
        with self._translated(key):
            path = self.root / key
            if not path.is_file():
                raise NotFound(kind=f"package in {self._name}", name=key)
            return _stored(path, key)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield packages, ascending by key."""
        self._is_there()
        yield from self._walk("", prefix)

    def delete(self, key: str) -> None:
        """Delete a package if it is there."""
        check_key(key)
        self._is_there()
        path = self.root / key
        with self._translated(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def recall(self, keys: Iterable[str]) -> Recall:
        """Do nothing: all that is here can be opened. Raises NotFound."""
        wanted = tuple(keys)
        for key in wanted:
            self.stat(key)
        return Recall("", wanted)

    def recalled(self, recall: Recall) -> RecallStatus:
        """All is ready."""
        return RecallStatus(frozenset(recall.keys))

    def _fill(self, fd: int, key: str, source: BinaryIO, size: int, digest: str) -> None:
        # What the source raises is not ours and passes through.
        hasher = blake3.blake3()
        done = 0
        while chunk := source.read(_BLOCK):
            done += len(chunk)
            if done > size:
                break
            hasher.update(chunk)
            with self._translated(key, size):
                write_all(fd, chunk)
        if done != size:
            raise IntegrityError(
                what=f"{key} should have {size} bytes; its source has {'more' if done > size else done}."
            )
        if hasher.hexdigest() != digest:
            raise DigestMismatch(name=key)

    def _publish(self, temporary: Path, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A hard link is the portable rename that does not replace.
        os.link(temporary, path)
        folder = path.parent
        while folder != self.root:
            _sync_folder(folder)
            folder = folder.parent
        _sync_folder(self.root)

    def _walk(self, folder: str, prefix: str) -> Iterator[Stored]:
        with self._translated(folder), os.scandir(self.root / folder) as entries:
            # "a-b" comes before "a/b", so folders are sorted with the slash that their keys have.
            found = sorted(
                f"{folder}{entry.name}/" if entry.is_dir() else f"{folder}{entry.name}"
                for entry in entries
                if not entry.name.startswith(".")
            )
        for key in found:
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key, prefix)
            elif key.startswith(prefix):
                # It may have been deleted since the folder was read, or be a foreign file under a name that is no key.
                with contextlib.suppress(NotFound, InvalidInput):
                    yield self.stat(key)

    def _is_there(self) -> None:
        if not (self.root / _MARKER).is_file():
            raise OperatorNeeded(what=f"The store {self._name} at {self.root} cannot be reached: it has no {_MARKER}.")

    def _sweep(self) -> None:
        with self._translated(""), os.scandir(self.root / _INCOMING) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError, BlockingIOError):
                    if entry.stat().st_mtime < time.time() - _STALE:
                        with open(entry.path, "rb") as file:
                            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                            os.unlink(entry.path)

    @contextlib.contextmanager
    def _translated(self, key: str, needed: int = 0) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(kind=f"package in {self._name}", name=key) from error
        except FileExistsError as error:
            raise Conflict(what=f"{key} exists already in {self._name}.") from error
        except NotADirectoryError as error:
            raise Conflict(what=f"{key} is below another package of {self._name}.") from error
        except OSError as error:
            raise self._failed(error, needed) from error

    def _failed(self, error: OSError, needed: int) -> HoldfastError:
        if error.errno in _NO_ROOM:
            with contextlib.suppress(OSError):
                room = os.statvfs(self.root)
                return NoSpace(area=f"Store {self._name}", needed=needed, free=room.f_bavail * room.f_frsize)
        why = error.strerror or str(error)
        if error.errno in _NOT_THE_MEDIUM:
            return TransientError(what=f"Store {self._name} could not be used: {why}.")
        return MediumFailed(medium=f"Store {self._name}", why=why)


class _Range(io.RawIOBase):
    """Bytes `start` to `end` of an open file."""

    def __init__(self, fd: int, key: str, start: int, end: int) -> None:
        self._fd = fd
        self._key = key
        self._start = start
        self._end = end
        self._at = start

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes, within the range."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place in the range, in bytes from its begin, here or its end."""
        origin = {os.SEEK_SET: self._start, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        self._at = max(origin + offset, self._start)
        return self._at - self._start

    def tell(self) -> int:
        """Where we are, in bytes from the begin of the range."""
        return self._at - self._start

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read what is there. Raises MediumFailed."""
        view = memoryview(buffer)[: max(self._end - self._at, 0)]
        if not view:
            return 0
        try:
            count = os.preadv(self._fd, [view], self._at)
        except OSError as error:
            raise MediumFailed(medium=f"The store of {self._key}", why=error.strerror) from error
        self._at += count
        return count

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._fd)
        super().close()


def _remember(fd: int, digest: str) -> None:
    # File systems without extended attributes cannot remember; then `stat` has no digest.
    with contextlib.suppress(OSError):
        os.setxattr(fd, _DIGEST, digest.encode())


def _stored(path: Path, key: str) -> Stored:
    digest: str | None = None
    size = path.stat().st_size
    with contextlib.suppress(OSError):
        digest = os.getxattr(path, _DIGEST).decode("ascii", "replace")
    return Stored(key, size, digest)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
