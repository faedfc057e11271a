# SPDX-License-Identifier: Apache-2.0
"""Keeping the processes of one host running: starts them, starts them again when they end, and stops them all.

They are forked from a process that has loaded the program once, so that seven of them start as quickly as one.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from typing import Any, Final

_LOG = logging.getLogger(__name__)
_STOP_WAIT: Final = 10.0  # seconds for the parts to end by themselves
_CALM: Final = 1.0  # seconds before a part that ended is started again
_POLL: Final = 0.1  # seconds
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_LIBC: Final = ctypes.CDLL(None, use_errno=True)

Part = tuple[Callable[..., None], tuple[Any, ...]]  # a module-level function and its arguments


class Supervisor:
    """The processes of one host."""

    def __init__(self, *, preload: str) -> None:
        """Load `preload`, the module that the parts' functions live in, in the background. Main thread only."""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])
        # Ctrl-C reaches the whole process group; we alone decide who ends, and when. Ignoring it is inherited.
        ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
        forkserver.ensure_running()  # loads the program while the caller does other things
        signal.signal(signal.SIGINT, ours)
        self._processes: dict[str, ForkServerProcess] = {}
        self._again: dict[str, float] = {}

    def run(self, parts: Mapping[str, Part], stopping: threading.Event, *, watch: Callable[[], None]) -> None:
        """Keep all parts running until `stopping` is set; `watch` is called between two looks. Stops them at the end."""
        try:
            while not stopping.is_set():
                self._look(parts)
                watch()
                stopping.wait(_POLL)
        finally:
            self._stop()

    def _look(self, parts: Mapping[str, Part]) -> None:
        for name, (work, arguments) in parts.items():
            process = self._processes.get(name)
            if process is not None and process.is_alive():
                continue
            if process is not None and name not in self._again:
                _LOG.warning("%s ended with code %s and is started again", name, process.exitcode)
                self._again[name] = time.monotonic() + _CALM
            if time.monotonic() >= self._again.get(name, 0.0):
                self._again.pop(name, None)
                process = self._context.Process(target=_run, args=(work, arguments), name=name)
                process.start()
                self._processes[name] = process

    def _stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + _STOP_WAIT
        for name, process in self._processes.items():
            process.join(max(deadline - time.monotonic(), 0.0))
            if process.is_alive():
                _LOG.warning("%s does not end and is killed; its work is taken over at the next start", name)
                process.kill()
                process.join()


def _run(work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Without the process that forked us the supervisor could not tell whether we live, and would start a second one.
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    work(*arguments)


def _die_with_parent() -> None:
    """Kill this process when the supervisor is gone, so that a killed `up` leaves nothing running."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
