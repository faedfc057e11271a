# SPDX-License-Identifier: Apache-2.0
"""Writing a package: one pass over the source, the same bytes to every sink, bounded memory."""

from __future__ import annotations

import bisect
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from holdfast.errors import Cancelled, InvalidInput
from holdfast.model.entry import Entry, Location, Packed
from holdfast.model.names import stored_path
from holdfast.packaging import layout
from holdfast.packaging.bag import DECLARATION, bag_info, tag_manifest
from holdfast.packaging.frames import FrameMaker, seek_table
from holdfast.packaging.identity import Identity
from holdfast.packaging.index import index_frame
from holdfast.packaging.lines import closed, index_line, manifest_line, plain_tree_line, quoted
from holdfast.packaging.pipeline import Pipeline
from holdfast.packaging.plan import Frame, Member, Unit, planned_frames
from holdfast.packaging.sink import Sinks
from holdfast.packaging.sources import opened_root, whole_digest
from holdfast.packaging.tarheader import DIRECTORY, header, padding
from holdfast.packaging.tree import tree_document, tree_line
from holdfast.packaging.unit import Made

_CHILDREN_FROM = 4000  # tiny files from which child processes earn back their start
_OWN = frozenset({layout.TREE})


@dataclass(frozen=True, slots=True)
class PackOptions:
    """How to pack; none of it changes what the package says, and `threads`, `direct` and `durable` not one byte."""

    level: int = 1
    frame_size: int | None = None  # bytes of tar stream per frame; None: 4 MiB, small files share frames of 1 MiB
    threads: int | None = None  # None: one per core
    direct: bool = True  # write past the page cache where the file system can
    durable: bool = True  # return only when a power cut can take nothing; staging need not be


@dataclass(frozen=True, slots=True)
class Written:
    """A finished package: its size in bytes, the BLAKE3 of its file in hex, and its entries in the order given.

    `sidecar` goes with a plain package; a bag has none.
    """

    size: int
    digest: str
    members: tuple[Packed, ...]
    sidecar: bytes | None = None


def write_package(
    identity: Identity,
    entries: Sequence[Entry],
    *,
    root: Path | bytes,
    documents: Mapping[str, bytes],
    sinks: Sequence[Path],
    options: PackOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Written:
    """Write `entries` of the folder `root` as one package to each of `sinks`, which must not exist; durable on return.

    `documents` maps names below `metadata/` to their bytes; `progress` gets files and bytes done so far.
    Raises SourceChanged, SourceUnreadable, NoSpace, MediumFailed, Conflict, InvalidInput, Cancelled; then all sinks
    are removed.
    """
    for name in documents:
        if not name.startswith(layout.METADATA) or name in _OWN:
            raise InvalidInput(what=f"{name!r} is not a name for a metadata document.")
    chosen = options or PackOptions()
    with (
        opened_root(root) as root_fd,
        Sinks(sinks, direct=chosen.direct, durable=chosen.durable, planned=identity.payload_bytes) as files,
    ):
        packing = _Packing(identity, entries, root_fd, files, chosen)
        return packing.run(documents, progress or (lambda *_: None), cancelled or (lambda: False))


class _Packing:
    """The state of one package while it is written."""

    def __init__(
        self, identity: Identity, entries: Sequence[Entry], root: int, sinks: Sinks, options: PackOptions
    ) -> None:
        self._identity, self._entries, self._root, self._sinks = identity, entries, root, sinks
        self._level = options.level
        self._threads = options.threads or os.cpu_count() or 2
        self._frame_size = max(options.frame_size or layout.FRAME_SIZE, layout.SMALLEST_FRAME)
        self._frames: list[tuple[int, int]] = []  # compressed, decompressed bytes
        self._starts: list[int] = []  # where each frame begins in the tar stream
        self._places: list[int] = []  # the same, in the package file
        self._stream = 0  # bytes of tar so far
        self._left = iter(entries)  # those of which no note was taken yet
        self._packed: list[Packed] = []
        self._last_parts: list[tuple[int, Member]] = []  # which of them wait for the digest of their whole file
        self._files = 0
        self._manifest = bytearray()
        self._tree: list[bytes] = []  # lines
        self._payload_rows = bytearray()  # of the index
        self._rows: list[tuple[str, int, int]] = []  # the others: name, place in the tar stream, size
        self._head_rows = 0  # how many of them stand before the payload
        self._tags: dict[str, bytes] = {}  # digests of the members outside of the payload
        self._at = 0  # bytes of tar made but perhaps not yet written
        self._maker = FrameMaker(options.level)

    def run(
        self, documents: Mapping[str, bytes], progress: Callable[[int, int], None], cancelled: Callable[[], bool]
    ) -> Written:
        with ThreadPoolExecutor(1) as aside:
            wholes = {
                entry.path: aside.submit(whole_digest, self._root, entry, cancelled)
                for entry in self._entries
                if entry.part and entry.part.number == entry.part.count
            }
            try:
                self._write_head()
                self._write_payload(progress, cancelled)
                self._finish_parts(wholes)
            except BaseException:
                aside.shutdown(wait=False, cancel_futures=True)
                raise
        self._write_stream(self._tail(documents))
        digest = self._finish()  # writes the index: the size is known only after it
        return Written(self._sinks.size, digest, tuple(self._packed))

    # ---- the parts of a package ----

    def _write_head(self) -> None:
        files = [entry for entry in self._entries if entry.kind == "file"]
        head = {
            layout.IDENTITY: self._identity.to_json(),
            layout.BAGIT: DECLARATION,
            layout.BAG_INFO: bag_info(self._identity, files=len(files), size=sum(entry.size for entry in files)),
        }
        parts = [part for name, content in head.items() for part in self._document(name, content)]
        # A bag has a data folder even when it holds no file.
        stream = b"".join([*parts, header(layout.DATA.encode(), 0, 0o755, 0, 0, self._mtime, DIRECTORY)])
        self._rows.append((layout.DATA, len(stream), 0))
        self._head_rows = len(self._rows)
        self._write_frame(self._maker.make(stream), len(stream))

    def _write_payload(self, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> None:
        pipeline = Pipeline(
            self._root,
            planned_frames(self._entries, self._frame_size, start=self._stream),
            frame_size=self._frame_size,
            level=self._level,
            threads=self._threads,
            children=sum(entry.size < layout.TINY_FILE for entry in self._entries) >= _CHILDREN_FROM,
        )
        size = 0
        with closing(iter(pipeline)) as results:
            for plan, made in results:
                if cancelled():
                    raise Cancelled(what="Packing")
                self._write_frame(made[0], plan.length)
                size += self._take_note(plan, made)
                progress(self._files, size)
        for entry in self._left:
            self._note_other(entry)

    # ---- notes are taken as the frames come, while the others make the next ones ----

    def _take_note(self, plan: Frame, made: Made) -> int:
        """Note the members of a frame that was just written; return how many bytes of content it held."""
        if isinstance(plan, Unit):
            return self._note_unit(plan, made)
        if plan.last:
            self._note_large(plan.member)
        return plan.content

    def _note_unit(self, unit: Unit, made: Made) -> int:
        _, digests, manifest, tree, rows = made
        frame = self._places[-1]
        self._manifest += manifest
        self._payload_rows += closed(rows, frame)
        size = 0
        for at, member in enumerate(unit.members):
            digest = digests[at * layout.DIGEST_SIZE : (at + 1) * layout.DIGEST_SIZE]
            self._note(member, Location(frame, member.offset - unit.start, digest), tree[at])
            size += member.entry.size
        return size

    def _note_large(self, member: Member) -> None:
        entry, frame = member.entry, self._frame_of(member.offset)
        text = quoted(member.name.decode())
        self._manifest += manifest_line(member.name, member.digest)
        self._payload_rows += closed(index_line(text, member.offset, entry.size), self._places[frame])
        line = plain_tree_line(text, entry.mode, entry.mtime_ns, entry.uid, entry.gid) if member.plain else b""
        location = Location(self._places[frame], member.offset - self._starts[frame], member.digest)
        self._note(member, location, line)

    def _note(self, member: Member, location: Location, line: bytes) -> None:
        while (entry := next(self._left)).kind != "file":
            self._note_other(entry)
        if entry.part and entry.part.number == entry.part.count:
            self._last_parts.append((len(self._packed), member))
        self._files += 1
        self._packed.append(Packed(entry, location if entry.size else Location(0, 0, location.digest)))
        self._tree.append(line or tree_line(entry, member.stored))

    def _note_other(self, entry: Entry) -> None:
        self._packed.append(Packed(entry, Location(0, 0, b"")))
        self._tree.append(tree_line(entry, stored_path(entry.path)))

    def _finish_parts(self, wholes: Mapping[bytes, Future[bytes]]) -> None:
        for at, member in self._last_parts:
            whole = wholes[member.entry.path].result()
            self._packed[at] = self._packed[at]._replace(whole_digest=whole)
            self._tree[at] = tree_line(member.entry, member.stored, whole)

    def _tail(self, documents: Mapping[str, bytes]) -> Iterator[bytes | bytearray]:
        self._at = self._stream
        for name, content in sorted(documents.items()):
            yield from self._document(name, content)
        yield from self._document(layout.TREE, tree_document(self._tree))
        yield from self._document(layout.MANIFEST, self._manifest)
        yield from self._document(layout.TAG_MANIFEST, tag_manifest(self._tags))
        yield layout.END_OF_TAR

    def _finish(self) -> str:
        head, tail = self._rows[: self._head_rows], self._rows[self._head_rows :]
        lines = bytearray().join((*map(self._row, head), self._payload_rows, *map(self._row, tail)))
        self._write_frame(index_frame(lines, self._level), 0)
        self._sinks.write(seek_table(self._frames))
        return self._sinks.finish()

    def _row(self, row: tuple[str, int, int]) -> bytes:
        name, offset, size = row
        return closed(index_line(quoted(name), offset, size), self._places[self._frame_of(offset)])

    # ---- steps ----

    @property
    def _mtime(self) -> int:
        return int(self._identity.created.timestamp())

    def _document(self, name: str, content: bytes | bytearray) -> Iterator[bytes | bytearray]:
        """Yield one member outside of the payload; it takes its place in index and tag manifest."""
        head = header(name.encode(), len(content), 0o644, 0, 0, self._mtime)
        self._rows.append((name, self._at + len(head), len(content)))
        self._tags[name] = hashlib.sha512(content).digest()
        self._at += len(head) + len(content) + padding(len(content))
        yield head
        yield content
        yield bytes(padding(len(content)))

    def _frame_of(self, offset: int) -> int:
        return bisect.bisect_right(self._starts, offset) - 1

    def _write_stream(self, parts: Iterable[bytes | bytearray]) -> None:
        """Compress a stream cut into frames, a few at a time."""
        makers = threading.local()

        def made(piece: bytes) -> bytes:
            if not hasattr(makers, "maker"):
                makers.maker = FrameMaker(self._level)
            frame: bytes = makers.maker.make(piece)
            return frame

        waiting: deque[tuple[int, Future[bytes]]] = deque()
        with ThreadPoolExecutor(self._threads) as pool:
            for piece in _cut(parts, self._frame_size):
                waiting.append((len(piece), pool.submit(made, piece)))
                if len(waiting) > 2 * self._threads:
                    length, frame = waiting.popleft()
                    self._write_frame(frame.result(), length)
            for length, frame in waiting:
                self._write_frame(frame.result(), length)

    def _write_frame(self, frame: bytes, length: int) -> None:
        self._frames.append((len(frame), length))
        self._places.append(self._sinks.size)
        self._starts.append(self._stream)
        self._stream += length
        self._sinks.write(frame)


def _cut(parts: Iterable[bytes | bytearray], size: int) -> Iterator[bytes]:
    """Divide a stream that comes in `parts` into pieces of `size` bytes; the last may be shorter."""
    piece = bytearray()
    for part in parts:
        view = memoryview(part)
        while view:
            taken = view[: size - len(piece)]
            piece += taken
            view = view[len(taken) :]
            if len(piece) == size:
                yield bytes(piece)
                piece.clear()
    if piece:
        yield bytes(piece)
