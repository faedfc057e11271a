# SPDX-License-Identifier: Apache-2.0
"""What is this file? Says of a package, or of what is left of one, who it is and whether it is whole.

Needs no catalogue. Also understands what a full recovery of LTFS leaves: nameless pieces in the order of their blocks
on tape, `partition1_block20_524288bytes`, which are parts of the package whose beginning stands before them.
"""

from __future__ import annotations

import bisect
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

from holdfast.errors import Damaged, HoldfastError, IntegrityError, NotAPackage, UsageError
from holdfast.model.names import SIDECAR, sidecar_name
from holdfast.packaging import layout
from holdfast.packaging.check import Finding, blake3_of, check_package
from holdfast.packaging.identity import Identity
from holdfast.packaging.plain import read_sidecar
from holdfast.packaging.reader import FileSource, Package, Source, identify, open_package
from holdfast.packaging.tapemanifest import Head, Manifest, is_manifest

_PIECE: Final = re.compile(r"partition(\d+)_block(\d+)_(\d+)bytes")


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was found out about one file, or about one row of pieces."""

    name: str
    size: int  # bytes
    pieces: int = 1  # files that it consists of
    identity: Identity | None = None  # None: it is not a package of ours
    whole: bool = False  # its end is there and fits its beginning
    why: str = ""  # it is no package, or not whole
    files: int = 0  # as its own listing says; 0 when it is not whole
    folders: int = 0  # empty ones
    links: int = 0
    payload: int = 0  # bytes of the files
    checked: bool = False  # every digest was compared
    findings: Sequence[Finding] = field(default_factory=tuple)
    manifest: Head | None = None  # it is the manifest of a tape
    packages: int = 0  # that a manifest names


class _Piece(NamedTuple):
    partition: int
    block: int
    size: int  # bytes
    path: Path


class JoinedSource:
    """Files that are one package when they are put together; a `Source`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Use the files in this order. Raises NotAPackage when one cannot be read."""
        self.name = str(paths[0])
        self._paths = paths
        try:
            sizes = [path.stat().st_size for path in paths]
        except OSError as error:
            raise NotAPackage(name=self.name, why=error.strerror or str(error)) from error
        self._begins = [0, *accumulate(sizes)]
        self.size = self._begins[-1]

    def read(self, offset: int, length: int | None) -> Iterator[bytes]:
        """Yield `length` bytes from `offset` in chunks; None: up to the end. Raises Damaged when reading fails."""
        end = self.size if length is None else min(offset + length, self.size)
        number = bisect.bisect_right(self._begins, offset) - 1
        while offset < end:
            begin, stop = self._begins[number], min(self._begins[number + 1], end)
            try:
                # Opened each time: a package of 64 GB has 122,000 pieces.
                with self._paths[number].open("rb") as file:
                    file.seek(offset - begin)
                    chunk = file.read(stop - offset)
            except OSError as error:
                raise Damaged(name=str(self._paths[number]), why=error.strerror or str(error)) from error
            if chunk:
                yield chunk
            offset, number = stop, number + 1


def inspect(path: Path, *, deep: bool = False) -> Iterator[Inspected]:
    """Yield what is known of a file, or of each file below a folder, by name; `deep` compares every digest.

    What cannot be read, or is no package, is a result and raises nothing.
    """
    if not path.is_dir():
        plain = _plain_of(path)
        yield (_plain(path.name, *plain, deep=deep) if plain else _told(path.name, path, deep=deep))
        return
    pieces: list[_Piece] = []
    for file in _files(path):
        if plain := _plain_of(file):
            if file == plain[0] or not plain[0].exists():  # of the two, the sidecar is told only where it is alone
                yield _plain(str(file.relative_to(path)), *plain, deep=deep)
        elif match := _PIECE.fullmatch(file.name):
            pieces.append(_Piece(int(match[1]), int(match[2]), int(match[3]), file))
        else:
            yield _told(str(file.relative_to(path)), file, deep=deep)
    for row in _rows(sorted(pieces)):
        name = str(row[0].relative_to(path))
        yield _inspected(name, partial(_joined, row), pieces=len(row), deep=deep)


def _told(name: str, file: Path, *, deep: bool) -> Inspected:
    return _manifest(name, file) if is_manifest(file.name) else _inspected(name, partial(FileSource, file), deep=deep)


def _manifest(name: str, file: Path) -> Inspected:
    """Tell of the manifest of a tape, which is read whole."""
    found = Inspected(name, 0)
    try:
        with FileSource(file) as source:
            found = replace(found, size=source.size)
            manifest = Manifest(source.read(0, None), name)
            found = replace(found, manifest=manifest.head)
            for listed in manifest.packages():
                files = 1 if listed.sidecar else sum(packed.entry.kind == "file" for packed in manifest.members())
                found = replace(found, packages=found.packages + 1, files=found.files + files)
            found = replace(found, whole=True)
    except (IntegrityError, UsageError) as error:
        found = replace(found, why=str(error.details.get("why", error)))
    return found


def _plain_of(file: Path) -> tuple[Path, Path] | None:
    """Return (file, sidecar) of the plain package to which a file belongs, None when it does to none."""
    beside = file.with_name(sidecar_name(file.name))
    if beside.is_file():
        return file, beside
    return (file.with_name(file.name[: -len(SIDECAR)]), file) if file.name.endswith(SIDECAR) else None


def _plain(name: str, file: Path, sidecar: Path, *, deep: bool) -> Inspected:
    """Tell of a plain package, which says in its sidecar what it is."""
    found = Inspected(name, 0)
    try:
        with FileSource(sidecar) as source:
            said = read_sidecar(source)
        kinds = Counter(packed.entry.kind for packed in said.members)
        found = replace(
            found, identity=said.identity, files=kinds["file"], folders=kinds["directory"], links=kinds["link"],
            payload=said.size,
        )  # fmt: skip
        with FileSource(file) as source:
            found = replace(found, size=source.size, whole=source.size == said.size)
            if not found.whole:
                return replace(found, why=f"it has {source.size} bytes, its sidecar says {said.size}")
            if deep:
                wrong = blake3_of(source.read(0, None)) != said.digest
                findings = (
                    (Finding("digest-mismatch", name, "it has not the BLAKE3 that its sidecar says"),) if wrong else ()
                )
                found = replace(found, checked=True, findings=findings)
    except (IntegrityError, UsageError) as error:
        found = replace(found, why=str(error.details.get("why", error)))
    return found


def _joined(paths: Sequence[Path]) -> AbstractContextManager[Source]:
    return nullcontext(JoinedSource(paths))


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder by name; hidden ones, as a library has them, are left out."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(at) / name


def _rows(pieces: Sequence[_Piece]) -> Iterator[list[Path]]:
    """Cut pieces in the order of the tape into rows that each are one file.

    A file ends where blocks are missing, where a package begins, and with a piece that is not a full block.
    """
    full = max((piece.size for piece in pieces), default=0)
    row: list[Path] = []
    for number, piece in enumerate(pieces):
        before = pieces[number - 1]
        follows = (piece.partition, piece.block) == (before.partition, before.block + 1) and before.size == full
        if row and (not follows or _begins_package(piece.path)):
            yield row
            row = []
        row.append(piece.path)
    if row:
        yield row


def _begins_package(path: Path) -> bool:
    """Say whether a piece begins with the beginning of a package; its first frame is far smaller than a block."""
    try:
        with FileSource(path) as source:
            if b"".join(source.read(0, len(layout.ZSTD_MAGIC))) != layout.ZSTD_MAGIC:
                return False
            identify(source)
    except HoldfastError:
        return False
    return True


def _inspected(
    name: str, opened: Callable[[], AbstractContextManager[Source]], *, deep: bool, pieces: int = 1
) -> Inspected:
    found = Inspected(name, 0, pieces)
    try:
        with opened() as source:
            found = replace(found, size=source.size)
            found = replace(found, identity=identify(source))
            found = _counted(found, open_package(source))
            if deep:
                found = replace(found, checked=True, findings=tuple(check_package(source)))
    except (IntegrityError, UsageError) as error:
        found = replace(found, why=str(error.details.get("why", error)))
    return found


def _counted(found: Inspected, package: Package) -> Inspected:
    """Count what a whole package lists; a file in parts counts where its first part is."""
    entries = [packed.entry for packed in package.listing()]
    kinds = Counter(entry.kind for entry in entries if entry.part is None or entry.part.number == 1)
    payload = sum(entry.size for entry in entries)
    return replace(
        found, whole=True, files=kinds["file"], folders=kinds["directory"], links=kinds["link"], payload=payload
    )
