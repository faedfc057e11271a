# SPDX-License-Identifier: Apache-2.0
"""Commands that cannot be done as they were given, that are interrupted, and whose words others chose."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from holdfast.testing.hosts import Quiet, answering
from holdfast.testing.program import Up, environment, holdfast, wait_for

NOWHERE = {"HOLDFAST_URL": "http://127.0.0.1:1", "HOLDFAST_TOKEN": "hf_x"}
ODD = os.fsdecode(b"lat\xff")


@pytest.fixture(scope="module")
def dataset(up: Up) -> str:
    folder = up.sources / "run"
    (folder / "sub" / "none").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"alpha")
    (folder / ODD).write_bytes(b"latin")
    (folder / "sub" / ODD).write_bytes(b"also")
    return str(up.json("archive", folder, "--title", "A\n\x1b[31mrun", "--wait")["id"])


@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        (["show"], "usage", 2), (["nothing"], "usage", 2), (["keep", "x", "2x"], "usage", 2), (["ls", "--no"], "usage", 2),
        (["checksums", "x", "--json"], "usage", 2), (["ls"], "unreachable", 6), (["download", "x", "--to", "y"], "unreachable", 6),
    ],
)  # fmt: skip
def test_programs_are_told_errors_in_json(command: list[str], code: str, exit_code: int) -> None:
    done = holdfast(*command, "--json", env=NOWHERE)
    assert (json.loads(done.stdout)["error"]["code"], done.returncode) == (code, exit_code)


@pytest.mark.parametrize("command", [["checksums", "x"], ["admin", "packages", "--csv"], ["ls"]])
def test_a_server_that_is_down_is_said_in_a_sentence(command: list[str]) -> None:
    done = holdfast(*command, env=NOWHERE)
    assert (done.returncode, len(done.stderr.splitlines())) == (6, 1)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HOLDFAST_URL", "archive"), ("HOLDFAST_URL", "http://[::1"), ("HOLDFAST_URL", "http://a:99999"),
        ("HOLDFAST_URL", "ftp://a"), ("HOLDFAST_TOKEN", "a\nb"), ("HOLDFAST_TOKEN", "ä"),
    ],
)  # fmt: skip
def test_an_address_and_a_token_that_are_none_are_said(variable: str, value: str) -> None:
    done = holdfast("ls", env={**NOWHERE, variable: value})
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_what_cannot_be_written_is_said(up: Up, dataset: str, tmp_path: Path) -> None:
    for command in (["ls"], ["ls", "--json"], ["checksums", dataset]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*up.command()[:1], *command, "--data", up.data], stdout=full, stderr=subprocess.PIPE, text=True,
                env=environment(), check=False,
            )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    (tmp_path / "file").touch()
    done = holdfast("migrate", "--data", "/proc/no")
    assert (done.returncode, done.stderr) == (2, "holdfast: /proc/no: No such file or directory.\n")


def test_a_path_is_a_folder_a_file_or_not_there(up: Up, dataset: str) -> None:
    assert [item["path"] for item in up.json("ls", dataset, "a.txt")["items"]] == ["a.txt"]
    assert "There is nothing in sub/none." in up.run("ls", dataset, "sub/none").stdout
    gone = up.run("ls", dataset, "nothing")
    assert (gone.returncode, gone.stderr) == (
        4, f"holdfast: There is no file or folder nothing in dataset {dataset}.\n",
    )  # fmt: skip
    assert up.run("meta", dataset, "x=1", "--history").returncode == 2


def test_names_that_are_not_utf_8_can_be_given(up: Up, dataset: str, tmp_path: Path) -> None:
    for asked in (ODD, f"sub/{ODD}"):
        done = up.run("download", dataset, asked, "--to", tmp_path / "here")
        assert (done.returncode, (tmp_path / "here" / asked).is_file()) == (0, True)
        assert up.run("get", dataset, asked, "--to", tmp_path / "got", "--wait").returncode == 0
        assert (tmp_path / "got" / asked).is_file()
    assert up.json("stage", dataset, ODD)["files"] == 1
    for command in (["ls", dataset, ODD], ["find", ODD], ["meta", dataset, f"a={ODD}"], ["search", ODD]):
        done = up.run(*command)
        assert (done.returncode, "UTF-8" in done.stderr, "Traceback" in done.stderr) == (2, True, False)


def test_what_others_wrote_steers_no_terminal_and_breaks_no_line(up: Up, dataset: str) -> None:
    for command in (
        ["show", dataset],
        ["ls"],
        ["delete", dataset],
        ["show", "\x1b[2J"],
        ["get", dataset, "\x1b[2J", "--to", "x"],
    ):
        done = up.run(*command)
        assert "\x1b" not in done.stdout + done.stderr
    assert up.run("show", dataset).stdout.startswith("A\\n\\x1b[31mrun\n")


def test_a_row_is_a_line_on_narrow_terminals(up: Up, dataset: str) -> None:
    told = b""
    parent, child = pty.openpty()
    command = [*up.command()[:1], "ls", "--data", str(up.data)]
    with subprocess.Popen(command, stdout=child, env=environment(COLUMNS="40", NO_COLOR="1", TERM="dumb")) as process:
        os.close(child)
        try:
            while piece := os.read(parent, 10_000):
                told += piece
        except OSError:  # as Linux says that nobody writes any more
            os.close(parent)
        assert process.wait() == 0
    assert any(line.startswith(dataset) and "preserved" in line for line in told.decode().splitlines())


def test_dots_are_names_and_not_the_way_to_another_dataset(up: Up, tmp_path: Path) -> None:
    one, other = (up.json("create", "--title", title)["id"] for title in "ab")
    (tmp_path / "f").touch()
    assert up.run("add", other, tmp_path / "f").returncode == 0
    assert up.run("remove", one, f"../../{other}/files/f").returncode != 0
    assert [item["path"] for item in up.json("ls", other)["items"]] == ["f"]
    assert up.run("show", "..").returncode == 4


def test_links_and_dots_are_added_as_they_are_given(up: Up, tmp_path: Path) -> None:
    ident = up.json("create", "--title", "links")["id"]
    (tmp_path / "dangling").symlink_to("/nowhere")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f").touch()
    assert up.json("add", ident, tmp_path / "dangling", f"{tmp_path}/sub/.")["files"] == 2
    assert [item["path"] for item in up.json("ls", ident)["items"]] == ["dangling", "f"]
    assert up.run("add", ident, tmp_path / "nothing").returncode == 2


class _Stuck(Quiet):
    """A server that lists no file, and takes one for ever."""

    protocol_version = "HTTP/1.1"
    asked, free = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        body = b'{"items": [], "next": null}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self.asked.set()
        self.free.wait()


@pytest.fixture
def stuck() -> Iterator[str]:
    with answering(ThreadingHTTPServer(("127.0.0.1", 0), _Stuck)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
        _Stuck.free.set()


def test_ctrl_c_does_not_wait_for_a_file_that_is_on_its_way(stuck: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(2_000_000))
    with subprocess.Popen(
        [Path(sys.executable).with_name("holdfast"), "add", "x", tmp_path / "large"],
        env=environment(HOLDFAST_URL=stuck, HOLDFAST_TOKEN="hf_x"),
    ) as process:
        assert _Stuck.asked.wait(60)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(60) == 130
        assert time.monotonic() - began < 20


def test_waiting_goes_on_when_the_server_comes_back(own: Up) -> None:
    (own.sources / "run").mkdir()
    (own.sources / "run" / "a").write_bytes(os.urandom(1_000_000))
    for number in range(1, 9):
        own.run("admin", "tape", "disable", f"HF000{number}L8", "--reason", "it has to wait")
    command = [*own.command()[:1], "archive", own.sources / "run", "--title", "A", "--wait"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(HOLDFAST_DATA=str(own.data)),
    ) as waiting:
        wait_for(lambda: own.json("ls")["items"], "it is registered")
        own.kill()
        assert waiting.stderr is not None
        while "does not answer" not in waiting.stderr.readline():
            assert waiting.poll() is None
        own.start()
        for number in range(1, 9):
            own.run("admin", "tape", "enable", f"HF000{number}L8")
        told, _ = waiting.communicate(timeout=90)
    assert (waiting.returncode, "is safe" in told) == (0, True)
