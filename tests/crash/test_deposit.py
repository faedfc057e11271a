# SPDX-License-Identifier: Apache-2.0
"""The server is killed while files are added to an open dataset; nothing half-done is seen, nothing acknowledged is lost (P6)."""

from __future__ import annotations

import io
import os
import random
import signal
import sys
import tarfile
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from campaign import SEED

from holdfast.crashpoint import CRASH_POINTS
from holdfast.errors import Busy
from holdfast.model.ids import new_id
from holdfast.services import batch, deletion, deposit, landing, show, uploads
from holdfast.testing.site import TESTER, SmallSite, small_site

POINTS = [point for point in CRASH_POINTS if point.startswith(("upload.", "landing."))]
INSTANTS = int(os.environ.get("HOLDFAST_TEST_INSTANTS", "8"))
_CHANCE = random.Random(SEED)
LARGE = {f"large/{n}": _CHANCE.randbytes(900_000 + n) for n in range(3)}
SMALL = {f"small/{n:02}": _CHANCE.randbytes(2000 + n) for n in range(40)}
PIECE = 400_000


def add(site: SmallSite, dataset: str, told: Path) -> None:
    """Do what a client does that repeats all until it is acknowledged; note what was."""
    for name, data in LARGE.items():
        row = uploads.begin(
            site.archive, ident=new_id(), person="tester", dataset=dataset, path=name.encode(), length=len(data), mtime_ns=1,
            resumable=True, reuse=True,
        )  # fmt: skip
        while True:
            try:
                with uploads.Receiving(site.archive, row["id"]) as receiving:
                    receiving.open()
                    at = receiving.received
                    receiving.write([data[at : at + PIECE]])
                    receiving.note()
                    if receiving.received == len(data):
                        receiving.arrive()
                        break
            except Busy:  # PostgreSQL has not seen yet that who did this before was killed
                continue
        acknowledge(told, [name])
    with uploads.Receiving(site.archive, new_id()) as receiving:
        body = tar_of(SMALL)
        uploads.begin(
            site.archive, ident=receiving.ident, person="tester", dataset=dataset, path=batch.NAME, length=len(body), mtime_ns=None,
            resumable=False, one_file=False,
        )  # fmt: skip
        receiving.open()
        receiving.write([body])
        receiving.note()
        outcomes = batch.add_all(receiving)
        assert [outcome for outcome in outcomes if outcome.error] == []
        acknowledge(told, list(SMALL))
        uploads.end(site.archive, receiving.ident)


def tar_of(files: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


def acknowledge(told: Path, names: list[str]) -> None:
    with told.open("a") as file:
        file.write("".join(f"{name}\n" for name in names))


def doing(
    folder: Path, dsn: str, work: Callable[[SmallSite], None], env: dict[str, str], kill_after: float = 0.0
) -> int:
    """Do something in a process of its own, which may die; return its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            os.environ.update(env)
            if kill_after:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.setitimer(signal.ITIMER_REAL, kill_after)
            with small_site(folder, dsn) as site:
                work(site)
        except BaseException:  # noqa: BLE001 - told on standard error, seen by the test as a status
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def seen(site: SmallSite, dataset: str) -> dict[str, bytes]:
    folder = landing.folder_of(site.archive, dataset)
    rows = show.files(site.archive, dataset, prefix=b"", after=b"", limit=1000)
    return {path.decode(): (folder / path.decode()).read_bytes() for path, _ in rows}


def check(folder: Path, dsn: str, dataset: str, told: Path) -> None:
    """What was acknowledged is there whole, and nothing else but whole files is seen."""
    with small_site(folder, dsn) as site:
        there = seen(site, dataset)
        wanted = LARGE | SMALL
        assert {name for name in there if there[name] != wanted[name]} == set()
        acknowledged = set(told.read_text().split()) if told.exists() else set()
        assert acknowledged <= set(there)


def finish(folder: Path, dsn: str, dataset: str) -> None:
    with small_site(folder, dsn) as site:
        uploads.sweep(site.archive)
        site.rows("update upload set expires_at = now()")
        uploads.sweep(site.archive)
        assert site.rows("select * from reservation") == []
        assert list((site.archive.settings.landing_path / ".incoming").iterdir()) == []
        deposit.close(site.archive, dataset, person="tester")
        site.drain()
        assert site.show(dataset).level == "preserved"
        request = site.ask(dataset)
        site.drain()
        assert site.request(request).state == "delivered"
        back = site.destinations / "back"
        found = {str(file.relative_to(back)): file.read_bytes() for file in back.rglob("*") if file.is_file()}
        assert found == LARGE | SMALL
        assert sum(event.body["files"] for event in site.events("files.added")) == len(found)


@pytest.fixture
def dataset(tmp_path: Path, dsn: str) -> str:
    with small_site(tmp_path, dsn) as site:
        ident = new_id()
        deposit.create(site.archive, deposit.Wish("crash"), person=TESTER, ident=ident)
        return ident


@pytest.mark.parametrize("point", POINTS)
def test_p6_a_server_killed_while_files_are_added_loses_nothing(
    tmp_path: Path, dsn: str, dataset: str, point: str
) -> None:
    told, died = tmp_path / "told", tmp_path / "died"
    env = {"HOLDFAST_CRASH": point, "HOLDFAST_CRASH_ONCE": str(died)}
    assert os.WIFSIGNALED(doing(tmp_path, dsn, lambda site: add(site, dataset, told), env))
    assert died.exists()
    check(tmp_path, dsn, dataset, told)
    assert doing(tmp_path, dsn, lambda site: add(site, dataset, told), env) == 0
    check(tmp_path, dsn, dataset, told)
    finish(tmp_path, dsn, dataset)


@pytest.mark.parametrize("number", range(INSTANTS))
def test_p6_a_server_killed_at_random_instants_while_files_are_added_loses_nothing(
    tmp_path: Path, dsn: str, dataset: str, number: int
) -> None:
    told, chance = tmp_path / "told", random.Random(SEED * number)
    for _ in range(3):
        doing(tmp_path, dsn, lambda site: add(site, dataset, told), {}, kill_after=chance.uniform(0.05, 0.6))
        check(tmp_path, dsn, dataset, told)
    assert doing(tmp_path, dsn, lambda site: add(site, dataset, told), {}) == 0
    finish(tmp_path, dsn, dataset)


def test_p6_a_server_killed_while_it_deletes_leaves_nothing(tmp_path: Path, dsn: str, dataset: str) -> None:
    def delete(site: SmallSite) -> None:
        deletion.delete(site.archive, dataset, person="tester", reason="crash")

    env = {"HOLDFAST_CRASH": "delete.recorded", "HOLDFAST_CRASH_ONCE": str(tmp_path / "died")}
    assert doing(tmp_path, dsn, lambda site: add(site, dataset, tmp_path / "told"), env) == 0
    assert os.WIFSIGNALED(doing(tmp_path, dsn, delete, env))
    with small_site(tmp_path, dsn) as site:
        assert landing.folder_of(site.archive, dataset).exists()
        site.drain()
        assert not landing.folder_of(site.archive, dataset).exists()
        assert site.show(dataset).state == "deleted"
