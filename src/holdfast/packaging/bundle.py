# SPDX-License-Identifier: Apache-2.0
"""Folders and selections as one stream, made while it is read: tar or zip, with the checksums of its files at the end.

All is below one folder, and beside it stands `NAME.sha512`, so that `sha512sum -c NAME.sha512` works where the stream was
unpacked. Every file is compared with its checksum on its way: one that is not right any more ends the stream before its
end, which every reader of tar and zip notices. Memory does not grow with the files, but for the directory of a zip.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final

from holdfast.errors import DigestMismatch, SourceChanged
from holdfast.model.entry import Packed
from holdfast.model.names import printable

_CHUNK: Final = 1 << 20  # bytes
_LINES: Final = 1000  # some 200 KB
_FIRST_YEAR: Final = 315532800  # seconds; zip knows no time before 1980
_LAST_YEAR: Final = 4354819198  # nor after 2107

# Walks the entries, each with its dataset; called more than once, so that nothing has to be kept.
Entries = Callable[[], Iterable[tuple[str, Packed]]]
# Yields a descriptor of a dataset's file, as it was archived.
Opener = Callable[[str, Packed], AbstractContextManager[int]]


def checksums(
    entries: Iterable[tuple[str, Packed]], *, folder: bytes = b"", named: Callable[[bytes], bytes] = lambda path: path
) -> Generator[bytes, None, None]:
    """Yield a line for each file, as `sha512sum -c` reads them; many at a time.

    `folder` stands before each path, and `named` says how that is written.
    """
    lines = _lines(entries, folder, named)
    while some := b"".join(islice(lines, _LINES)):
        yield some


def _lines(entries: Iterable[tuple[str, Packed]], folder: bytes, named: Callable[[bytes], bytes]) -> Iterator[bytes]:
    for _, packed in entries:
        if packed.entry.kind != "file":
            continue
        path = (folder + b"/" if folder else b"") + named(packed.entry.path)
        escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
        # GNU coreutils: a line that begins with a backslash has escapes in its name.
        yield (b"\\" if escaped != path else b"") + packed.file_digest.hex().encode() + b"  " + escaped + b"\n"


def tar(name: str, entries: Entries, opened: Opener) -> Generator[bytes, None, None]:
    """Yield a tar of GNU format, which takes any name and size. Raises DigestMismatch, SourceChanged, SourceUnreadable."""
    folder = name.encode()
    for dataset, packed in entries():
        entry = packed.entry
        info = tarfile.TarInfo((folder + b"/" + entry.path).decode("utf-8", "surrogateescape"))
        info.mtime, info.mode = entry.mtime_ns // 10**9, entry.mode & 0o777
        if entry.kind == "file":
            info.size = packed.entry.file_size
        else:
            info.type = tarfile.SYMTYPE if entry.kind == "link" else tarfile.DIRTYPE
            info.linkname = entry.target.decode("utf-8", "surrogateescape")
        yield _header(info)
        if info.size:
            yield from _content(dataset, packed, opened)
            yield _padding(info.size)
    info = tarfile.TarInfo(f"{name}.sha512")
    info.size, info.mtime = sum(map(len, checksums(entries(), folder=folder))), time.time()
    yield _header(info)
    yield from checksums(entries(), folder=folder)
    yield _padding(info.size)
    yield bytes(2 * tarfile.BLOCKSIZE)


def zipped(name: str, entries: Entries, opened: Opener) -> Generator[bytes, None, None]:
    """Yield a zip without compression. Raises as `tar`.

    Names that no zip can have are written as they are shown, and backslashes twice, so that no two files get one name.
    """
    out = _Taken()
    with zipfile.ZipFile(out, "w") as archive:
        for dataset, packed in entries():
            entry = packed.entry
            shown = f"{name}/{_zip_name(entry.path).decode()}"
            at = min(max(entry.mtime_ns // 10**9, _FIRST_YEAR), _LAST_YEAR)
            info = zipfile.ZipInfo(shown + "/" * (entry.kind == "directory"), time.gmtime(at)[:6])
            kind = {"file": stat.S_IFREG, "link": stat.S_IFLNK, "directory": stat.S_IFDIR}[entry.kind]
            info.external_attr = (kind | entry.mode & 0o777) << 16
            info.file_size = packed.entry.file_size if entry.kind == "file" else len(entry.target)
            with archive.open(info, "w") as file:
                for chunk in _content(dataset, packed, opened) if entry.kind == "file" else [entry.target]:
                    file.write(chunk)
                    yield out.take()
        with archive.open(f"{name}.sha512", "w", force_zip64=True) as file:
            for line in checksums(entries(), folder=name.encode(), named=_zip_name):
                file.write(line)
            yield out.take()
    yield out.take()


def _zip_name(path: bytes) -> bytes:
    return printable(path.replace(b"\\", b"\\\\")).encode()


class _Taken(io.RawIOBase):
    """What a writer has written since one looked last; it cannot be sought, as a connection cannot."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]
        self._pieces.append(piece)
        return len(piece)

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def _content(dataset: str, packed: Packed, opened: Opener) -> Iterator[bytes]:
    """Yield the bytes of a file; all of them were right when it ends."""
    sha, left = hashlib.sha512(), packed.entry.file_size
    with opened(dataset, packed) as descriptor:
        while left:
            chunk = os.read(descriptor, min(_CHUNK, left))
            if not chunk:
                raise SourceChanged(path=printable(packed.entry.path), what="became shorter")
            sha.update(chunk)
            left -= len(chunk)
            if not left and sha.digest() != packed.file_digest:
                raise DigestMismatch(name=printable(packed.entry.path))
            yield chunk
