# SPDX-License-Identifier: Apache-2.0
"""P6: an archive that is stopped, killed or hurt goes on by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from holdfast.app import set_up
from holdfast.settings.reading import load
from holdfast.testing.faults import sample
from holdfast.testing.program import Up, environment, holdfast, wait_for
from holdfast.testing.proxy import free_port

_BIG = {f"f{n}": sample(1_500_000, f"{n}") for n in range(6)}


def fill(up: Up, name: str) -> Path:
    folder = up.sources / name
    folder.mkdir()
    for path, content in _BIG.items():
        (folder / path).write_bytes(content)
    return folder


def safe(up: Up, dataset: str) -> bool:
    return bool(up.json("show", dataset)["safe_at"])


def whole(up: Up, dataset: str, target: Path) -> None:
    """Assert that a dataset comes back as it was."""
    assert up.json("get", dataset, "--to", target, "--wait")["failed_files"] == 0
    assert {path.name: path.read_bytes() for path in target.iterdir()} == _BIG


def test_it_stops_cleanly_and_leaves_nothing_running(own: Up) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        assert own.run("ls").returncode == 0
        assert len(own.processes()) > 6
        assert own.stop(number) == 0
        assert own.processes() == []
        assert own.told().endswith("Holdfast has stopped.\n")
        if number == signal.SIGINT:
            own.start()
    assert "Traceback" not in own.told()
    assert [line for line in own.told().splitlines() if re.search(r"ERROR|WARNING", line)] == []


def test_p6_everything_killed_at_once_goes_on_after_the_next_start(up: Up, tmp_path: Path) -> None:
    dataset = up.json("archive", fill(up, "all"), "--title", "A run")["id"]
    up.kill()
    up.start()
    wait_for(lambda: safe(up, dataset), "the dataset is safe")
    up.kill()
    up.start()
    assert up.json("show", dataset)["level"] == "preserved"
    whole(up, dataset, tmp_path / "back")


@pytest.mark.parametrize("which", [0, 1, 2, 3, -1])
def test_p6_a_process_that_is_killed_is_started_again_and_its_work_is_done(up: Up, which: int, tmp_path: Path) -> None:
    wait_for(lambda: up.run("status").returncode == 0, "the archive answers again, whoever was killed before")
    dataset = up.json("archive", fill(up, f"one{which}"), "--title", "A run")["id"]
    victim = [pid for pid in up.processes() if pid != up.pid][which]
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    wait_for(lambda: reached(up, dataset), f"the dataset is safe, {victim} was killed")
    whole(up, dataset, tmp_path / "back")


def reached(up: Up, dataset: str) -> bool:
    shown = up.run("show", dataset, "--json")
    return shown.returncode == 0 and '"safe_at":null' not in shown.stdout.replace(" ", "")


def test_p6_a_killed_database_comes_back(up: Up, tmp_path: Path) -> None:
    wait_for(lambda: up.run("status").returncode == 0, "the archive answers again, whoever was killed before")
    dataset = up.json("archive", fill(up, "database"), "--title", "A run")["id"]
    postmaster = int((up.data / "database" / "data" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    wait_for(lambda: reached(up, dataset), "the dataset is safe")
    whole(up, dataset, tmp_path / "back")


def test_the_parts_can_run_on_their_own(tmp_path: Path, postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute("create database parts_test")
    dsn = psycopg.conninfo.make_conninfo(postgres, dbname="parts_test")
    (tmp_path / "sources" / "run").mkdir(parents=True)
    (tmp_path / "sources" / "run" / "a").write_bytes(b"alpha")
    data, port = tmp_path / "data", free_port()
    settings = {
        "HOLDFAST_DATABASE_URL": dsn, "HOLDFAST_DATA": str(data), "HOLDFAST_WEB_PORT": str(port),
        "HOLDFAST_ROOTS_SOURCE": str(tmp_path / "sources"), "HOLDFAST_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    own = {key: value for key, value in settings.items() if key != "HOLDFAST_URL"}
    early = holdfast("web", env=own)
    assert early.returncode == 8, early
    assert "schema" in early.stderr
    data.mkdir()
    set_up(load(data), dsn)
    program = str(Path(sys.executable).with_name("holdfast"))
    log = (tmp_path / "parts").open("wb")
    parts = [
        subprocess.Popen([program, *command], env=environment(**own), stdout=log, stderr=log)
        for command in (
            ["web"],
            ["planner"],
            ["worker", "--queues", "pack,tape"],
            ["worker", "--queues", "check,recall"],
        )
    ]
    try:
        wait_for(lambda: holdfast("ls", env=settings).returncode == 0, "the server answers")
        done = holdfast("archive", tmp_path / "sources" / "run", "--title", "t", "--wait", env=settings)
        assert done.returncode == 0, done
        assert "is safe" in done.stdout
    finally:
        for part in parts:
            part.terminate()
        codes = [part.wait(30) for part in parts]
        log.close()
        with psycopg.connect(postgres, autocommit=True) as server:
            server.execute("drop database parts_test with (force)")
    assert codes == [0, 0, 0, 0]
    assert b"Traceback" not in (tmp_path / "parts").read_bytes()


def test_p5_rebuild_and_up_on_a_new_folder(own: Up, tmp_path: Path) -> None:
    dataset = own.json("archive", fill(own, "run"), "--title", "A run", "--wait")["id"]
    files = own.json("show", dataset)["file_list"]
    own.stop()
    new = tmp_path / "new"
    done = holdfast("rebuild", "--library", own.data / "library", "--data", new)
    assert done.returncode == 0, done
    assert "1 datasets" in done.stdout or "1 dataset," in done.stdout
    own.data = new
    own.start()
    assert own.json("show", dataset)["file_list"] == files
    whole(own, dataset, tmp_path / "back")


def test_it_ends_by_itself_as_soon_as_it_runs(own: Up) -> None:
    for _ in range(3):
        assert own.stop() == 0
        own.start()
    assert "is killed" not in own.told()
    assert "is started again" not in own.told()
