# SPDX-License-Identifier: Apache-2.0
"""The packer's workers: frames are read in order, hashed file by file, compressed, and handed out in order.

A piece of a large file becomes two tasks once it is read: hashing, which must follow the piece before it, and
compressing, which need not. Workers take the earliest ready task, so two large files are hashed at a time, and of one
huge file one core hashes while the others compress. Buffers and a window of frames bound the memory. Nothing can wait
for ever: pieces are read in order into free buffers, and what was read can always be hashed and compressed.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from holdfast.packaging.frames import FrameMaker
from holdfast.packaging.plan import Frame, Member, Piece, Unit
from holdfast.packaging.sources import SourceFolder, check_unchanged, read_exactly
from holdfast.packaging.tarheader import header
from holdfast.packaging.unit import Item, Made, UnitChild, UnitMaker

_BUFFERED = 48 << 20  # bytes of pieces in memory
_WINDOW = 16  # frames that may be under way or wait for their turn
_CHILD_MEMBERS = 16  # files in a unit from which a child process is worth the pipe
_HASH, _COMPRESS = 0, 1  # order of the tasks of one piece


@dataclass(slots=True)
class _Chain:
    """The state of one large file: its descriptor, its hash so far, the pieces that were read but not hashed."""

    member: Member
    fd: int = -1  # until it is open
    sha: hashlib._Hash = field(default_factory=hashlib.sha512)
    hashed: int = 0  # bytes of tar stream
    read: dict[int, _Read] = field(default_factory=dict)


@dataclass(slots=True)
class _Read:
    """One piece in memory; its buffer is free again when both tasks are done."""

    number: int
    piece: Piece
    chain: _Chain
    buffer: bytearray
    open_tasks: int = 2
    frame: bytes = b""


_Task: TypeAlias = tuple[int, int, Callable[["_Tools"], None]]


def _bare(frame: bytes) -> Made:
    return frame, b"", b"", [], b""


class _Tools:
    """What one worker thread owns."""

    def __init__(self, root: int, level: int) -> None:
        self.root, self.level = root, level
        self.folder = SourceFolder(root)
        self.frames = FrameMaker(level)
        self.units = UnitMaker(root, level)
        self.child: UnitChild | None = None
        self.child_failed = False

    def make_in_child(self, items: list[Item], size: int, start: int) -> Made | None:
        """Make a unit in this thread's child process, started when first needed; None when that does not work."""
        try:
            if self.child is None and not self.child_failed:
                self.child = UnitChild(self.root, self.level)
            if self.child is not None:
                return self.child.make(items, size, start)
        except (OSError, EOFError):  # no process to be had, or it was killed: this thread can do the work too
            self.child_failed = True
            if self.child is not None:
                self.child.close()
                self.child = None
        return None

    def close(self) -> None:
        self.folder.close()
        self.units.close()
        if self.child is not None:
            self.child.close()


class Pipeline:
    """Runs worker threads over planned frames; iterate over it to get the compressed frames in order."""

    def __init__(
        self, root: int, frames: Iterator[Frame], *, frame_size: int, level: int, threads: int, children: bool
    ) -> None:
        """Prepare for `frames` of files below the directory descriptor `root`; nothing starts yet.

        `children` allows units of many files to be made in one child process per thread.
        """
        self._root, self._level, self._threads, self._children = root, level, threads, children
        self._frames, self._frame_size = frames, frame_size
        self._window = max(_WINDOW, 4 * threads)
        self._free: list[bytearray] = []
        self._unmade = min(max(_BUFFERED // frame_size, threads + 2), 64)  # buffers that may still be made
        self._state = threading.Condition()
        self._tasks: list[_Task] = []
        self._results: dict[int, Made] = {}
        self._plans: dict[int, Frame] = {}
        self._next: Frame | None = None
        self._chain: _Chain | None = None  # of the file of which pieces are being read
        self._open_chains: set[int] = set()
        self._issued = self._emitted = self._running = 0
        self._exhausted = False
        self._error: BaseException | None = None

    def __iter__(self) -> Generator[tuple[Frame, Made], None, None]:
        """Yield (plan, what was made of it) in order; of a piece that is a frame only.

        The member of a last piece has its digest then. Raises what a worker met.
        """
        workers = [threading.Thread(target=self._work, name=f"pack-{n}") for n in range(self._threads)]
        for worker in workers:
            worker.start()
        try:
            while (result := self._result()) is not None:
                yield result
            self._until(self._finished)
        finally:
            with self._state:
                self._exhausted, self._next = True, None
                if self._error is None and not self._finished():
                    self._error = GeneratorExit()
                self._state.notify_all()
            for worker in workers:
                worker.join()
            for fd in self._open_chains:
                os.close(fd)

    def _result(self) -> tuple[Frame, Made] | None:
        self._until(lambda: self._emitted in self._results or (self._exhausted and self._emitted == self._issued))
        with self._state:
            if self._emitted not in self._results:
                return None
            number = self._emitted
            self._emitted += 1
            self._state.notify_all()
            return self._plans.pop(number), self._results.pop(number)

    def _until(self, true: Callable[[], bool]) -> None:
        with self._state:
            self._state.wait_for(lambda: self._error is not None or true())
            if self._error is not None:
                raise self._error

    def _finished(self) -> bool:
        return self._exhausted and not self._tasks and self._running == 0

    # ---- workers ----

    def _work(self) -> None:
        tools = _Tools(self._root, self._level)
        try:
            while (task := self._take()) is not None:
                try:
                    task(tools)
                finally:
                    with self._state:
                        self._running -= 1
                        self._state.notify_all()
        except BaseException as error:  # noqa: BLE001 handed to the caller's thread, whatever it is
            with self._state:
                self._error = self._error or error
                self._state.notify_all()
        finally:
            tools.close()

    def _take(self) -> Callable[[_Tools], None] | None:
        with self._state:
            while self._error is None:
                task = heapq.heappop(self._tasks)[2] if self._tasks else self._issue()
                if task is not None:
                    self._running += 1
                    return task
                if self._finished():
                    return None
                self._state.wait()
            return None

    def _issue(self) -> Callable[[_Tools], None] | None:
        """Return the task that reads the next frame, or None when there is none or no room for it."""
        if self._next is None and not self._exhausted:
            self._next = next(self._frames, None)
            if self._next is None:
                self._exhausted = True
                self._state.notify_all()
        frame, number = self._next, self._issued
        if frame is None or number - self._emitted >= self._window:
            return None
        if isinstance(frame, Unit):
            self._advance(frame)
            return lambda tools: self._make_unit(tools, number, frame)
        if frame.start == 0:
            chain = _Chain(frame.member)
        elif self._chain is None or self._chain.fd < 0:
            return None  # the file is only just being opened
        else:
            chain = self._chain
        buffer = self._buffer()
        if buffer is None:
            return None
        self._advance(frame)
        self._chain = chain
        read = _Read(number, frame, chain, buffer)
        return lambda tools: self._read_piece(tools, read)

    def _buffer(self) -> bytearray | None:
        if self._free:
            return self._free.pop()
        if not self._unmade:
            return None
        self._unmade -= 1
        return bytearray(self._frame_size)

    def _advance(self, frame: Frame) -> None:
        self._plans[self._issued] = frame
        self._issued += 1
        self._next = None

    def _deliver(self, number: int, made: Made) -> None:
        with self._state:
            self._results[number] = made

    # ---- tasks ----

    def _make_unit(self, tools: _Tools, number: int, unit: Unit) -> None:
        items = [member.item() for member in unit.members]
        made = None
        if self._children and len(items) >= _CHILD_MEMBERS:
            made = tools.make_in_child(items, unit.length, unit.start)
        if made is None:
            made = tools.units.make(items, unit.length, unit.start)
        self._deliver(number, made)

    def _open(self, tools: _Tools, chain: _Chain) -> None:
        entry = chain.member.entry
        fd = tools.folder.open(entry.path)
        with self._state:
            self._open_chains.add(fd)
        check_unchanged(fd, entry.path, entry.file_size, entry.mtime_ns)
        with self._state:
            chain.fd = fd
            self._state.notify_all()

    def _read_piece(self, tools: _Tools, read: _Read) -> None:
        if read.chain.fd < 0:
            self._open(tools, read.chain)
        piece, member, fd = read.piece, read.chain.member, read.chain.fd
        entry = member.entry
        view = memoryview(read.buffer)[: piece.length]
        filled = 0
        if piece.start < member.head:
            head = header(member.name, entry.size, entry.mode, entry.uid, entry.gid, entry.mtime_ns // 1_000_000_000)
            filled = len(head[piece.start : piece.start + piece.length])
            view[:filled] = head[piece.start : piece.start + piece.length]
        content = piece.start + filled - member.head
        wanted = min(piece.length - filled, max(entry.size - content, 0))
        base = entry.part.offset if entry.part else 0
        read_exactly(fd, view[filled : filled + wanted], base + content, entry.path)
        filled += wanted
        view[filled:] = bytes(piece.length - filled)
        with self._state:
            heapq.heappush(self._tasks, (read.number, _COMPRESS, lambda tools: self._compress(tools, read)))
            read.chain.read[piece.start] = read
            if read.chain.hashed == piece.start:
                self._ready_to_hash(read)
            self._state.notify_all()

    def _ready_to_hash(self, read: _Read) -> None:
        heapq.heappush(self._tasks, (read.number, _HASH, lambda _: self._hash(read)))

    def _compress(self, tools: _Tools, read: _Read) -> None:
        read.frame = tools.frames.make(memoryview(read.buffer)[: read.piece.length])
        if not read.piece.last:
            self._deliver(read.number, _bare(read.frame))
        self._release(read)

    def _hash(self, read: _Read) -> None:
        piece, chain, member = read.piece, read.chain, read.chain.member
        first = max(member.head - piece.start, 0)
        end = min(member.head + member.entry.size - piece.start, piece.length)
        chain.sha.update(memoryview(read.buffer)[first : max(end, first)])
        if piece.last:
            self._close_chain(chain)
        with self._state:
            del chain.read[piece.start]
            chain.hashed += piece.length
            following = chain.read.get(chain.hashed)
            if following is not None:
                self._ready_to_hash(following)
        self._release(read)

    def _close_chain(self, chain: _Chain) -> None:
        entry = chain.member.entry
        check_unchanged(chain.fd, entry.path, entry.file_size, entry.mtime_ns)
        chain.member.digest = chain.sha.digest()
        with self._state:
            self._open_chains.discard(chain.fd)
        os.close(chain.fd)

    def _release(self, read: _Read) -> None:
        with self._state:
            read.open_tasks -= 1
            if read.open_tasks:
                return
            self._free.append(read.buffer)
            if read.piece.last:  # only now is its member's digest known
                self._results[read.number] = _bare(read.frame)
