# SPDX-License-Identifier: Apache-2.0
"""The deep check: every frame decodes, every member is where the index says and what the manifests say."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from blake3 import blake3

from holdfast.errors import Cancelled, Damaged, IntegrityError, InvalidInput, UsageError
from holdfast.model.names import check_relative
from holdfast.packaging import layout
from holdfast.packaging.bag import parse_manifest
from holdfast.packaging.frames import decoded
from holdfast.packaging.index import Row
from holdfast.packaging.reader import FrameSpan, Package, Source, open_package
from holdfast.packaging.tarheader import PAX, Member, padding, parse_block, parse_pax

_HEADER_LIMIT = 1 << 20  # bytes of tar header that one member may have
# Of a frame header descriptor: content checksum set, no unused or reserved bit, no dictionary.
_DESCRIPTOR_MASK = 0b00011111
_DESCRIPTOR_WANTED = 0b00000100


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: the code of the error it would be, the member or frame, and a sentence."""

    code: str
    name: str
    what: str


def check_package(source: Source, cancelled: Callable[[], bool] | None = None) -> list[Finding]:
    """Read a whole package and return all that is wrong with it; an empty list means that it is sound.

    Raises Cancelled, and what reading the medium raises beyond IntegrityError.
    """
    try:
        package = open_package(source)
    except (IntegrityError, UsageError) as error:
        return [Finding(error.code, source.name, str(error))]
    check = _Check(package, cancelled or (lambda: False))
    check.run()
    return check.findings


def blake3_of(chunks: Iterable[bytes]) -> str:
    """Return the BLAKE3 of a stream, in hex: the digest that the catalogue keeps of a package file."""
    digest = blake3()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


class _TarStream:
    """The decoded tar stream; a damaged frame leaves a gap of its known length, so that what follows stays in place."""

    def __init__(self, package: Package, report: Callable[[str, str], None]) -> None:
        self._pieces = self._all(package, report)
        self._rest: memoryview | None = memoryview(b"")
        self._left = 0  # bytes of the current piece or gap

    def take(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes; raises Damaged at the end when some of them could not be decoded."""
        damaged = False
        while count:
            if not self._left:
                self._rest, self._left = next(self._pieces, (None, count))
            taken = min(count, self._left)
            if self._rest is None:
                damaged = True
            else:
                yield self._rest[:taken]
                self._rest = self._rest[taken:]
            self._left -= taken
            count -= taken
        if damaged:
            raise Damaged(name="a member", why="a frame of it cannot be decoded")

    def _all(self, package: Package, report: Callable[[str, str], None]) -> Iterator[tuple[memoryview | None, int]]:
        for number, frame in enumerate(package.frames):
            done = 0
            try:
                for piece in _frame_content(package.source, frame):
                    done += len(piece)
                    if done > frame.length:
                        done -= len(piece)
                        raise Damaged(name="frame", why="it is longer than the seek table says")
                    yield memoryview(piece), len(piece)
                if done < frame.length:
                    raise Damaged(name="frame", why="it is shorter than the seek table says")
            except IntegrityError as error:
                report(f"frame {number}", f"Frame {number} at byte {frame.place}: {error}")
                if frame.length > done:
                    yield None, frame.length - done


def _frame_content(source: Source, frame: FrameSpan) -> Iterator[bytes]:
    def chunks() -> Iterator[bytes]:
        head = b""
        for chunk in source.read(frame.place, frame.size):
            if len(head) <= len(layout.ZSTD_MAGIC):
                head += chunk[: len(layout.ZSTD_MAGIC) + 1]
                if len(head) > len(layout.ZSTD_MAGIC) and (
                    not head.startswith(layout.ZSTD_MAGIC) or head[4] & _DESCRIPTOR_MASK != _DESCRIPTOR_WANTED
                ):
                    raise Damaged(name=source.name, why="a frame header is not one that the packer writes")
            yield chunk

    return decoded(chunks(), source.name)


class _Check:
    def __init__(self, package: Package, cancelled: Callable[[], bool]) -> None:
        self._package, self._cancelled = package, cancelled
        self._where = package.source.name
        self._digests: dict[str, bytes] = {}
        self._documents: dict[str, bytes] = {}
        self.findings: list[Finding] = []

    def run(self) -> None:
        stream = _TarStream(self._package, self._damaged)
        at = 0
        for row in self._package.members:
            if self._cancelled():
                raise Cancelled(what="The check")
            gap = row.offset - at
            if not 0 < gap <= _HEADER_LIMIT or row.size < 0:
                self._damaged(row.name, "The index puts it where it cannot be.")
                return
            self._attempt(row.name, partial(self._header, stream, row, gap))
            self._attempt(row.name, partial(self._content, stream, row))
            at = row.offset + row.size + padding(row.size)
        self._attempt("end", lambda: self._end(stream, at))
        self._attempt(layout.MANIFEST, lambda: self._manifest(layout.MANIFEST, payload=True))
        self._attempt(layout.TAG_MANIFEST, lambda: self._manifest(layout.TAG_MANIFEST, payload=False))
        self._attempt(layout.TREE, self._listing)

    # ---- the tar stream ----

    def _header(self, stream: _TarStream, row: Row, length: int) -> None:
        member = read_header(b"".join(stream.take(length)), self._where)
        if member.length != length or member.name != row.name.encode() or member.size != row.size:
            raise Damaged(name=row.name, why="its tar header and the index disagree")
        try:
            check_relative(member.name.rstrip(b"/"))
        except InvalidInput as error:
            raise Damaged(name=row.name, why="its name leads out of the folder") from error

    def _content(self, stream: _TarStream, row: Row) -> None:
        sha = hashlib.sha512()
        kept = bytearray()
        keep = not row.name.startswith(layout.DATA) and row.size <= layout.DOCUMENT_LIMIT
        try:
            for piece in stream.take(row.size):
                sha.update(piece)
                if keep:
                    kept += piece
        finally:
            blank = b"".join(stream.take(padding(row.size)))
        if blank.strip(b"\0"):
            raise Damaged(name=row.name, why="what follows it in the tar is not zero")
        if row.name in self._digests:
            raise Damaged(name=row.name, why="it is there twice")
        self._digests[row.name] = sha.digest()
        if keep:
            self._documents[row.name] = bytes(kept)

    def _end(self, stream: _TarStream, at: int) -> None:
        last = self._package.frames[-1]
        left = last.start + last.length - at
        if left != len(layout.END_OF_TAR) or b"".join(stream.take(left)) != layout.END_OF_TAR:
            raise Damaged(name=self._where, why="the end of the tar is not where the index says")

    # ---- manifests and tree ----

    def _manifest(self, name: str, *, payload: bool) -> None:
        lines = self._documents.get(name, b"").splitlines(keepends=True)
        named = {path.decode("utf-8", "replace"): digest for path, digest in parse_manifest(lines, self._where)}
        found = {
            path: digest
            for path, digest in self._digests.items()
            if path.startswith(layout.DATA) == payload and path not in {layout.DATA, layout.TAG_MANIFEST}
        }
        for path in sorted(named.keys() | found.keys()):
            if path not in named:
                self._report("unsafe-package", path, f"{path} is in the package but not in {name}.")
            elif path not in found:
                self._damaged(path, f"{path} is in {name}, but it is missing or cannot be read.")
            elif named[path] != found[path]:
                self._report("digest-mismatch", path, f"{path} does not have the checksum of {name}.")

    def _listing(self) -> None:
        for _ in self._package.listing():
            pass

    # ---- findings ----

    def _attempt(self, name: str, step: Callable[[], None]) -> None:
        try:
            step()
        except (IntegrityError, UsageError) as error:
            self._report(error.code, name, str(error))

    def _damaged(self, name: str, what: str) -> None:
        self._report(Damaged.code, name, what)

    def _report(self, code: str, name: str, what: str) -> None:
        self.findings.append(Finding(code, name, what))


def read_header(head: bytes, where: str) -> Member:
    """Read all header blocks of one member: an optional pax header, then ustar. Raises Damaged."""
    first = parse_block(head[: layout.BLOCK], where)
    if first.kind != PAX:
        return first
    end = layout.BLOCK + first.size + padding(first.size)
    records = parse_pax(head[layout.BLOCK : layout.BLOCK + first.size], where)
    member = parse_block(head[end : end + layout.BLOCK], where)
    size = records.get("size", b"%d" % member.size)
    if not size.isdigit():
        raise Damaged(name=where, why="a pax header cannot be read")
    return Member(records.get("path", member.name), int(size), member.kind, end + layout.BLOCK)
