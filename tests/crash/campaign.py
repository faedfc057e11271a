# SPDX-License-Identifier: Apache-2.0
"""What the crash campaign does and what must hold after it (P1 to P11)."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from holdfast.errors import AlreadyArchived
from holdfast.model.names import sidecar_name
from holdfast.services.free import want_release
from holdfast.testing.site import SmallSite, small_site

CAPACITY = 12_000_000  # bytes of a tape: segments are a quarter, so the dataset has several packages
SEED = 20_261_121
BAGS, PLAIN = "twin-tape", "plain-twin-tape"
LEFT_OUT = "repair"  # the twin that is destroyed, so that repair happens too


def content(profile: str) -> dict[str, bytes]:
    """Return files that make three packages, or five plain ones, one of them larger than a package."""
    chance = random.Random(SEED)
    files = {f"run{n // 10}/frame{n:03}.raw": chance.randbytes(60_000 + n) for n in range(30 if profile == BAGS else 2)}
    files["whole.h5"] = chance.randbytes(3_500_000)
    files["empty"] = b""
    return files


class Zygote:
    """The process that forks workers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def work(self, folder: Path, dsn: str, env: dict[str, str], *, kill_after: float | None = None) -> int:
        """Have a worker do all that is owed; kill it after some seconds, if asked. Return its wait status."""
        assert self._process.stdin
        assert self._process.stdout
        wish = {"folder": str(folder), "dsn": dsn, "env": env, "capacity": CAPACITY}
        print(json.dumps(wish), file=self._process.stdin, flush=True)
        pid = json.loads(self._process.stdout.readline())["pid"]
        killer = threading.Timer(kill_after, _kill, [pid]) if kill_after is not None else None
        if killer:
            killer.start()
        status = int(json.loads(self._process.stdout.readline())["status"])
        if killer:
            killer.cancel()
            killer.join()
        return status

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Campaign:
    """One dataset through its whole life, with workers that die."""

    def __init__(self, zygote: Zygote, folder: Path, dsn: str, profile: str = BAGS, *, to_buffer: bool = False) -> None:
        self.zygote, self.folder, self.dsn, self.profile = zygote, folder, dsn, profile
        self.to_buffer = to_buffer  # get back into the buffer, and let the pin end
        self.files = content(profile)
        self.deaths = 0

    @contextmanager
    def site(self) -> Iterator[SmallSite]:
        with small_site(self.folder, self.dsn, library__capacity=CAPACITY) as site:
            yield site

    def run(self, env: dict[str, str], *, kill_after: Callable[[], float | None] = lambda: None) -> None:
        """Archive, lose a twin, get back, release the source; whoever dies is followed by another worker."""
        with self.site() as site:
            self.dataset = site.archive_folder(self.files, profile=self.profile)
        self._until_done(env, kill_after)
        with self.site() as site:
            assert site.show(self.dataset).safe_at, site.show(self.dataset)
            _destroy_a_twin(site, self.dataset)
            self.request = site.stage(self.dataset) if self.to_buffer else site.ask(self.dataset)
        self._until_done(env, kill_after)
        if self.to_buffer:
            with self.site() as site:
                self._delivered(site, site.archive.settings.buffer_path / self.request, "ready")
                site.rows("update request set expires_at = now()")
            self._until_done(env, kill_after)
        with self.site() as site:
            self.release = want_release(site.archive, self.dataset, person="tester", apply=True)
        self._until_done(env, kill_after)

    def _until_done(self, env: dict[str, str], kill_after: Callable[[], float | None]) -> None:
        for _ in range(30):
            status = self.zygote.work(self.folder, self.dsn, env, kill_after=kill_after())
            if status == 0:
                return
            assert os.WIFSIGNALED(status), "a worker failed by itself, see its traceback above"
            self.deaths += 1
        pytest.fail("thirty workers died and the work is not done")

    def check(self) -> None:
        """Assert that nothing was lost, nothing is left behind and nothing was said that is not true."""
        with self.site() as site:
            shown = site.show(self.dataset)
            assert (shown.state, shown.level, shown.pending) == ("closed", "preserved", [])
            _copies_are_what_they_say(site, shown.packages)
            _events_tell_it_once(site, self.dataset)
            staged = site.staged()
            assert staged == [], staged
            assert site.rows("select * from reservation") == []
            if self.to_buffer:
                assert site.request(self.request).state == "expired"
                assert list(site.archive.settings.buffer_path.iterdir()) == []
                assert site.rows("select id from request where evicted_at is null") == []
                assert len(site.events("request.expired")) == 1
            else:
                self._delivered(site, site.destinations / "back", "delivered")
            self._released(site)

    def _delivered(self, site: SmallSite, target: Path, state: str) -> None:
        asked = site.request(self.request)
        assert (asked.state, asked.failed_files) == (state, 0), asked
        found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
        assert {name: hashlib.sha512(data).digest() for name, data in found.items()} == {
            name: hashlib.sha512(data).digest() for name, data in self.files.items()
        }

    def _released(self, site: SmallSite) -> None:
        (row,) = site.rows("select state, kept from release where id = %s", self.release)
        assert row == {"state": "done", "kept": 0}
        source = site.sources / "run"
        assert [path for path in source.rglob("*") if path.is_file()] == []
        with pytest.raises(AlreadyArchived):  # P11
            site.register(source)


def _destroy_a_twin(site: SmallSite, dataset: str) -> None:
    """Zero the middle of one copy on its tape, so that its twin must serve and it must be replaced."""
    package = next(package for package in site.show(dataset).packages if package.payload > 200_000)
    copy = package.copies[0]
    assert copy.tape
    with (site.library / copy.tape / package.name).open("r+b") as file:
        file.seek(1000)
        file.write(bytes(100_000))
    with site.archive.database.transaction() as conn:
        conn.execute("update copy set check_wanted = now() where id = %s", [copy.id])


def _copies_are_what_they_say(site: SmallSite, packages: list[Any]) -> None:
    known = set()
    for package in packages:
        assert package.state == "released"
        good = [copy for copy in package.copies if copy.state == "verified"]
        assert len({copy.tape for copy in good}) == 2, package  # P3: distinct media
        for copy in good:
            stored = (site.library / copy.tape / package.name).read_bytes()
            assert blake3(stored).hexdigest() == package.blake3 == copy.blake3  # P2
            if package.packaging == "plain":
                said = json.loads((site.library / copy.tape / sidecar_name(package.name)).read_bytes())
                assert said["file"]["sha512"] == hashlib.sha512(stored).hexdigest()
        known |= {f"{copy.tape}/{package.name}" for copy in package.copies}
        known |= {
            f"{copy.tape}/{sidecar_name(package.name)}" for copy in package.copies if package.packaging == "plain"
        }
    assert set(site.on_tapes()) <= known  # nothing on a tape that the catalogue does not know


def _events_tell_it_once(site: SmallSite, dataset: str) -> None:
    kinds = [event.kind for event in site.events() if event.dataset == dataset]
    for kind in ("dataset.registered", "dataset.closing", "dataset.closed", "dataset.safe", "source.released"):
        assert kinds.count(kind) == 1, (kind, kinds)
    order = [kinds.index(kind) for kind in ("dataset.registered", "package.staged", "copy.written", "copy.verified")]
    assert order == sorted(order)
    assert kinds.index("copy.verified") < kinds.index("package.released") <= kinds.index("dataset.safe") + 1
