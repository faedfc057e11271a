# SPDX-License-Identifier: Apache-2.0
"""Sessions that cannot hang their caller: a child process touches the medium, and is given up when it does not answer.

A call on a tape file system can hang for ever, and a process in such a call cannot even be killed. So each session
has a process of its own (`holdfast.tape.child`, started by `holdfast.tape.children`). One that does not answer in
time is killed, as far as that is possible, and left behind; its tape and drive are locked out with the reason, and
the caller goes on. The child inherits the locks: while it lives, hanging, nobody can get its tape, whatever becomes
of us.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from holdfast.errors import Conflict, HoldfastError, MediumFailed, TransientError
from holdfast.tape.blocks import BLOCK
from holdfast.tape.child import ABORT, SLOTS
from holdfast.tape.children import Child, Gone, Hung, unpacked, value_of
from holdfast.tape.library import Extent, FileOnTape, Located
from holdfast.tape.locks import Lock, release

_AHEAD: Final = 4  # blocks that are read before they are wanted: a process on a busy machine waits for its turn


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a child may take, in seconds.

    The numbers are those that CERN's tape servers came to in production. They are no settings: one that is too low
    locks out sound drives, and one that is too high only delays.
    """

    mount: float = 900  # 300 for the robot and loading, 600 for the file system
    unmount: float = 600  # rewinding takes 165 at most, unloading 24; the rest is for the second index
    block: float = 1800  # without a block moved: a drive's own tries at a bad place end before
    look: float = 60  # for what the file system knows without a tape


LIMITS: Final = Limits()


@dataclass(slots=True)
class _Stream:
    """One reading of a file: blocks that came, and how many more were asked for."""

    came: deque[bytes] = field(default_factory=deque)
    asked: int = 0
    ended: bool = False
    error: Exception | None = None


class WatchedSession:
    """A `TapeSession` in a child process, ours until `close`."""

    def __init__(self, make: Callable[[], Any], serial: str, tape: Lock, drive: Lock, limits: Limits = LIMITS) -> None:
        """Mount by `make`, which is picklable and returns a session in the child.

        Raises what it raises, MediumFailed when it hangs; tape and drive are locked out then.
        """
        self.serial = serial
        self.drive = drive.thing
        self._locks = (tape, drive)
        self._limits = limits
        self._turn = threading.RLock()  # one exchange at a time; several threads may read
        self._free = deque(range(SLOTS))
        self._lent: list[int] = []  # slots that the child writes from
        self._streams: dict[int, _Stream] = {}
        self._dropped: deque[int] = deque()  # streams that nobody reads any more and the child still has
        self._numbers = itertools.count()
        self._failure: HoldfastError | None = None
        self._closed = False
        self._kill: Callable[[], None] = lambda: None
        try:
            self._child = Child(make, self._locks, limits.mount)
        except Hung:
            raise self._hung(limits.mount) from None
        except Gone:
            raise self._gone() from None
        self._kill = self._child.kill
        self.recovered: Sequence[str] = tuple(self._child.facts["recovered"])
        self.bytes_read = 0
        self.bytes_written = 0
        self.trouble: HoldfastError | None = None

    # ---- what a session does ----

    def write(
        self,
        name: str,
        chunks: Iterable[memoryview | bytes],
        attributes: Mapping[str, str],
        *,
        size: int | None = None,
    ) -> Extent:
        """Append a new file; `size` in bytes, when it is known, places the crash point `write.half`.

        Raises what `PosixSession.write` raises; what `chunks` raises passes through.
        """
        with self._turn:
            self._begin("write", name, dict(attributes), size)
            try:
                answer = self._feed(chunks)
            except BaseException:
                if self._failure is None:
                    self._say(ABORT)
                    self._result()
                raise
            extent: Extent = value_of(answer)
            return extent

    def sync(self, message: str) -> int:
        """Write the index, check what it says, and return its generation. Raises MediumFailed."""
        return int(self._call("sync", message))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield bytes of a file from the medium; `offset` and `length` in bytes, None for all that follow.

        Raises NotFound, InvalidInput (not within the file), MediumFailed.
        """
        with self._turn:
            number = next(self._numbers)
            self._begin("open", number, name, offset, length)
            value_of(self._result())
            self._streams[number] = _Stream()
        return self._blocks(number)

    def list(self) -> Sequence[FileOnTape]:
        """Return the files of the volume, by name. Raises MediumFailed."""
        files: Sequence[FileOnTape] = self._call("list")
        return files

    def find(self, name: str) -> FileOnTape | None:
        """Return one file of the volume, None when it is not there. Raises InvalidInput, MediumFailed."""
        file: FileOnTape | None = self._call("find", name)
        return file

    def set_attributes(self, name: str, attributes: Mapping[str, str]) -> None:
        """Add attributes to a file; durable at the next `sync`. Raises NotFound, InvalidInput, MediumFailed."""
        self._call("set_attributes", name, dict(attributes))

    def delete(self, name: str) -> None:
        """Delete a file if it is there; its space is not given back. Raises MediumFailed."""
        self._call("delete", name)

    def locates(self) -> Sequence[Located]:
        """Return the ways to places that were not just behind the head, the last ones of this session."""
        found: Sequence[Located] = self._call("locates")
        return found

    def close(self) -> None:
        """Sync what is unsynced and give the drive back; idempotent. Raises MediumFailed."""
        with self._turn:
            if self._closed:
                return
            try:
                if self._failure is None:
                    self._begin("call", "close", ())
                    value_of(self._result(self._limits.block + self._limits.unmount))
            finally:
                self._closed = True
                self._child.close()
                release(self._locks)  # what was locked out stays so

    # ---- exchanges ----

    def _call(self, method: str, *arguments: Any) -> Any:
        with self._turn:
            self._begin("call", method, arguments)
            return value_of(self._result())

    def _begin(self, *message: Any) -> None:
        if self._closed:
            raise Conflict(what=f"The session on tape {self.serial} is closed.")
        if self._failure:
            raise self._failure
        while self._dropped:
            self._say("drop", self._dropped.popleft())
        self._say(*message)

    def _feed(self, chunks: Iterable[memoryview | bytes]) -> tuple[Any, ...]:
        """Hand the chunks over in whole blocks and return the answer, which comes early when writing fails."""
        fill = BLOCK  # no slot yet
        for chunk in chunks:
            view = memoryview(chunk).cast("B")
            while len(view):
                if fill == BLOCK:
                    while not self._free:
                        if (heard := self._hear(self._limits.block))[0] in {"value", "error"}:
                            self._say(None)
                            return heard
                    self._lent.append(self._free.popleft())
                    fill = 0
                part = view[: BLOCK - fill]
                begin = self._lent[-1] * BLOCK + fill
                self._child.memory[begin : begin + len(part)] = part
                fill += len(part)
                view = view[len(part) :]
                if fill == BLOCK:
                    self._say(self._lent[-1], BLOCK)
                    self.bytes_written += BLOCK
        if fill < BLOCK:
            self._say(self._lent[-1], fill)
            self.bytes_written += fill
        self._say(None)
        return self._result()

    def _blocks(self, number: int) -> Iterator[bytes]:
        stream = self._streams[number]
        try:
            while True:
                with self._turn:
                    self._ask(number, stream)
                    while not stream.came and not stream.ended:
                        self._hear(self._limits.block)
                        self._ask(number, stream)
                    if not stream.came:
                        break
                    block = stream.came.popleft()
                yield block
            if stream.error:
                raise stream.error
        finally:
            # Told to the child later: this may run in the middle of another exchange, when the iterator is freed.
            del self._streams[number]
            self._dropped.append(number)

    def _ask(self, number: int, stream: _Stream) -> None:
        while not stream.ended and self._free and stream.asked + len(stream.came) < _AHEAD:
            self._begin("next", number, self._free.popleft())
            stream.asked += 1

    def _result(self, limit: float | None = None) -> tuple[Any, ...]:
        while True:
            heard = self._hear(self._limits.block if limit is None else limit)
            if heard[0] in {"value", "error"}:
                return heard

    def _say(self, *message: Any) -> None:
        try:
            self._child.say(*message)
        except Gone:
            raise self._gone() from None

    def _hear(self, limit: float) -> tuple[Any, ...]:
        """Return the next message, after keeping what it brings for the readers and the writer."""
        try:
            heard = self._child.hear(limit)
        except Hung:
            raise self._hung(limit) from None
        except Gone:
            raise self._gone() from None
        kind, *content = heard
        if kind == "free":
            self._lent.remove(content[0])
            self._free.append(content[0])
        elif kind in {"block", "end"}:
            number, slot, what = content
            self._note(what if kind == "end" else None, what if kind == "block" else 0)
            if (stream := self._streams.get(number)) is not None:
                self._keep(stream, kind, slot, what)
            self._free.append(slot)
        else:
            self._note(content[0] if kind == "error" else None, 0)
            self._free.extend(self._lent)
            self._lent.clear()
        return heard

    def _note(self, error: Any, read: int) -> None:
        self.bytes_read += read
        if self.trouble is None and error and isinstance(failure := unpacked(error), MediumFailed):
            self.trouble = failure

    def _keep(self, stream: _Stream, kind: str, slot: int, what: Any) -> None:
        stream.asked -= 1
        if kind == "block":
            stream.came.append(bytes(self._child.memory[slot * BLOCK : slot * BLOCK + what]))
        elif not stream.ended:
            stream.ended = True
            stream.error = unpacked(what) if what else None

    # ---- failures ----

    def _hung(self, limit: float) -> HoldfastError:
        since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        for lock in self._locks:
            lock.lock_out(f"tape {self.serial} in drive {self.drive} did not answer for {limit:.0f} s, since {since}")
        self._kill()
        why = (
            f"drive {self.drive} did not answer for {limit:.0f} s; both are out of use until an operator puts them back"
        )
        self._failure = self.trouble = MediumFailed.of_tape(self.serial, why=why)
        return self._failure

    def _gone(self) -> HoldfastError:
        self._kill()
        what = f"The process that uses tape {self.serial} has ended; what it had not synced is not on the tape."
        self._failure = TransientError(what=what)
        return self._failure
