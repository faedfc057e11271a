# SPDX-License-Identifier: Apache-2.0
"""A real archive, `holdfast up` with all its processes, that is killed and started again."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from campaign import SEED

from holdfast.client import Client
from holdfast.errors import HoldfastError, Unreachable

T = TypeVar("T")
_DEADLINE = 120.0  # seconds for anything at all
_LOOK = threading.Event()  # never set: waiting on it is a pause that ends when a fact is looked at again


def free_port() -> int:
    """Return a port below those that the kernel gives to outgoing connections."""
    chance = random.Random()
    while True:
        port = chance.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class LiveSite:
    """`holdfast up` in a session of its own over one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.source = folder, folder / "data", folder / "source"
        self.port = free_port()
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None
        chance = random.Random(SEED)
        self.files = {f"run{n // 10}/frame{n:03}.raw": chance.randbytes(300_000 + n) for n in range(40)}
        for name, data in self.files.items():
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).write_bytes(data)

    def start(self, env: dict[str, str]) -> None:
        """Start the archive; a crash point may end it before it answers."""
        self.starts += 1
        with (self.folder / "up.log").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", "up", "--data", str(self.data), "--port", str(self.port),
                 "--root", str(self.source), "--capacity", "40 MB"],
                env={**os.environ, "HOLDFAST_LIBRARY_RESERVE": "1 MB", **env},
                stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def alive(self) -> bool:
        """Say whether the archive's first process lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill the whole process group at once."""
        assert self._process
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait()

    def stop(self) -> None:
        """End the archive as Ctrl-C does."""
        if self._process and self.alive():
            self._process.send_signal(signal.SIGINT)
            assert self._process.wait(60) == 0

    def until(self, env: dict[str, str], fact: Callable[[Client], T | None]) -> T:
        """Ask the archive until `fact` gives something, and start it again whenever it was killed."""
        deadline = time.monotonic() + _DEADLINE
        while time.monotonic() < deadline:
            if not self.alive():
                self.start(env)
            token = self.data / "token"
            if token.exists():
                with Client(f"http://127.0.0.1:{self.port}", token.read_text().strip()) as client:
                    try:
                        if (found := fact(client)) is not None:
                            return found
                    except Unreachable:
                        pass
                    except HoldfastError as error:
                        if getattr(error, "of", "") != "database-unavailable":
                            raise
            _LOOK.wait(0.1)
        raise AssertionError(f"the archive did not get there: {(self.folder / 'up.log').read_text()[-3000:]}")

    def life(self, env: dict[str, str]) -> None:
        """Archive, verify, get back and release, however often the archive dies on the way; then check the outcome."""

        def registered(client: Client) -> str | None:
            found = list(client.datasets())
            if found:
                return found[0].id
            return client.archive(str(self.source), title="live").id

        dataset = self.until(env, registered)
        self.until(env, lambda client: client.dataset(dataset).safe_at)
        back = self.folder / "back"
        asked = self.until(env, lambda client: client.ask(dataset, destination=str(back), key="back").id)
        ended = self.until(env, lambda client: _ended(client, asked))
        assert ended == ("delivered", 0), ended
        assert _digests(back) == {name: hashlib.sha512(data).hexdigest() for name, data in self.files.items()}
        plan = self.until(env, lambda client: client.release(dataset, apply=True, key="free").id)
        assert self.until(env, lambda client: _released(client, plan)) == ("done", 0)
        assert _digests(self.source) == {}
        self._through_the_buffer(env, dataset)
        checked = self.until(env, lambda client: client.check(dataset))
        self.until(
            env, lambda client: _checked(client, dataset, len(checked.copies), checked.asked_at.timestamp()) or None
        )
        found = self.until(env, lambda client: client.dataset(dataset))
        assert (found.level, found.availability, found.pending) == ("preserved", "nearline", [])
        kinds = [event.kind for event in self.until(env, lambda client: list(client.events_all()))]
        assert [kinds.count(kind) for kind in ("dataset.closed", "dataset.safe", "source.released")] == [1, 1, 1]

    def _through_the_buffer(self, env: dict[str, str], dataset: str) -> None:
        """Have the files staged, and go again."""
        staged = self.until(env, lambda client: client.stage(dataset, keep=3600, key="stage").id)
        assert self.until(env, lambda client: _ended(client, staged)) == ("ready", 0)
        there = Path(self.until(env, lambda client: client.request(staged)).destination)
        assert _digests(there) == {name: hashlib.sha512(data).hexdigest() for name, data in self.files.items()}
        self.until(env, lambda client: client.unstage(staged))
        self.until(env, lambda client: client.request(staged).state == "expired" or None)
        self.until(env, lambda _: not there.exists() or None)


def _ended(client: Client, request: str) -> tuple[str, int] | None:
    found = client.request(request)
    return (found.state, found.failed_files) if found.state in {"delivered", "ready", "failed", "cancelled"} else None


def _released(client: Client, release: str) -> tuple[str, int] | None:
    found = client.released(release)
    return (found.state, found.kept) if found.state in {"done", "failed"} else None


def _checked(client: Client, dataset: str, count: int, asked_at: float) -> bool:
    copies = [copy for package in client.dataset(dataset).packages for copy in package.copies]
    fresh = [copy for copy in copies if copy.verified_at and copy.verified_at.timestamp() >= asked_at]
    return len([copy for copy in fresh if copy.state == "verified"]) >= count


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha512(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
