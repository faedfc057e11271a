# SPDX-License-Identifier: Apache-2.0
"""Reading the file list of a source folder, in path order, with memory for one folder at a time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import closing
from itertools import zip_longest
from typing import Final, NoReturn

from holdfast.errors import SourceChanged, SourceUnreadable, UnsupportedFile
from holdfast.model.entry import ACL, Entry, Kind
from holdfast.model.names import printable
from holdfast.packaging.folders import enter
from holdfast.packaging.sources import SourceFolder, opened_root

_BLOCK: Final = 512  # bytes; the unit of st_blocks
_NAMED: Final = 20  # offenders that are named in an error
_KINDS: Final = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


def scan(root: bytes) -> Iterator[Entry]:
    """Yield everything below `root` in path order; links are not followed, empty folders are entries.

    Raises SourceUnreadable, SourceChanged, UnsupportedFile (after the whole walk, with all offenders).
    """
    with opened_root(root) as descriptor, closing(SourceFolder(descriptor)) as source:
        yield from _walked(source)


def _walked(source: SourceFolder) -> Iterator[Entry]:
    offenders: list[tuple[bytes, str]] = []
    pending = [_sorted(source, b"", offenders)]
    while pending:
        for path, found in pending[-1]:
            if stat.S_ISREG(found.st_mode):
                yield _entry(source, path, found, "file")
            elif stat.S_ISDIR(found.st_mode):
                content = _sorted(source, path, offenders)
                first = next(content, None)
                if first is None:
                    yield _entry(source, path, found, "directory")
                else:
                    pending.append(_with(first, content))
                    break
            else:
                yield _entry(source, path, found, "link")
        else:
            pending.pop()
    if offenders:
        names = ", ".join(printable(path) for path, _ in offenders[:_NAMED])
        more = f" and {len(offenders) - _NAMED} more" if len(offenders) > _NAMED else ""
        raise UnsupportedFile(path=names + more, what=" or ".join(sorted({what for _, what in offenders})))


def _with(
    first: tuple[bytes, os.stat_result], rest: Iterator[tuple[bytes, os.stat_result]]
) -> Iterator[tuple[bytes, os.stat_result]]:
    yield first
    yield from rest


def _sorted(
    source: SourceFolder, folder: bytes, offenders: list[tuple[bytes, str]]
) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield (path, status) of a folder's content, so that all paths come in the order of their bytes.

    A folder sorts as if its name ended in "/", for what is in it does; one without content is a path itself.
    """
    try:
        at = source.folder(folder)
        with os.scandir(at) as found:
            names = {os.fsencode(item.name): item.stat(follow_symlinks=False) for item in found}
        ordered = sorted(names)
        folders = {name for name, status in names.items() if stat.S_ISDIR(status.st_mode)}
        if folders:
            places = {
                name: _place(at, name, following) if name in folders else name
                for name, following in zip_longest(ordered, ordered[1:], fillvalue=b"")
            }
            ordered.sort(key=places.__getitem__)
    except OSError as error:
        _raise(folder or b".", error)
    prefix = folder + b"/" if folder else b""
    for name in ordered:
        path, status = prefix + name, names[name]
        if not stat.S_ISREG(status.st_mode) and (what := _KINDS.get(stat.S_IFMT(status.st_mode))):
            offenders.append((path, what))
        else:
            yield path, status


def _place(above: int, name: bytes, following: bytes) -> bytes:
    """Return what a folder sorts by; whether it has content matters only when `following` sorts before NAME/."""
    if name < following < name + b"/":
        folder = enter(name, above, create=False)
        try:
            with os.scandir(folder) as content:
                if next(content, None) is None:
                    return name
        finally:
            os.close(folder)
    return name + b"/"


def _raise(path: bytes, error: OSError) -> NoReturn:
    if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
        raise SourceChanged(path=printable(path), what="vanished") from error
    raise SourceUnreadable(path=printable(path), why=os.strerror(error.errno or errno.EIO)) from error


def _entry(source: SourceFolder, path: bytes, found: os.stat_result, kind: Kind) -> Entry:
    folder, _, name = path.rpartition(b"/")
    target = b""
    xattrs: tuple[tuple[str, bytes], ...] = ()
    try:
        at = source.folder(folder)
        if kind == "link":
            target = os.readlink(name, dir_fd=at)
        else:
            xattrs = _xattrs(b"/proc/self/fd/%d/%s" % (at, name))
    except OSError as error:
        _raise(path, error)
    size = found.st_size if kind == "file" else 0
    sparse = kind == "file" and found.st_blocks * _BLOCK < size
    mode = stat.S_IMODE(found.st_mode)
    return Entry(
        path, kind, size, found.st_mtime_ns, mode, found.st_uid, found.st_gid, target, sparse, xattrs=xattrs
    )  # fmt: skip


def _xattrs(full: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return the user's extended attributes and the access list; file systems without any have none."""
    try:
        names = os.listxattr(full, follow_symlinks=False)
        if not names:  # nearly always
            return ()
        return tuple(
            (name, os.getxattr(full, name, follow_symlinks=False))
            for name in sorted(names)
            if name.startswith("user.") or name == ACL
        )
    except OSError as error:
        if error.errno in {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA}:
            return ()
        raise
