# SPDX-License-Identifier: Apache-2.0
"""Many small files in one call: a tar in the body of an upload, of which each member is added or refused by itself (P10).

Links and empty folders come so too. A link is recorded as it is; where it leads, if anywhere, nobody looks.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

from blake3 import blake3

from holdfast.errors import InvalidInput, NoSpace
from holdfast.model.entry import Kind
from holdfast.model.names import printable
from holdfast.services.archive import Archive
from holdfast.services.landing import Outcome, incoming, land
from holdfast.services.placing import LATEST, PERMISSIONS, Arrived
from holdfast.services.uploads import Receiving, check_path

NAME: Final = b"a batch of files"  # what the upload of a batch is called while it is under way
_MOST_FILES: Final = 10_000
MOST_BYTES: Final = 256 << 20  # of the tar
_BLOCK: Final = 1 << 20  # bytes
_LONGEST_TARGET: Final = 4095  # bytes; PATH_MAX of Linux without its NUL
_TOP: Final = frozenset({b"", b"."})  # the folder of which a tar was made
_NS: Final = 1_000_000_000


def add_all(receiving: Receiving) -> list[Outcome]:
    """Add the files of the tar that was received to its dataset, and say what became of each.

    Raises InvalidInput (it is no tar, has too many members, or devices and the like), Conflict, NoSpace.
    """
    archive, row = receiving.archive, receiving.row
    taken: list[Path] = []
    try:
        arrived: list[Arrived] = []
        refused: list[Outcome] = []
        for item in _unpacked(archive, receiving.ident, taken):
            if isinstance(item, Outcome):
                refused.append(item)
            else:
                arrived.append(item)
        outcomes = land(archive, person=row["person"], dataset=row["dataset"], arrived=arrived, upload=row)
        return [*outcomes, *refused]
    finally:
        for file in taken:
            file.unlink(missing_ok=True)


def _unpacked(archive: Archive, ident: str, taken: list[Path]) -> Iterator[Arrived | Outcome]:
    """Yield each file of the tar, written beside it; nothing in the tar decides where that is."""
    try:
        with tarfile.open(incoming(archive, ident), "r:") as tar:
            for number, member in enumerate(tar):
                if number >= _MOST_FILES:
                    raise InvalidInput(what=f"A batch holds at most {_MOST_FILES} files.")
                path = os.fsencode(member.name)
                if member.isdir() and path in _TOP:
                    continue
                if member.issym() or member.isdir():
                    yield _bodiless(member, path)
                    continue
                if not member.isreg() or member.issparse():  # what is sparse may be larger than all that was sent
                    raise InvalidInput(
                        what=f"{printable(path)} in the batch is no file, link or folder, or a sparse file."
                    )
                file = incoming(archive, f"{ident}.{number}")
                taken.append(file)
                arrived = Arrived(file, path, member.size, _mtime_ns(member), b"", mode=member.mode & PERMISSIONS)
                try:
                    check_path(path)
                except InvalidInput as error:
                    yield Outcome(arrived, error=error)
                    continue
                yield _written(tar, member, arrived)
    except (tarfile.TarError, EOFError) as error:
        raise InvalidInput(what=f"The body is not a whole tar: {error}.") from error


def _bodiless(member: tarfile.TarInfo, path: bytes) -> Arrived | Outcome:
    """Return a link or a folder, or why it cannot be added."""
    target = os.fsencode(member.linkname) if member.issym() else b""
    kind: Kind = "link" if member.issym() else "directory"
    arrived = Arrived(Path(), path, 0, _mtime_ns(member), blake3(target).digest(), kind, target)
    if kind == "link" and (not 0 < len(target) <= _LONGEST_TARGET or b"\0" in target):
        return Outcome(
            arrived, error=InvalidInput(what=f"{printable(path)} is a link to what no file system could hold.")
        )
    try:
        check_path(path)
    except InvalidInput as error:
        return Outcome(arrived, error=error)
    return arrived


def _written(tar: tarfile.TarFile, member: tarfile.TarInfo, arrived: Arrived) -> Arrived:
    content = tar.extractfile(member)
    hasher, size = blake3(), 0
    try:
        descriptor = os.open(arrived.file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            while content and (block := content.read(_BLOCK)):
                hasher.update(block)
                size += file.write(block)
    except OSError as error:
        raise NoSpace(area=arrived.file.parent, needed=member.size, free=0) from error
    if size != member.size:
        raise InvalidInput(what=f"{printable(arrived.path)} in the batch is cut off.")
    return replace(arrived, blake3=hasher.digest())


def _mtime_ns(member: tarfile.TarInfo) -> int:
    """Return the time of modification; floats, as which tarfile gives it, have no nanoseconds."""
    try:
        told = int(Decimal(member.pax_headers.get("mtime", str(int(member.mtime)))) * _NS)
        return max(min(told, LATEST), -LATEST)
    except (InvalidOperation, ValueError, OverflowError):
        return 0
