# SPDX-License-Identifier: Apache-2.0
"""`holdfast up`: starts the parts of one host as processes, starts them again when they end, and stops them all."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from holdfast.settings import Settings

_LOG = logging.getLogger(__name__)
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_STOP_WAIT: Final = 10.0  # seconds for the parts to end by themselves
_CALM: Final = 1.0  # seconds before a part that ended is started again
_POLL: Final = 0.1  # seconds
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def parts(settings: Settings) -> dict[str, list[str]]:
    """Return the arguments of each process of this host by its name."""
    workers = settings.workers
    slots = {"pack": workers.pack, "tape": workers.tape, "recall": workers.recall, "check": workers.check}
    result = {"web": ["web"], "planner": ["planner"]}
    for queue, number in slots.items():
        if number:
            result[f"worker-{queue}"] = ["worker", "--queues", queue, "--slots", str(number)]
    return result


def die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, so that a killed `up` leaves nothing running."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent was gone before we asked
        os.kill(os.getpid(), signal.SIGKILL)


class Supervisor:
    """The processes of one host."""

    def __init__(self, commands: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> None:
        """`commands` are arguments of `holdfast`, by the name of the part."""
        self._commands = commands
        self._environment = {**os.environ, **environment}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._again: dict[str, float] = {}

    def run(self, stopping: threading.Event, *, watch: Callable[[], None]) -> None:
        """Keep all parts running until `stopping` is set; `watch` is called between two looks. Stops them at the end."""
        try:
            while not stopping.is_set():
                self._look()
                watch()
                stopping.wait(_POLL)
        finally:
            self._stop()

    def _look(self) -> None:
        for name in self._commands:
            process = self._processes.get(name)
            if process is not None and process.poll() is None:
                continue
            if process is not None and name not in self._again:
                _LOG.warning("%s ended with code %s and is started again", name, process.returncode)
                self._again[name] = time.monotonic() + _CALM
            if time.monotonic() >= self._again.get(name, 0.0):
                self._again.pop(name, None)
                self._processes[name] = self._start(name)

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "holdfast", *self._commands[name]],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - this process starts its parts before any thread
        )

    def _stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_WAIT
        for name, process in self._processes.items():
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                _LOG.warning("%s does not end and is killed; its work is taken over at the next start", name)
                process.kill()
                process.wait()
