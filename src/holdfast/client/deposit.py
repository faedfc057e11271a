# SPDX-License-Identifier: Apache-2.0
"""Calls that make datasets by hand: files into open ones and out of them, and closing."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

import httpx
from blake3 import blake3

from holdfast.client.connection import ANSWER, Connection, segment, segments
from holdfast.errors import Conflict, DigestMismatch, SourceChanged, SourceUnreadable
from holdfast.model.entry import Kind
from holdfast.model.names import printable
from holdfast.wire.datasets import DatasetDetail, DatasetWish
from holdfast.wire.deletion import Deletion, DeletionWish
from holdfast.wire.deposit import AddedFile, Batch, Fetching, FetchWish, RefusedFile, UploadPage

_BLOCK: Final = 1 << 20  # bytes
_PIECE: Final = 32 << 20  # bytes of a resumable upload that are sent, and have their digest, at a time
_READ_BACK: Final = (
    20e6  # bytes per second: with the last piece the server reads the file again, hardly ever slower than that
)
_TUS: Final = {"Tus-Resumable": "1.0.0"}
_NS: Final = 1_000_000_000
_TRIES: Final = 5  # of a piece
_TYPES: Final[Mapping[Kind, bytes]] = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "directory": tarfile.DIRTYPE}
Moved = Callable[[int], None]  # gets the number of bytes that were sent just now


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file, link or empty folder here that is to be added, and its path in the dataset."""

    file: Path
    path: bytes
    size: int
    mtime_ns: int
    kind: Kind = "file"
    target: bytes = b""  # of a link
    mode: int = 0o644  # of a file: its permissions


class Deposits(Connection):
    """Datasets made by hand."""

    def create(
        self,
        *,
        title: str,
        profile: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        group: str | None = None,
        keep_days: int | None = None,
        extends: str | None = None,
        key: str = "",
    ) -> DatasetDetail:
        """Make an open dataset, to which files can be added."""
        wish = DatasetWish(
            title=title,
            profile=profile,
            metadata=dict(metadata or {}),
            group=group,
            keep_days=keep_days,
            extends=extends,
        )
        return self._post("/datasets", wish, DatasetDetail, key)

    def close_dataset(self, dataset: str) -> DatasetDetail:
        """Have a dataset closed: nothing is added from now on, and its files go onto their tapes."""
        return self._post(f"/datasets/{segment(dataset)}/close", None, DatasetDetail)

    def deletion(self, dataset: str) -> Deletion:
        """Return what deleting a dataset would take away, and what stands in the way."""
        return self._get(f"/datasets/{segment(dataset)}/deletion", Deletion)

    def delete(self, dataset: str, wish: DeletionWish) -> Deletion:
        """Delete a dataset; or ask for it, confirm it or take it back, where two persons have to."""
        return self._post(f"/datasets/{segment(dataset)}/deletion", wish, Deletion)

    def remove_file(self, dataset: str, path: str | bytes) -> None:
        """Take a file out of an open dataset."""
        self._call("DELETE", f"/datasets/{segment(dataset)}/files/{segments(os.fsencode(path))}")

    def uploads(self, dataset: str) -> UploadPage:
        """Return the files that are on their way into a dataset."""
        return self._get(f"/datasets/{segment(dataset)}/uploads", UploadPage)

    def end_upload(self, upload: str) -> None:
        """End an upload into an open dataset; what came of it is gone."""
        self._call("DELETE", f"/uploads/{segment(upload)}", headers=_TUS)

    def fetch(self, dataset: str, *, path: str | None = None, url: str | None = None, into: str = "") -> Fetching:
        """Have the archive copy files of its server, or one of another host, into an open dataset."""
        return self._post(f"/datasets/{segment(dataset)}/fetch", FetchWish(path=path, url=url, into=into), Fetching)

    def add_file(self, dataset: str, file: LocalFile, *, moved: Moved = lambda _: None) -> AddedFile:
        """Add one file in one call; what arrived is compared with what was sent.

        Raises SourceChanged (the file changed meanwhile), DigestMismatch.
        """
        hasher, sent = blake3(), 0

        def content() -> Iterator[bytes]:
            nonlocal sent
            hasher.reset()
            left = file.size
            with file.file.open("rb", buffering=0) as opened:
                while left:
                    block = opened.read(min(_BLOCK, left))
                    left -= len(block)
                    if (
                        not block or not left
                    ):  # before all has gone, so that a file that is no more what it was never comes
                        _require_same(opened, file, left)
                    hasher.update(block)
                    sent += len(block)
                    moved(len(block))
                    yield block

        route = f"/datasets/{segment(dataset)}/files/{segments(file.path)}"
        headers = {"Content-Length": str(file.size), "Content-Type": "application/octet-stream"}
        params = {"mtime_ns": str(file.mtime_ns), "mode": f"{file.mode:04o}"}

        def send() -> httpx.Response:
            nonlocal sent
            moved(-sent)  # by a call that was cut off or refused
            sent = 0
            return self._http.put(route, params=params, content=content(), headers=headers)

        response = self._patiently(send)
        if not response.is_success:
            moved(-sent)
            self._refuse(response)
        added = self._understood(AddedFile, response.content)
        if added.blake3 != hasher.hexdigest():
            raise DigestMismatch(name=printable(file.path))
        return added

    def add_batch(self, dataset: str, files: Sequence[LocalFile], *, moved: Moved = lambda _: None) -> Batch:
        """Add many small files, links and empty folders in one call, each for itself; what arrived is compared with what was sent.

        One that changed or cannot be read is refused here. Raises DigestMismatch.
        """
        body, sent, refused = io.BytesIO(), dict[str, str](), list[RefusedFile]()
        with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for file in files:
                try:
                    content = _content(file)
                except (SourceChanged, OSError) as error:
                    code = error.code if isinstance(error, SourceChanged) else SourceUnreadable.code
                    refused.append(RefusedFile(path=printable(file.path), code=code, sentence=str(error)))
                    continue
                member = tarfile.TarInfo(os.fsdecode(file.path))
                member.type, member.mode = _TYPES[file.kind], file.mode
                member.size, member.linkname = len(content), os.fsdecode(file.target)
                exact = f"{Decimal(file.mtime_ns).scaleb(-9):f}"
                member.mtime, member.pax_headers = file.mtime_ns // _NS, {"mtime": exact}
                tar.addfile(member, io.BytesIO(content))
                sent[printable(file.path)] = blake3(content or file.target).hexdigest()
        if not sent:
            return Batch(added=[], unchanged=0, refused=refused)
        route = f"/datasets/{segment(dataset)}/files"
        headers = {"Content-Type": "application/x-tar"}
        answer = self._patiently(lambda: self._http.post(route, content=body.getvalue(), headers=headers))
        if not answer.is_success:
            self._refuse(answer)
        batch = self._understood(Batch, answer.content)
        if wrong := [item.path for item in batch.added if sent[item.path] != item.blake3]:
            raise DigestMismatch(name=", ".join(wrong[:10]))
        moved(sum(file.size for file in files))
        batch.refused.extend(refused)
        return batch

    def add_large(self, dataset: str, file: LocalFile, *, moved: Moved = lambda _: None) -> None:
        """Add one file in pieces, each with its digest; what an earlier call has sent is not sent again.

        Raises SourceChanged, Conflict.
        """
        metadata = {
            "dataset": dataset.encode(), "filename": file.path, "mtime_ns": str(file.mtime_ns).encode(),
            "mode": b"%04o" % file.mode,
        }  # fmt: skip
        headers = _TUS | {
            "Upload-Length": str(file.size),
            "Upload-Metadata": ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in metadata.items()),
        }
        begun = self._patiently(lambda: self._http.post("/uploads", headers=headers))
        if not begun.is_success:
            self._refuse(begun)
        route = f"/uploads/{begun.headers['Location'].rpartition('/')[2]}"
        offset = int(begun.headers["Upload-Offset"])
        moved(offset)
        with file.file.open("rb", buffering=0) as opened:
            while offset < file.size:
                opened.seek(offset)
                piece = opened.read(min(_PIECE, file.size - offset))
                _require_same(opened, file, 0 if piece else file.size - offset)
                last = offset + len(piece) == file.size
                wait = ANSWER + (file.size / _READ_BACK if last else 0)
                reached = self._send_piece(route, offset, piece, wait)
                moved(reached - offset)
                offset = reached

    def _send_piece(self, route: str, offset: int, piece: bytes, wait: float) -> int:
        """Send bytes of an upload and return how far it is then; a call that was cut off is repeated from there.

        `wait` is how long the server may take with them, in seconds.
        """
        digest = base64.b64encode(hashlib.sha256(piece).digest()).decode()
        headers = _TUS | {
            "Upload-Offset": str(offset), "Upload-Checksum": f"sha256 {digest}",
            "Content-Type": "application/offset+octet-stream",
        }  # fmt: skip
        timeout = httpx.Timeout(ANSWER, connect=self._http.timeout.connect, read=wait)
        for left in range(_TRIES - 1, -1, -1):
            # Also where a call that was cut off is still being worked on.
            response = self._patiently(
                lambda: self._http.patch(route, content=piece, headers=headers, timeout=timeout), wait
            )
            if response.is_success:
                return int(response.headers["Upload-Offset"])
            if not left or (not response.is_server_error and response.status_code not in {409, 460}):
                self._refuse(response)
            found = self._patiently(lambda: self._http.head(route, headers=_TUS))
            if not found.is_success:
                self._refuse(response)  # it is over: why, its own answer has said
            if int(found.headers["Upload-Offset"]) != offset:
                return int(found.headers["Upload-Offset"])
        raise Conflict(what="The upload did not get on.")


def _content(file: LocalFile) -> bytes:
    """Return the bytes of a small file; a link and a folder have none. Raises SourceChanged, OSError."""
    if file.kind != "file":
        return b""
    with file.file.open("rb") as opened:
        content = opened.read(file.size)
        _require_same(opened, file, file.size - len(content))
    return content


def _require_same(opened: BinaryIO | io.FileIO, file: LocalFile, missing: int) -> None:
    """Raise SourceChanged when bytes are missing, or the file that was read is not any more what was found."""
    status = os.fstat(opened.fileno())
    if missing or (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
        raise SourceChanged(path=printable(os.fsencode(file.file)), what="changed")
