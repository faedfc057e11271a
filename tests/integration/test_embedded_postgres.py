# SPDX-License-Identifier: Apache-2.0
"""The embedded PostgreSQL gets over every way to end, and never shares its folder (P6)."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.errors import Conflict, OperatorNeeded

OWNER = """
import sys
from pathlib import Path
from holdfast.catalog.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
print(server.start(), flush=True)
print(server._process.pid, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pg") / "database"  # the path of a socket has no room for the name of a test


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    yield server
    server.stop()


def add_row(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")


def rows(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert found is not None
    return int(found[0])


def value(dsn: str, setting: str) -> str:
    with psycopg.connect(dsn) as connection:
        found = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    assert found is not None
    return str(found[0])


def until(condition: Callable[[], bool], *, what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        os.sched_yield()


def owner(folder: Path) -> tuple[subprocess.Popen[str], str, int]:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip(), int(process.stdout.readline())


def end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()
    process.wait()


def test_rows_are_there_after_stop_and_start(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    add_row(dsn)
    assert server.running()
    assert server.start() == dsn  # P11
    server.stop()
    assert not server.running()
    server.stop()
    assert rows(server.start()) == 1


def test_it_is_durable_and_private(server: EmbeddedPostgres, folder: Path) -> None:
    dsn = server.start()
    assert [value(dsn, name) for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on", "on", "on"]
    assert [value(dsn, name) for name in ("listen_addresses", "data_checksums", "server_encoding", "jit")] == [
        "",
        "on",
        "UTF8",
        "off",
    ]
    assert stat.S_IMODE((folder / "password").stat().st_mode) == 0o600
    without = make_conninfo(dsn, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(without)
    assert not list(folder.glob("data.new-*"))


def test_a_killed_server_is_seen_and_started_again(server: EmbeddedPostgres) -> None:
    dsn = server.start()
    add_row(dsn)
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGKILL)
    until(lambda: not server.running(), what="the end of the server is seen")
    assert rows(server.start()) == 1


def test_the_server_ends_with_its_killed_owner_and_starts_again(folder: Path, server: EmbeddedPostgres) -> None:
    process, dsn, _ = owner(folder)
    add_row(dsn)
    process.kill()
    end(process)
    assert rows(server.start()) == 1


def test_owner_and_server_are_killed_together(folder: Path, server: EmbeddedPostgres) -> None:
    process, dsn, postmaster = owner(folder)
    add_row(dsn)
    os.kill(postmaster, signal.SIGKILL)
    process.kill()
    end(process)
    assert rows(server.start()) == 1


def test_a_server_that_outlived_its_owner_is_replaced(folder: Path, server: EmbeddedPostgres) -> None:
    process, dsn, postmaster = owner(folder)
    os.kill(postmaster, signal.SIGSTOP)  # it cannot hear that its owner died
    process.kill()
    end(process)
    os.kill(postmaster, signal.SIGCONT)
    assert server.start() == dsn
    assert postmaster not in server._processes()


def test_a_live_owner_keeps_the_folder(folder: Path, server: EmbeddedPostgres) -> None:
    process, dsn, _ = owner(folder)
    with pytest.raises(Conflict, match=f"process {process.pid}"):
        server.start()
    add_row(dsn)
    end(process)
    assert rows(server.start()) == 1


def test_stale_lock_files_with_a_number_in_use_do_not_stop_it(folder: Path, server: EmbeddedPostgres) -> None:
    dsn = server.start()
    add_row(dsn)
    server.stop()
    assert server._socket_folder() == folder / "data"
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (folder / "data" / name).write_text(f"{os.getpid()}\n{folder / 'data'}\n1\n5432\n\n\n\n")
    assert rows(server.start()) == 1


def test_a_half_made_cluster_is_made_anew(folder: Path, server: EmbeddedPostgres) -> None:
    remains = folder / "data.new-0000"
    remains.mkdir(parents=True)
    (remains / "PG_VERSION").write_text("18")
    (folder / "data.new-0000.password").write_text("x")
    add_row(server.start())
    assert not list(folder.glob("data.new-*"))


def test_an_owner_that_is_killed_while_the_cluster_is_made(folder: Path, server: EmbeddedPostgres) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    until(lambda: bool(list(folder.glob("data.new-*/postgresql.conf"))), what="initdb is at work")
    process.kill()
    end(process)
    add_row(server.start())
    server.stop()
    server.start()
    assert not list(folder.glob("data.new-*"))


def test_a_long_or_odd_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    for name in ("d" * 120, "a, b 'c' \"ä\""):
        server = EmbeddedPostgres(tmp_path / name)
        try:
            dsn = server.start()
            assert conninfo_to_dict(dsn)["host"].startswith("/tmp/holdfast-")
            assert stat.S_IMODE(server._socket_folder().stat().st_mode) == 0o700
            add_row(dsn)
        finally:
            server.stop()
        assert not server._socket_folder().exists()


def test_a_server_that_cannot_start_says_why(folder: Path, server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    with (folder / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("no_such_setting = 1\n")
    with pytest.raises(Exception, match="no_such_setting"):
        server.start()
    assert not server.running()


def test_the_log_is_bounded(folder: Path, server: EmbeddedPostgres) -> None:
    folder.mkdir()
    with (folder / "postgres.log").open("wb") as log:
        log.truncate(9 << 20)
    server.start()
    assert (folder / "postgres.log").stat().st_size < 1 << 20
    assert (folder / "postgres.log.1").stat().st_size == 9 << 20


def test_a_thread_may_start_it_and_end(folder: Path) -> None:
    # The death signal is sent when the starting thread ends: a thread that only starts must not end the server.
    program = """
import sys, threading
from pathlib import Path
from holdfast.catalog.embedded import EmbeddedPostgres
import psycopg
server = EmbeddedPostgres(Path(sys.argv[1]))
thread = threading.Thread(target=server.start); thread.start(); thread.join()
for _ in range(20):
    with psycopg.connect(server.dsn) as connection: connection.execute("SELECT pg_sleep(0.005)")
assert server.running()
server.stop()
"""
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)


def test_the_systems_programs_do_as_well(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedPostgres(folder)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _name: None)
        try:
            add_row(server.start())
        finally:
            server.stop()
    try:
        # The wheel's are found again, but a cluster stays with the version that made it.
        assert rows(server.start()) == 1
        assert value(server.dsn, "server_version").split(".")[0] == (folder / "data" / "PG_VERSION").read_text().strip()
    finally:
        server.stop()


def test_programs_of_a_version_that_is_not_here(folder: Path, server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    (folder / "data" / "PG_VERSION").write_text("7\n")
    with pytest.raises(OperatorNeeded, match="PostgreSQL 7"):
        server.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to give up its rights")
class TestAsRoot:
    def test_below_a_folder_that_only_root_may_enter(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        before = {path: path.stat().st_mode for path in (closed, *closed.parents)}
        server = EmbeddedPostgres(closed / "deep" / "database")
        try:
            add_row(server.start())
            assert server._process is not None
            status = Path(f"/proc/{server._process.pid}/status").read_text()
            assert "\nUid:\t0" not in status
        finally:
            server.stop()
        assert before == {path: path.stat().st_mode for path in before}
        assert (closed / "deep" / "database" / "password").stat().st_uid == 0

    @pytest.mark.parametrize(
        ("bounding", "works"), [("-dac_read_search", True), ("-dac_read_search,-dac_override", False)]
    )
    def test_with_fewer_capabilities(self, tmp_path: Path, bounding: str, *, works: bool) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        command = ["setpriv", f"--bounding-set={bounding}", sys.executable, "-c", OWNER, str(closed / "database")]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) == works
        if not works:
            assert "CAP_DAC_READ_SEARCH" in done.stderr
            assert OperatorNeeded.__name__ in done.stderr

    def test_data_restored_as_root_goes_to_the_user(self, folder: Path, server: EmbeddedPostgres) -> None:
        add_row(server.start())
        server.stop()
        for place, _, names in os.walk(folder / "data"):
            for path in (place, *(os.path.join(place, name) for name in names)):
                os.chown(path, 0, 0)
        assert rows(server.start()) == 1
