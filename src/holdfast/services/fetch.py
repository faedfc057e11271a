# SPDX-License-Identifier: Apache-2.0
"""Files that the archive brings into an open dataset itself: from folders of its server and from hosts that it may ask.

Each is an upload whose bytes a job brings, with the same claim, room, limits and commit point as one that a client sends. It goes
on where it was, if the origin is still what it was.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import httpx
from blake3 import blake3

from holdfast.catalog import jobs
from holdfast.catalog.queries import uploads
from holdfast.errors import (
    Busy,
    HoldfastError,
    InvalidInput,
    NotAllowed,
    NotFound,
    SourceUnreadable,
    TransientError,
    Unreachable,
)
from holdfast.model.entry import Entry, size_of
from holdfast.model.ids import new_id
from holdfast.model.names import printable
from holdfast.packaging.sources import FILE, opened_root
from holdfast.services.archive import Archive, described
from holdfast.services.landing import land
from holdfast.services.placing import PERMISSIONS, USUAL_MODE, Arrived
from holdfast.services.register import confined
from holdfast.services.scan import scan
from holdfast.services.uploads import Receiving, begin, check_path

_MOST_FILES: Final = 1000  # of one call; whole folders are archived in place
_BLOCK: Final = 4 << 20  # bytes
_PIECE: Final = 256 << 10  # bytes; what a cut connection takes with it at most
_NOTE: Final = 64 << 20  # bytes after which it is noted how far it is
_REDIRECTS: Final = 5
_TIMEOUT: Final = httpx.Timeout(60.0, connect=10.0)  # seconds


def want_path(
    archive: Archive, dataset: str, path: str, *, into: str, person: str, within: Sequence[str] | None = None
) -> int:
    """Have a file of the server, or all in a folder, copied into an open dataset; return how many entries that are.

    Links and empty folders are there at once, files when their bytes are. `within` is as for `confined`. Raises
    OutsideRoots, NotAllowed, InvalidInput, NotFound, UnsupportedFile, Conflict, NoSpace.
    """
    source = confined(path, archive.settings.roots.source, kind="source", within=within)
    base = os.fsencode(into.strip("/")) + b"/" if into.strip("/") else b""
    if source.is_file():
        status = source.stat()
        found = [
            Entry(os.fsencode(source.name), "file", status.st_size, status.st_mtime_ns, stat.S_IMODE(status.st_mode))
        ]
        folder = source.parent
    elif source.is_dir():
        found = list(islice(scan(os.fsencode(source)), _MOST_FILES + 1))
        base, folder = base + os.fsencode(source.name) + b"/", source
    else:
        raise NotFound(kind="file or folder", name=path)
    if len(found) > _MOST_FILES:
        raise InvalidInput(
            what=f"{path} holds more than {_MOST_FILES} files. So many are copied at a time: archive the folder in place instead."
        )
    for entry in found:
        check_path(base + entry.path)
    bodiless = [
        Arrived(Path(), base + entry.path, 0, entry.mtime_ns, blake3(entry.target).digest(), entry.kind, entry.target)
        for entry in found
        if entry.kind != "file"
    ]
    for outcome in land(archive, person=person, dataset=dataset, arrived=bodiless) if bodiless else ():
        if outcome.error:
            raise outcome.error
    for entry in found:
        if entry.kind == "file":
            _begin(
                archive, dataset, base + entry.path, origin=os.fsencode(folder / os.fsdecode(entry.path)),
                length=entry.size, mtime_ns=entry.mtime_ns, mode=entry.mode & PERMISSIONS, person=person,
            )  # fmt: skip
    return len(found)


def want_url(archive: Archive, dataset: str, url: str, *, path: str, person: str) -> int:
    """Have a file brought from another host into an open dataset, as `path`, else under its own name; return 1.

    Raises NotAllowed (host), InvalidInput, Unreachable, NotFound, Conflict, NoSpace.
    """
    with _answer(archive, "HEAD", url, {}) as response:
        name = path or httpx.URL(url).path.rpartition("/")[2]
        length = size_of(response.headers.get("content-length", ""))
        if length is None:
            raise InvalidInput(what=f"{url} does not say how large it is, so no room can be promised.")
        validator = _validator(response)
    _begin(
        archive,
        dataset,
        name.encode(),
        origin=url.encode(),
        length=length,
        mtime_ns=None,
        person=person,
        metadata=validator,
    )
    return 1


def _begin(
    archive: Archive, dataset: str, path: bytes, *, origin: bytes, length: int, mtime_ns: int | None, person: str,
    mode: int = USUAL_MODE, metadata: str = "",
) -> None:  # fmt: skip
    ident = new_id()
    begin(
        archive, ident=ident, person=person, dataset=dataset, path=path, length=length, mtime_ns=mtime_ns, mode=mode,
        metadata=metadata, resumable=True, origin=origin,
    )  # fmt: skip
    with archive.database.transaction() as conn:
        jobs.defer(conn, "fetch", ident)


def fetch(archive: Archive, ident: str) -> None:
    """Bring the bytes of one upload from its origin, if nobody else does; what is in the way is told in its problem."""
    try:
        with Receiving(archive, ident) as receiving:
            receiving.open()
            try:
                _bring(archive, receiving)
                receiving.note()
                receiving.arrive()
            except HoldfastError as error:
                receiving.note()  # what came goes on from here
                with archive.database.transaction() as conn:
                    uploads.run(
                        conn, "problem", id=ident, problem=described(error, receiving.row["problem"])["problem"]
                    )
    except (Busy, NotFound):
        return


def _bring(archive: Archive, receiving: Receiving) -> None:
    origin = bytes(receiving.row["origin"])
    if origin.startswith(b"/"):
        _copy(archive, receiving, Path(os.fsdecode(origin)))
    else:
        _download(archive, receiving, origin.decode())


def _copy(archive: Archive, receiving: Receiving, file: Path) -> None:
    """Copy a file of the server. Raises SourceUnreadable (also when it is not what it was), OutsideRoots."""
    confined(str(file), archive.settings.roots.source, kind="source")
    try:
        with opened_root(file.parent) as folder:  # whoever put a link in place of it since would choose what is copied
            descriptor = os.open(file.name, FILE, dir_fd=folder)
        with os.fdopen(descriptor, "rb", buffering=0) as opened:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SourceUnreadable(path=printable(os.fsencode(file)), why="it is no file")
            opened.seek(receiving.received)
            _take(archive, receiving, iter(lambda: opened.read(_BLOCK), b""))
            status = os.fstat(descriptor)
    except OSError as error:
        raise SourceUnreadable(path=printable(os.fsencode(file)), why=error.strerror or "it cannot be read") from error
    if (status.st_size, status.st_mtime_ns) != (receiving.row["length"], receiving.row["mtime_ns"]):
        raise SourceUnreadable(path=printable(os.fsencode(file)), why="it has changed; end its upload and add it again")


def _download(archive: Archive, receiving: Receiving, url: str) -> None:
    """Download what is not here yet, or all where nothing says that the rest would be of the same bytes.

    Raises Unreachable, InvalidInput (it is not what it was).
    """
    at, known = receiving.received, receiving.row["metadata"]
    rest = at and known.startswith(
        '"'
    )  # a strong ETag (RFC 9110): a time or a weak one may be that of other bytes, too
    with _answer(archive, "GET", url, {"Range": f"bytes={at}-"} if rest else {}) as response:
        if _validator(response) != known:
            raise InvalidInput(what=f"{url} has changed since it was asked for. End its upload and repeat.")
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            receiving.restart()
        elif not response.headers.get("content-range", "").startswith(f"bytes {at}-"):
            raise Unreachable(url=url, why=f"it was asked for what follows byte {at}, and sent something else")
        _take(archive, receiving, response.iter_raw(_PIECE))


def _take(archive: Archive, receiving: Receiving, pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        receiving.write([piece])
        if receiving.received - receiving.row["received"] >= _NOTE:
            receiving.note()
        if archive.stopping.is_set():
            receiving.note()
            raise TransientError(what="The archive is stopping; this goes on when it runs again.")


def _validator(response: httpx.Response) -> str:
    """Return by what one sees that a file on another host is still the same."""
    return str(response.headers.get("etag") or response.headers.get("last-modified") or "")


@contextmanager
def _answer(archive: Archive, method: str, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
    """Ask another host that may be asked, also where it sends us to. Raises NotAllowed, NotFound, Unreachable."""
    try:
        with httpx.Client(timeout=_TIMEOUT, trust_env=False) as http:
            for _ in range(_REDIRECTS):
                address = httpx.URL(url)
                request = http.build_request(
                    method, address.copy_with(host=_address(archive, address)),
                    headers={**headers, "Host": address.netloc.decode(), "Accept-Encoding": "identity"},
                    extensions={"sni_hostname": address.host},
                )  # fmt: skip
                response = http.send(request, stream=True)
                try:
                    if response.has_redirect_location:
                        url = str(address.join(response.headers["location"]))
                        continue
                    if not response.is_success:
                        raise Unreachable(url=url, why=f"it answered {response.status_code}")
                    yield response
                    return
                finally:
                    response.close()
    except httpx.InvalidURL as error:
        raise InvalidInput(what=f"{url} is not an address.") from error
    except httpx.HTTPError as error:
        raise Unreachable(url=url, why=str(error) or type(error).__name__) from error
    raise Unreachable(url=url, why="it sends from one address to the next")


def _address(archive: Archive, url: httpx.URL) -> str:
    """Return the address to connect to, which is checked here and not looked up again. Raises NotAllowed, Unreachable."""
    hosts, netloc = archive.settings.landing.hosts, url.netloc.decode()
    named = f"{url.scheme}://{netloc}" in hosts  # the operator means this very server, wherever it is
    if url.userinfo or not (
        named or (url.scheme == "https" and any(fnmatch.fnmatchcase(url.host, known) for known in hosts))
    ):
        raise NotAllowed(
            action=f"have files fetched from {url.scheme}://{netloc}: it is not in the setting landing.hosts"
        )
    try:
        found = socket.getaddrinfo(url.host, url.port or url.scheme, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a label of the name is empty or too long
        why = error.strerror if isinstance(error, OSError) else None
        raise Unreachable(url=str(url), why=why or "its host is not known") from error
    for *_, place in found:
        if named or ipaddress.ip_address(place[0]).is_global:
            return str(place[0])
    raise NotAllowed(action=f"have files fetched from {netloc}: its address is a private one (setting landing.hosts)")
