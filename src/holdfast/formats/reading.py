# SPDX-License-Identifier: Apache-2.0
"""Reading what files say of themselves, in a process that may die of it and is then started anew."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

from holdfast.errors import OperatorNeeded
from holdfast.formats.kinds import Format
from holdfast.formats.values import Pair
from holdfast.model.names import printable

_COMPUTING: Final = 20  # seconds for one file
_WALL: Final = 60.0  # seconds for one file: what it computes, and what it waits for the disk
_START: Final = 60.0  # seconds, for a host that is busy
_ANSWER: Final = 2_000_000  # bytes
_REASON: Final = 300  # characters
_DYING: Final = 0.2  # seconds: one that died by itself is to say of what
_END: Final = 5.0  # seconds that a killed process has to be gone; one that waits for a disk stays behind
_INHERITED: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "HOME")  # no secrets among them
# No plug-ins of HDF5, whose code anybody could bring along; no threads, which take address space.
_ENVIRONMENT: Final = {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Found:
    """What a file says of itself, not checked yet, or why nobody can tell."""

    values: tuple[Pair, ...] = ()
    problem: str = ""


class Reader:
    """Reads files one after the other; as a context manager it ends its process."""

    def __init__(self, *, computing: int = _COMPUTING, wall: float = _WALL) -> None:
        """Allow so many seconds for one file: of computing, and altogether."""
        self._computing, self._wall = computing, wall
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        """Return itself; a process is started with the first file."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._end()

    def read(self, file: int, kind: Format) -> Found:
        """Return what the open file says; never raises for what is in it. Raises OperatorNeeded when no process starts."""
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._start()
        try:
            return self._ask(file, kind)
        except TimeoutError:
            self._end()
            return Found(problem=f"reading it took longer than {self._wall:g} seconds")
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            status = self._end()
            if status == -signal.SIGXCPU:
                return Found(problem=f"reading it took more than {self._computing} seconds of computing")
            return Found(problem=f"reading it ended the process that did ({_told(status)})")

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            environment = {key: os.environ[key] for key in _INHERITED if key in os.environ} | _ENVIRONMENT
            # -P: modules come from where ours do, never from the folder that we happen to be in.
            command = [sys.executable, "-P", "-m", "holdfast.formats.child", f"{theirs.fileno()}", f"{self._computing}"]
            try:
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], env=environment, stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                self._end()
                raise _not_started(error.strerror or str(error)) from error
        self._socket.settimeout(_START)
        with suppress(OSError):
            if self._socket.recv(1):
                return
        raise _not_started(_told(self._end()))

    def _ask(self, file: int, kind: Format) -> Found:
        assert self._socket is not None  # noqa: S101 - for the type checker
        socket.send_fds(self._socket, [kind[0].encode()], [file])
        until, answer = time.monotonic() + self._wall, bytearray()
        while not answer.endswith(b"\n"):
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            piece = self._socket.recv(1 << 16)
            if not piece or len(answer) > _ANSWER:
                raise ConnectionError
            answer += piece
        said = json.loads(answer)
        problem = printable(str(said.get("problem", "")).encode("utf-8", "backslashreplace"))
        return Found(tuple((str(key), value) for key, value in said.get("values", ())), problem[:_REASON])

    def _end(self) -> int | None:
        """Kill the process; return its status, None when there is none or it does not go."""
        process, self._process = self._process, None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if process is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_DYING)
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(_END)
        return None


def _not_started(why: str) -> OperatorNeeded:
    return OperatorNeeded(
        what=f"The process that reads headers of files does not start ({why}). It needs h5py and 1 GB of address space."
    )


def _told(status: int | None) -> str:
    if status is None:
        return "it hangs"
    return signal.Signals(-status).name if status < 0 else f"status {status}"
