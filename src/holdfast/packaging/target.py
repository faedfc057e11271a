# SPDX-License-Identifier: Apache-2.0
"""The folder that files are delivered into: no existing link is followed, nothing existing is overwritten."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from holdfast.errors import Conflict, DigestMismatch, HoldfastError, MediumFailed, NoSpace, NotAllowed, NotFound
from holdfast.model.entry import ACL, Entry, Packed
from holdfast.model.names import printable
from holdfast.packaging.folders import enter, open_folder
from holdfast.writing import write_all

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PARTS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE: Final = bytes(64 << 10)
_READ_SIZE: Final = 1 << 20
_WORTH_WRITING: Final = 256 << 10  # bytes; below, the call costs more than it brings
_NO_REPLACE: Final = 1  # RENAME_NOREPLACE
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_UNNAMED = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})  # NFS, old kernels
_IN_THE_WAY = frozenset({errno.EEXIST, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENOTEMPTY})
_libc = ctypes.CDLL(None, use_errno=True)


class TargetFolder:
    """Makes folders, files and links below one root; keeps the last folder open. One per thread."""

    def __init__(self, root: Path, mark: str, *, preserve_owner: bool) -> None:
        """Use the folder `root`, made when missing; `mark` is part of the names of temporaries."""
        self.area = str(root)
        self._preserve_owner = preserve_owner
        self._mark = mark
        self._count = itertools.count()
        self._unnamed = True  # until the file system says that it has no files without a name
        self._last: bytes = b""
        self._fd = -1
        self._root = -1
        with self._told(os.fsencode(root)):
            self._root = open_folder(root, create=True)

    def close(self) -> None:
        """Close what is open."""
        self._forget()
        os.close(self._root)

    def make_durable(self) -> None:
        """Flush the file system of the target, once for all files."""
        if _libc.syncfs(self._root):
            os.sync()

    # ---- what is there ----

    def found(self, packed: Packed) -> bool:
        """Tell whether the file, or this part of it, is delivered already. Raises Conflict when its name is taken."""
        entry = packed.entry
        if entry.part:
            return self._holds(entry.path, entry.whole_size, entry.part.offset, entry.size, packed.location.digest)
        return self._holds(entry.path, entry.size, 0, entry.size, packed.location.digest)

    def _holds(self, path: bytes, whole: int, offset: int, size: int, digest: bytes) -> bool:
        try:
            fd = self._open_existing(path)
        except FileNotFoundError:
            return False
        try:
            same = os.fstat(fd).st_size == whole and _digest(fd, offset, size) == digest
        finally:
            os.close(fd)
        if not same:
            raise self._in_the_way(path)
        return True

    def _open_existing(self, path: bytes) -> int:
        folder, _, name = path.rpartition(b"/")
        try:
            fd = self._folder(folder, create=False)
            regular = stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            if regular:
                return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=fd)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._failure(error, path) from error
        raise self._in_the_way(path)

    # ---- files ----

    def write_file(self, entry: Entry, pieces: Iterator[memoryview], check: Callable[[], bool]) -> None:
        """Write a file without a name, and give it its own one when `check` says that the content is right.

        Raises DigestMismatch when it is not, Conflict, NotAllowed, NoSpace, MediumFailed, and what `pieces` raises.
        """
        folder, _, name = entry.path.rpartition(b"/")
        with self._told(entry.path):
            parent = self._folder(folder, create=True)
            fd, temporary = self._new_file(parent)
            try:
                _write(fd, pieces, 0, sparse=entry.sparse)
                _require(entry, check)
                if entry.sparse:
                    os.ftruncate(fd, entry.size)
                self._dress(fd, entry)
                if entry.size >= _WORTH_WRITING:
                    # Starts writing to the disk while the next files are decoded, instead of all at once at the end.
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                if temporary:
                    _rename_new(parent, temporary, name)
                else:
                    os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=parent, follow_symlinks=True)
            except BaseException:
                if temporary:
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=parent)
                raise
            finally:
                os.close(fd)

    def _new_file(self, parent: int) -> tuple[int, bytes]:
        """Return a new file and its temporary name, b"" when it has none: then a killed delivery leaves nothing."""
        if self._unnamed:
            try:
                return os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=parent), b""
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
                self._unnamed = False
        temporary = f".holdfast-{self._mark}{next(self._count):x}.part".encode()
        return os.open(temporary, _NEW, 0o600, dir_fd=parent), temporary

    def write_part(self, entry: Entry, pieces: Iterator[memoryview], check: Callable[[], bool]) -> None:
        """Write one part at its place in the file that collects the parts; `join` gives that its final name."""
        assert entry.part is not None  # noqa: S101 the caller asks for entries with parts only
        folder, _, _ = entry.path.rpartition(b"/")
        with self._told(entry.path):
            fd = os.open(_parts_name(entry.path), _PARTS, 0o600, dir_fd=self._folder(folder, create=True))
            try:
                _write(fd, pieces, entry.part.offset, sparse=False)
                _require(entry, check)
            finally:
                os.close(fd)

    def join(self, entry: Entry, digest: bytes) -> None:
        """Check a file whose parts are all there and give it its final name.

        Raises NotFound when no part was delivered, DigestMismatch when one is missing or wrong.
        """
        if self._holds(entry.path, entry.whole_size, 0, entry.whole_size, digest):
            return
        folder, _, name = entry.path.rpartition(b"/")
        with self._told(entry.path):
            parent = self._folder(folder, create=True)
            try:
                fd = os.open(_parts_name(entry.path), _PARTS & ~os.O_CREAT, dir_fd=parent)
            except FileNotFoundError as error:
                raise NotFound(kind="delivered part of", name=printable(entry.path)) from error
            try:
                if os.fstat(fd).st_size != entry.whole_size or _digest(fd, 0, entry.whole_size) != digest:
                    raise DigestMismatch(name=printable(entry.path))
                self._dress(fd, entry)
                os.fsync(fd)
                _rename_new(parent, _parts_name(entry.path), name)
            finally:
                os.close(fd)

    def _dress(self, fd: int, entry: Entry) -> None:
        """Give a file its attributes. A file system without extended attributes gets the file without them."""
        mode = entry.mode & 0o1777
        if self._preserve_owner:
            os.fchown(fd, entry.uid, entry.gid)
            mode = entry.mode  # set-user-id means something only together with the owner
        for key, value in entry.xattrs:
            if key != ACL:
                with contextlib.suppress(OSError):
                    os.setxattr(fd, key, value)
        os.fchmod(fd, mode)
        acl = dict(entry.xattrs).get(ACL)
        if acl is not None and self._preserve_owner:
            os.setxattr(fd, ACL, acl)  # after the mode, whose group bits are its mask
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    # ---- folders and links ----

    def make_folder(self, entry: Entry) -> None:
        """Make an empty folder. Raises Conflict when its name is taken by something else."""
        with self._told(entry.path):
            fd = self._folder(entry.path, create=True)
            self._dress(fd, entry)

    def make_link(self, entry: Entry) -> None:
        """Make a link, or find it there. Raises Conflict when its name is taken by something else."""
        folder, _, name = entry.path.rpartition(b"/")
        with self._told(entry.path):
            fd = self._folder(folder, create=True)
            try:
                os.symlink(entry.target, name, dir_fd=fd)
            except FileExistsError:
                if _link_target(name, fd) != entry.target:
                    raise
                return
            if self._preserve_owner:
                os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)

    def _folder(self, path: bytes, *, create: bool) -> int:
        """Return a descriptor of a folder, valid until the next call; no component may be a link."""
        if not path:
            return self._root
        if self._fd >= 0 and path == self._last:
            return self._fd
        self._forget()
        at = self._root
        for component in path.split(b"/"):
            try:
                below = enter(component, at, create=create)
            finally:
                if at != self._root:
                    os.close(at)
            at = below
        self._fd, self._last = at, path
        return at

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    # ---- errors ----

    @contextlib.contextmanager
    def _told(self, path: bytes) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error, path) from error

    def _failure(self, error: OSError, path: bytes) -> HoldfastError:
        if error.errno in _FULL:
            found = os.statvfs("/" if self._root < 0 else self._root)
            return NoSpace(area=self.area, needed=1, free=found.f_bavail * found.f_frsize)
        if error.errno in _IN_THE_WAY:
            return self._in_the_way(path)
        if error.errno in _DENIED:
            return NotAllowed(action=f"write {printable(path)} in {self.area}")
        return MediumFailed(medium=f"{self.area}, {printable(path)}", why=error.strerror or str(error))

    def _in_the_way(self, path: bytes) -> Conflict:
        return Conflict(what=f"{printable(path)} cannot be delivered to {self.area}: something else has that name.")


def _require(entry: Entry, check: Callable[[], bool]) -> None:
    if not check():
        raise DigestMismatch(name=printable(entry.path))


def _write(fd: int, pieces: Iterator[memoryview], at: int, *, sparse: bool) -> None:
    for piece in pieces:
        if not sparse:
            write_all(fd, piece, at)
        else:
            for start in range(0, len(piece), len(_HOLE)):
                block = bytes(piece[start : start + len(_HOLE)])
                if block != _HOLE[: len(block)]:
                    write_all(fd, block, at + start)
        at += len(piece)


def _rename_new(folder: int, old: bytes, new: bytes) -> None:
    """Rename within a folder; raises FileExistsError instead of replacing anything."""
    if not _libc.renameat2(folder, old, folder, new, _NO_REPLACE):
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code))
    # A file system without that call: a hard link does not replace either.
    os.link(old, new, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    os.unlink(old, dir_fd=folder)


def _link_target(name: bytes, folder: int) -> bytes | None:
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def _digest(fd: int, offset: int, size: int) -> bytes:
    sha = hashlib.sha512()
    while size and (piece := os.pread(fd, min(size, _READ_SIZE), offset)):
        sha.update(piece)
        offset, size = offset + len(piece), size - len(piece)
    return sha.digest()


def _parts_name(path: bytes) -> bytes:
    return b".holdfast-%s.parts" % hashlib.sha512(path).hexdigest()[:16].encode()
