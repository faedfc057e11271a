# SPDX-License-Identifier: Apache-2.0
"""Starting the processes of `holdfast.tape.child`, talking to them, and leaving them behind when they hang."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.tape.child import SHARED
from holdfast.tape.locks import Lock


class Hung(Exception):
    """A child does not answer."""


class Gone(Exception):
    """A child has died."""


class Child:
    """A process that makes a thing and then does with it what it is told, one thing after the other."""

    def __init__(self, make: Callable[[], Any], locks: Sequence[Lock], limit: float) -> None:
        """Start it and wait for the thing, in seconds at most; `make` must be picklable.

        Raises what `make` raises, Hung, Gone.
        """
        try:
            self._pipe, self.memory, self._process = _start(locks)
        except OSError as error:
            raise Gone from error
        # Somebody has to wait for it when it ends, and it may never end.
        threading.Thread(target=self._process.wait, name="tape child", daemon=True).start()
        try:
            self.say(make)
            self.facts: Mapping[str, Any] = value_of(self.hear(limit))
        except BaseException:
            self.kill()
            raise

    def say(self, *message: Any) -> None:
        """Send one message. Raises Gone."""
        try:
            self._pipe.send(message)
        except OSError as error:
            raise Gone from error

    def hear(self, limit: float) -> tuple[Any, ...]:
        """Return the next message; wait so many seconds for it. Raises Hung, Gone."""
        try:
            if not self._pipe.poll(limit):
                raise Hung
            heard: tuple[Any, ...] = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise Gone from error
        return heard

    def kill(self) -> None:
        """End it, or let it end when its system call returns."""
        self._process.kill()
        self._pipe.close()

    def close(self) -> None:
        """Let it end by itself."""
        self._pipe.close()


def _start(locks: Sequence[Lock]) -> tuple[Connection, memoryview, subprocess.Popen[bytes]]:
    """Start the program; it inherits the locks. Raises OSError."""
    memory = os.memfd_create("holdfast-blocks")
    ours, theirs = multiprocessing.Pipe()
    try:
        os.ftruncate(memory, SHARED)
        # A program rather than a fork: this process has threads, and connections to a database.
        # -P: modules come from where ours do, never from the folder that we happen to be in.
        command = [sys.executable, "-P", "-m", "holdfast.tape.child", str(theirs.fileno()), str(memory)]
        inherited = (theirs.fileno(), memory, *(lock.fileno() for lock in locks))
        process = subprocess.Popen(command, pass_fds=inherited, stdin=subprocess.DEVNULL, start_new_session=True)
        return ours, memoryview(mmap.mmap(memory, SHARED)), process
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(memory)


def value_of(answer: tuple[Any, ...]) -> Any:
    """Return the value of an answer, or raise its error."""
    kind, content = answer
    if kind == "error":
        raise unpacked(content)
    return content


def unpacked(error: tuple[type[HoldfastError] | None, Mapping[str, object]]) -> Exception:
    """Return an error that came over the pipe."""
    cls, details = error
    return cls(**details) if cls else RuntimeError(details["what"])


class Caller:
    """Calls of a long-lived child that touches no tape; one that hangs is left behind and the next call has a new one."""

    def __init__(self, make: Callable[[], Any]) -> None:
        """Use what `make` makes; it is started with the first call."""
        self._make = make
        self._child: Child | None = None
        self._lock = threading.Lock()

    def call(self, method: str, limit: float) -> Any:
        """Call a method without arguments; `limit` in seconds. Raises what it raises, Hung, Gone."""
        with self._lock:
            try:
                if self._child is None:
                    self._child = Child(self._make, (), limit)
                self._child.say("call", method, ())
                return value_of(self._child.hear(limit))
            except (Hung, Gone):
                if self._child is not None:
                    self._child.kill()
                self._child = None
                raise
