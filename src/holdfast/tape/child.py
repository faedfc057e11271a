# SPDX-License-Identifier: Apache-2.0
"""The process that touches the medium for `holdfast.tape.watchdog`: started as a program, one for each session.

It is told over a pipe what to do, one thing after the other; blocks lie in shared memory and only their places go
over the pipe. When its parent is gone it ends at once, as if killed: what was not synced is not (P6).

    parent says                             child answers
    (call, method, arguments)               value | error
    (write, name, attributes, size)         value | error; in between, pieces come and go:
        (slot, length)... (None,) | (ABORT,)    (free, slot)...
    (open, stream, name, offset, length)    value | error
    (next, stream, slot)                    (block, stream, slot, length) | (end, stream, slot, error or None)
    (drop, stream)
"""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any, Final

from holdfast.errors import HoldfastError
from holdfast.tape.blocks import BLOCK
from holdfast.tape.posix import PosixSession

SLOTS: Final = 8  # blocks in shared memory: enough to read ahead and to write behind
SHARED: Final = SLOTS * BLOCK  # bytes
ABORT: Final = "abort"  # instead of the end of a file: its source failed


class SourceGone(Exception):
    """The source of a file failed in the parent."""


class _Child:
    def __init__(self, pipe: Connection, memory: mmap.mmap, thing: Any) -> None:
        self._pipe = pipe
        self._memory = memoryview(memory)
        self._thing = thing  # a TapeSession, or anything with methods to call
        self._streams: dict[int, Iterator[bytes | memoryview]] = {}
        self._more = False  # pieces of a file are still to come
        self._slot = 0  # where the next block goes
        if isinstance(thing, PosixSession):
            thing.place = lambda: self._memory[self._slot * BLOCK : (self._slot + 1) * BLOCK]

    def serve(self) -> None:
        """Do what is asked until the parent is gone."""
        verbs: Mapping[str, Callable[..., None]] = {
            "call": self._call,
            "write": self._write,
            "open": self._open,
            "next": self._next,
            "drop": self._drop,
        }
        while True:
            verb, *arguments = self._hear()
            verbs[verb](*arguments)

    def _hear(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            os._exit(0)

    def _answer(self, *answer: object) -> None:
        try:
            self._pipe.send(answer)
        except OSError:
            os._exit(0)

    def _call(self, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            value = getattr(self._thing, method)(*arguments)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            self._answer("error", packed(error))
        else:
            self._answer("value", value)

    def _write(self, name: str, attributes: Mapping[str, str], size: int | None) -> None:
        self._more = True
        try:
            extent = self._thing.write(name, self._pieces(), attributes, size=size)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            self._answer("error", packed(error))
        else:
            self._answer("value", extent)
        while self._more:
            with contextlib.suppress(SourceGone):
                self._piece()

    def _pieces(self) -> Iterator[memoryview]:
        while (piece := self._piece()) is not None:
            slot, length = piece
            yield self._memory[slot * BLOCK : slot * BLOCK + length]
            self._answer("free", slot)

    def _piece(self) -> tuple[int, int] | None:
        slot, *length = self._hear()
        self._more = bool(length)
        if slot == ABORT:
            raise SourceGone
        return (slot, *length) if length else None

    def _open(self, stream: int, name: str, offset: int, length: int | None) -> None:
        try:
            self._streams[stream] = self._thing.read(name, offset, length)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            self._answer("error", packed(error))
        else:
            self._answer("value", None)

    def _next(self, stream: int, slot: int) -> None:
        self._slot = slot
        try:
            block = next(self._streams.get(stream, iter(())), None)
        except Exception as error:  # noqa: BLE001 - the parent raises it
            del self._streams[stream]
            self._answer("end", stream, slot, packed(error))
            return
        if block is None:
            self._answer("end", stream, slot, None)
            return
        if isinstance(block, bytes):  # else it is there already
            self._memory[slot * BLOCK : slot * BLOCK + len(block)] = block
        self._answer("block", stream, slot, len(block))

    def _drop(self, stream: int) -> None:
        self._streams.pop(stream, None)


def packed(error: Exception) -> tuple[type[HoldfastError] | None, Mapping[str, object]]:
    """Return an error as it goes over the pipe: our own ones by class and details, others as text."""
    if isinstance(error, HoldfastError):
        return type(error), {key: str(value) for key, value in error.details.items()}
    return None, {"what": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Serve the parent; the two arguments are the descriptors of the pipe and of the shared memory."""
    pipe = Connection(int(sys.argv[1]))
    memory = mmap.mmap(int(sys.argv[2]), SHARED)
    try:
        (make,) = pipe.recv()
        thing = make()
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - the parent raises it
        pipe.send(("error", packed(error)))
        return
    pipe.send(("value", {name: getattr(thing, name, None) for name in ("serial", "drive", "recovered")}))
    _Child(pipe, memory, thing).serve()


if __name__ == "__main__":
    main()
