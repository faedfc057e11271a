# SPDX-License-Identifier: Apache-2.0
"""Calls about the bytes of files: downloads that go on where they ended, checksums, share links."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from holdfast.client.connection import Connection, segment, segments, sent
from holdfast.errors import Conflict, DigestMismatch
from holdfast.model.names import COMPONENT_LIMIT
from holdfast.wire.datasets import File
from holdfast.wire.links import Link, LinkPage, LinkUse, LinkUses, NewLink
from holdfast.wire.requests import Request
from holdfast.writing import write_all

_CHUNK: Final = 1 << 20  # bytes
_PART: Final = ".holdfast-part"
_ACCEPTED: Final = 202
_PARTIAL: Final = 206


class Content(Connection):
    """The bytes of files, and who may have them."""

    def bring(self, dataset: str, paths: Sequence[str] = (), *, union: bool = False) -> Request | None:
        """Have files (none: all) be ready to be downloaded; return the request to follow if they are on tape only.

        With `union`, also what the dataset extends; repeat it after each request, until it returns none.
        """
        plain, exact = sent(paths)
        params = {"path": plain, "path_base64": exact, "union": union}
        response = self._call("HEAD", f"/datasets/{segment(dataset)}/bundle", params=params)
        if response.status_code != _ACCEPTED:
            return None
        return self._get(response.headers["Location"].removeprefix("/api/v1"), Request)

    def download(
        self, dataset: str, file: File, target: Path, *, progress: Callable[[int], None] = lambda _: None
    ) -> Request | None:
        """Download one file to `target`, which has its name only when its checksum matched; go on where one ended.

        `progress` is called with the bytes that came, negative when some have to come again. Returns the request to
        follow if it is on tape only. Raises Conflict (a link is in the way), DigestMismatch, Refused, Unreachable, and
        OSError of the disk.
        """
        part = _part(target)
        if part.is_symlink():  # what came would go to where it leads
            raise Conflict(what=f"{part} is a link, and in the way of what comes. Remove it and repeat.")
        target.parent.mkdir(parents=True, exist_ok=True)
        told = 0

        def at(far: int) -> None:
            nonlocal told
            progress(far - told)
            told = far

        if found := self._steadily(lambda: self._fetch(dataset, file, part, at), lambda: _size(part)):
            return found
        if sha512_of(part) != file.sha512:
            part.unlink()
            raise DigestMismatch(name=file.path)
        if file.mtime:
            os.utime(part, (file.mtime.timestamp(), file.mtime.timestamp()))
        with part.open("rb") as whole:
            os.fsync(whole.fileno())
        part.rename(target)
        return None

    def _fetch(self, dataset: str, file: File, part: Path, at: Callable[[int], None]) -> Request | None:
        begun = _size(part)
        headers = {"Range": f"bytes={begun}-", "If-Range": f'"{file.sha512}"'} if 0 < begun < file.size else {}
        route = f"/datasets/{segment(dataset)}/content/{segments(raw_path(file))}"
        if begun == file.size and part.exists():
            at(begun)
            return None
        with self._http.stream("GET", route, headers=headers) as response:
            if response.is_error:
                response.read()
                self._refuse(response)
            if response.status_code == _ACCEPTED:
                return self._understood(Request, response.read())
            goes_on = response.status_code == _PARTIAL
            far = begun if goes_on else 0
            at(far)
            if begun and not goes_on:
                part.unlink()
            with part.open("ab" if goes_on else "wb", buffering=0) as out:
                for chunk in response.iter_bytes(_CHUNK):
                    write_all(out.fileno(), chunk)
                    far += len(chunk)
                    at(far)
        return None

    def checksums(self, dataset: str, paths: Sequence[str] = (), *, union: bool = False) -> Iterator[bytes]:
        """Yield the checksums of files (none: all) as `sha512sum -c` reads them, in pieces; with `union`, of all versions."""
        route = f"/datasets/{segment(dataset)}/checksums"
        plain, exact = sent(paths)
        with self._streamed(route, path=plain, path_base64=exact, union=union) as response:
            yield from response.iter_bytes()

    def add_link(self, dataset: str, wish: NewLink) -> Link:
        """Make a share link; its secret is in this answer only."""
        return self._post(f"/datasets/{segment(dataset)}/links", wish, Link)

    def links(self, dataset: str) -> list[Link]:
        """Return the share links of a dataset, the newest first."""
        return self._get(f"/datasets/{segment(dataset)}/links", LinkPage).items

    def revoke_link(self, link: str) -> Link:
        """End a share link."""
        return self._understood(Link, self._send("DELETE", f"/links/{segment(link)}", None).content)

    def link_uses(self, link: str) -> list[LinkUse]:
        """Return the newest downloads through a share link."""
        return self._get(f"/links/{segment(link)}/uses", LinkUses).items


def _part(target: Path) -> Path:
    """Return where a file is until all of it has come; the same in each run, so that it is found again."""
    name = target.name + _PART
    if len(os.fsencode(name)) > COMPONENT_LIMIT:
        name = hashlib.sha512(os.fsencode(target.name)).hexdigest() + _PART
    return target.with_name(name)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def sha512_of(path: Path) -> str:
    """Return the SHA-512 of a local file in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha512").hexdigest()


def raw_path(file: File) -> bytes:
    """Return the exact bytes of a path."""
    return base64.b64decode(file.path_base64) if file.path_base64 else file.path.encode()


def raw_target(file: File) -> bytes:
    """Return the exact bytes of where a link leads; of what is none, no bytes."""
    return base64.b64decode(file.target_base64) if file.target_base64 else (file.target or "").encode()
