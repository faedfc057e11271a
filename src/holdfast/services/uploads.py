# SPDX-License-Identifier: Apache-2.0
"""Bytes on their way into an open dataset: one upload is one file, received by one writer at a time.

Its bytes go into `landing/.incoming/UPLOAD`. Room is promised and the limits of the profile are asked before they move. How many
count is in the catalogue, and only after they are durable: what the file holds beyond is cut off before the next ones,
so that a resumed upload has the same bytes wherever it was killed (P6).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from blake3 import blake3

from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import landed, uploads
from holdfast.crashpoint import crash_point
from holdfast.errors import (
    Busy,
    Conflict,
    InvalidInput,
    LandingFull,
    LostClaim,
    NoSpace,
    NotFound,
    UnfitFile,
    UploadDamaged,
)
from holdfast.model.names import COMPONENT_LIMIT, check_relative, printable
from holdfast.services.archive import Archive, contract
from holdfast.services.landing import incoming, land, open_dataset, start_writing, within
from holdfast.services.placing import USUAL_MODE, Arrived
from holdfast.services.reserve import FILE_COST, release, reserve
from holdfast.writing import write_all

DIGESTS: Final = ("sha256", "sha512", "sha1")  # that a client may send along; sha1, because tus requires it
_PATH_LIMIT: Final = 3000  # bytes: below the 4,096 of Linux, with room for the folder of the dataset
_BRIEF: Final = 24 * 3600.0  # seconds: an upload that is one call; its claim says sooner that it is over
_BLOCK: Final = 4 << 20  # bytes


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> Any: ...
    def digest(self) -> bytes: ...


def check_path(path: bytes) -> None:
    """Refuse a path that no dataset in landing can hold. Raises InvalidInput."""
    check_relative(path)
    if len(path) > _PATH_LIMIT or any(len(part) > COMPONENT_LIMIT for part in path.split(b"/")):
        raise InvalidInput(
            what=f"{printable(path)[:100]}... is too long: {COMPONENT_LIMIT} bytes for each name and {_PATH_LIMIT} for a path."
        )


def admit(archive: Archive, conn: Connection, row: Row, name: str, *, files: int, sizes: Sequence[int]) -> None:
    """Promise room in landing to `name` for so many files, if the profile of the dataset allows them.

    Raises Conflict (a limit of the profile), NoSpace.
    """
    size = sum(sizes)
    under_way = uploads.first(conn, "promised", dataset=row["id"]) or {"files": 0, "bytes": 0}
    within(
        conn, row, files=row["files"] + under_way["files"] + files, size=row["bytes"] + under_way["bytes"] + size,
        largest=max(sizes, default=0),
    )  # fmt: skip
    limit = int(archive.settings.landing.limit)
    there = landed.first(conn, "bytes") or {"bytes": 0, "leaving": 0}
    if limit:
        limit = max(limit - int(there["bytes"]), 1)
    try:
        reserve(archive, conn, name, archive.settings.landing_path, size + files * FILE_COST, limit=limit)
    except NoSpace as error:
        raise LandingFull(**error.details, leaving=there["leaving"]) from error


def begin(
    archive: Archive, *, ident: str, person: str, dataset: str, path: bytes, length: int, mtime_ns: int | None,
    mode: int = USUAL_MODE, metadata: str = "", resumable: bool, reuse: bool = False, origin: bytes | None = None,
    one_file: bool = True,
) -> Row:  # fmt: skip
    """Begin an upload; with `reuse`, return the one that the same person has begun of the same file, unchanged since then.

    Raises NotFound, Conflict (not open, or a limit), InvalidInput (path), NoSpace.
    """
    check_path(path)
    with archive.database.transaction() as conn:
        row = open_dataset(conn, dataset)
        profile = contract(row)
        if one_file and not profile.accepts(path):  # said before its bytes move
            raise UnfitFile(path=printable(path), profile=profile.name, patterns=", ".join(profile.accept))
        same = {
            "dataset": dataset,
            "person": person,
            "path": path,
            "length": length,
            "mtime_ns": mtime_ns,
            "metadata": metadata,
        }
        if reuse and (found := uploads.first(conn, "same", **same)):
            return found
        admit(archive, conn, row, f"upload:{ident}", files=1, sizes=[length])
        keep = archive.settings.landing.keep if resumable else _BRIEF
        made = uploads.first(conn, "insert", id=ident, resumable=resumable, keep=keep, origin=origin, mode=mode, **same)
    if made is None:
        raise NotFound(kind="upload", name=ident)
    return made


def upload_row(archive: Archive, ident: str) -> Row:
    """Return an upload. Raises NotFound, also when it has expired."""
    with archive.database.reading() as conn:
        row = uploads.first(conn, "by_id", id=ident)
    if row is None:
        raise NotFound(kind="upload", name=ident)
    return row


def end(archive: Archive, ident: str) -> None:
    """Forget an upload and what was received of it. Idempotent."""
    with archive.database.transaction() as conn:
        uploads.run(conn, "delete", id=ident)
        release(conn, f"upload:{ident}")
    incoming(archive, ident).unlink(missing_ok=True)


def of_dataset(archive: Archive, dataset: str) -> list[Row]:
    """Return the uploads into a dataset that have not ended."""
    with archive.database.reading() as conn:
        return uploads.all(conn, "of_dataset", dataset=dataset)


class Receiving:
    """One call that brings bytes of an upload; it alone may, as long as it is entered.

    `digests` are those that the bytes of this call must have, by algorithm of hashlib.
    """

    def __init__(self, archive: Archive, ident: str, digests: Mapping[str, bytes] | None = None) -> None:
        self.archive, self.ident = archive, ident
        self.row: Row = {}
        self.received = 0  # bytes in the file that count, or will when they are noted
        self._digests = {
            name: (hashlib.new(name, usedforsecurity=False), wanted) for name, wanted in (digests or {}).items()
        }
        self._whole: _Hasher | None = None  # of the whole file, where this call brings all of it
        self._stack = ExitStack()
        self._fd = -1

    def __enter__(self) -> Self:
        """Claim the upload. Raises Busy."""
        if not self._stack.enter_context(self.archive.database.claim(f"upload:{self.ident}")):
            self._stack.close()
            raise Busy(what="Another call is sending bytes of this upload.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the claim back."""
        if self._fd >= 0:
            os.close(self._fd)
        self._stack.close()

    def open(self, offset: int | None = None) -> None:
        """Take bytes from `offset` on, which must be where the upload is. Raises NotFound, Conflict."""
        with self.archive.database.transaction() as conn:
            row = uploads.first(conn, "claim", id=self.ident)
        self.row = row or upload_row(self.archive, self.ident)
        self.received = self.row["received"]
        if row is not None:
            self._fd = os.open(incoming(self.archive, self.ident), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if (
                os.fstat(self._fd).st_size < self.received
            ):  # what the disk lost, with its power or by hand, does not count
                self._record(0)
        if row is None or offset not in {None, self.received}:
            raise Conflict(
                what=f"This upload is at byte {self.received} of {self.row['length']}. Ask where it is and go on from there."
            )
        os.ftruncate(self._fd, self.received)
        os.lseek(self._fd, self.received, os.SEEK_SET)
        self._whole = None if self.received else blake3()

    def restart(self) -> None:
        """Begin again with the first byte. Raises LostClaim."""
        if self.received:
            self._record(0)
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._whole = blake3()

    def write(self, parts: Sequence[bytes]) -> None:
        """Append bytes. Raises InvalidInput (more than were announced), NoSpace."""
        size = sum(map(len, parts))
        if self.received + size > self.row["length"]:
            raise InvalidInput(what=f"More than the {self.row['length']} bytes that were announced have come.")
        # At once: each call that lets other threads run costs more than copying what the network gave in bits.
        piece = b"".join(parts)
        self._append(piece)
        if self._whole:
            self._whole.update(piece)
        for hasher, _ in self._digests.values():
            hasher.update(piece)
        start_writing(self._fd, self.received, size)
        self.received += size

    def _append(self, part: bytes) -> None:
        try:
            write_all(self._fd, part)
        except OSError as error:
            raise NoSpace(area=self.archive.settings.landing_path, needed=len(part), free=0) from error

    def note(self) -> None:
        """Have what was received count: compare it with its digests, make it durable, record it. Raises UploadDamaged.

        The end is recorded with the arrival only: a client that is told that all has come asks no more.
        """
        wrong = [name for name, (hasher, wanted) in self._digests.items() if hasher.digest() != wanted]
        if wrong:
            os.ftruncate(self._fd, self.row["received"])
            raise UploadDamaged(algorithm=", ".join(wrong))
        os.fdatasync(self._fd)
        crash_point("upload.durable")
        if self.row["resumable"] and self.received < self.row["length"]:
            self._record(self.received)

    def _record(self, received: int) -> None:
        with self.archive.database.transaction() as conn:
            moved = uploads.first(
                conn, "received", id=self.ident, attempt=self.row["attempt"], received=received,
                keep=self.archive.settings.landing.keep,
            )  # fmt: skip
        if moved is None:
            raise LostClaim(what="this upload")
        self.row, self.received = moved, received

    def arrive(self) -> Arrived:
        """Put the file into its dataset when all of it is there.

        Raises Conflict (not all is there, the dataset is not open, or the path has other content). In the last case the
        upload is over; one that the archive fetches stays, with its problem.
        """
        if self.received != self.row["length"]:
            raise Conflict(what=f"{self.received} of {self.row['length']} bytes have come. Send the others first.")
        file, mtime_ns = incoming(self.archive, self.ident), self.row["mtime_ns"]
        if mtime_ns is None:
            mtime_ns = os.fstat(self._fd).st_mtime_ns
        arrived = Arrived(file, bytes(self.row["path"]), self.received, mtime_ns, self._digest(), mode=self.row["mode"])
        (outcome,) = land(
            self.archive, person=self.row["person"], dataset=self.row["dataset"], arrived=[arrived], upload=self.row
        )
        if outcome.error:
            if self.row["origin"] is None:
                end(self.archive, self.ident)
            raise outcome.error
        file.unlink(missing_ok=True)
        return arrived

    def _digest(self) -> bytes:
        """Return the BLAKE3 of the whole file; what earlier calls brought is read again."""
        if self._whole is None:
            self._whole = blake3()
            os.lseek(self._fd, 0, os.SEEK_SET)
            while block := os.read(self._fd, _BLOCK):
                self._whole.update(block)
        return self._whole.digest()


def expires(row: Row) -> datetime:
    """Return when an upload that nobody goes on with is forgotten."""
    found: datetime = row["expires_at"]
    return found


def sweep(archive: Archive) -> None:
    """Remove uploads that expired or whose call died, and files of uploads that nobody knows."""
    folder: Path = archive.settings.landing_path / ".incoming"
    # List first: a file made after the question is not in the list, so it cannot be removed by mistake.
    files = list(folder.glob("*"))
    names = sorted({file.name.partition(".")[0] for file in files})  # UPLOAD.NUMBER is of a batch
    with archive.database.transaction() as conn:
        uploads.run(conn, "renew", keep=archive.settings.landing.keep)
        for row in uploads.all(conn, "expired"):
            release(conn, f"upload:{row['id']}")
        unknown = {row["name"] for row in uploads.all(conn, "unknown", names=names)}
    for file in files:
        if file.name.partition(".")[0] in unknown:
            with suppress(FileNotFoundError):
                file.unlink()
