# SPDX-License-Identifier: Apache-2.0
"""`holdfast up` as a process of its own, and the command line beside it."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from holdfast.testing.proxy import free_port

_PATIENCE: Final = 90.0  # seconds for anything: machines that build are slow
_LOOK: Final = 0.05  # seconds between two looks
_PROGRAM: Final = Path(sys.executable).with_name("holdfast")


@cache
def _compiled() -> str:
    """Return a folder for compiled modules: many programs are started, and compiling takes longer than they do."""
    folder = tempfile.mkdtemp(prefix="holdfast-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more: str) -> dict[str, str]:
    """Return the environment without settings of whoever runs the tests, whose disk may be nearly full."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HOLDFAST_")}
    clean.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**clean, "PYTHONPYCACHEPREFIX": _compiled(), "HOLDFAST_BUFFER_LIMIT": "1 GB", **more}


def wait_for(fact: Callable[[], object], what: str, *, patience: float = _PATIENCE) -> None:
    """Look until `fact` holds. Raises AssertionError when it does not in time."""
    deadline = time.monotonic() + patience
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(_LOOK)


def holdfast(
    *arguments: str | Path, env: Mapping[str, str] | None = None, timeout: float = _PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [_PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=timeout,
        env=environment(**(env or {})),
    )  # fmt: skip


class Up:
    """A running `holdfast up` with its data and sources below one folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """`arguments` are added to the command."""
        self.data = folder / "data"
        self.sources = folder / "sources"
        self.sources.mkdir(exist_ok=True)
        self.port = free_port()
        self.log = folder / "log"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave nothing running."""
        with suppress(ProcessLookupError):
            if self._process and self._process.poll() is None:
                self.stop()
        self.kill()

    def command(self) -> list[str]:
        """Return the command line."""
        return [
            str(_PROGRAM), "up", "--data", str(self.data), "--port", str(self.port), "--root", str(self.sources),
            "--capacity", "50 MB", *self._arguments,
        ]  # fmt: skip

    def start(self) -> None:
        """Start in a session of its own and wait until it says that it runs."""
        at = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=environment(HOLDFAST_LIBRARY_RESERVE="1 MB", PYTHONUNBUFFERED="1"),
            )  # fmt: skip
        process = self._process

        def answers() -> bool:
            if process.poll() is not None:
                raise AssertionError(f"holdfast up ended with {process.returncode}: {self.told()}")
            return "Stop it with Ctrl-C" in self.log.read_bytes()[at:].decode()

        wait_for(answers, "holdfast up runs")

    def stop(self, number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does and return its exit code."""
        assert self._process is not None
        os.killpg(self._process.pid, number) if number == signal.SIGINT else self._process.send_signal(number)
        return self._process.wait(_PATIENCE)

    def kill(self) -> None:
        """Kill every process of it at once."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._process:
            self._process.wait(_PATIENCE)
        wait_for(lambda: not self.processes(), "all processes are gone")

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self._process is not None
        return self._process.pid

    def processes(self) -> list[int]:
        """Return all processes that work on this data folder or descend from ours."""
        parents: dict[int, int] = {}
        named: set[int] = set()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state == "Z":
                    continue
                parents[int(entry.name)] = int(parent)
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if any(
                    word == os.fsencode(self.data) or word.startswith(os.fsencode(self.data) + b"/") for word in words
                ):
                    named.add(int(entry.name))
        if self._process and self._process.poll() is None:
            named.add(self._process.pid)
        while more := {pid for pid, parent in parents.items() if parent in named} - named:
            named |= more
        return sorted(named)

    def told(self) -> str:
        """Return what it printed."""
        return self.log.read_text(errors="replace")

    def run(self, *arguments: str | Path, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on this archive."""
        return holdfast(*arguments, "--data", self.data, **how)

    def json(self, *arguments: str | Path) -> Any:
        """Run a command with --json and return the object of its last line."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, (arguments, done)
        return json.loads(done.stdout.splitlines()[-1])
