# SPDX-License-Identifier: Apache-2.0
"""Persons at the command line: apply, log in, make tokens, log out."""

from __future__ import annotations

import json
import os
import pty
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from holdfast.testing.program import Up, environment

PASSWORD = "correct horse battery staple"
PROGRAM = Path(sys.executable).with_name("holdfast")


class Somebody:
    """Who sits at another machine: has the address, and no data folder."""

    def __init__(self, up: Up, home: Path) -> None:
        self.home = home
        self._env = environment(
            HOME=str(home), HOLDFAST_URL=f"http://127.0.0.1:{up.port}", HOLDFAST_DATA=str(home / "no")
        )

    def run(self, *arguments: str, typed: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, *arguments], input=typed, capture_output=True, text=True, check=False, timeout=90,
            env={**self._env, **more}, start_new_session=True,
        )  # fmt: skip

    def json(self, *arguments: str, typed: str = "") -> Any:
        done = self.run(*arguments, "--json", typed=typed)
        assert done.returncode == 0, done
        return json.loads(done.stdout.splitlines()[-1])

    def at_a_terminal(self, *arguments: str, typed: list[tuple[str, str]]) -> tuple[int, str]:
        """Answer the program's questions at a terminal; return its exit code and all that could be seen there."""
        child, terminal = pty.fork()
        if not child:
            os.execve(PROGRAM, [PROGRAM, *arguments], self._env)
        seen = b""
        try:
            for question, answer in typed:
                while question.encode() not in seen:
                    seen += os.read(terminal, 4096)
                os.write(terminal, answer.encode() + b"\n")
            with suppress(OSError):  # EIO: it has ended
                while more := os.read(terminal, 4096):
                    seen += more
        finally:
            os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen.decode()

    @property
    def file(self) -> Path:
        return self.home / ".config/holdfast/credentials"


@pytest.fixture
def marie(up: Up, tmp_path: Path) -> Somebody:
    return Somebody(up, tmp_path)


def test_a_password_that_is_typed_at_a_terminal_is_not_shown(up: Up, marie: Somebody) -> None:
    answers = [("New password: ", PASSWORD), ("Repeat for confirmation: ", PASSWORD)]
    code, seen = marie.at_a_terminal(
        "apply", "lise", "--title", "Lise", "--mail", "l@example.org", "--reason", "x", typed=answers
    )
    assert (code, "administrator" in seen, PASSWORD in seen) == (0, True, False)
    up.run("admin", "person", "approve", "lise")
    code, seen = marie.at_a_terminal("login", typed=[("Name", "lise"), ("assword: ", PASSWORD)])
    assert (code, "as lise until" in seen, PASSWORD in seen) == (0, True, False)
    assert marie.json("whoami")["name"] == "lise"


def test_from_applying_to_logging_out(up: Up, marie: Somebody) -> None:
    assert "You are not logged in" in marie.run("whoami").stderr
    who = ("--title", "Marie Curie", "--mail", "marie@example.org", "--reason", "radium", "--password-stdin")
    assert marie.run("apply", "Marie", *who, typed=PASSWORD).returncode == 2
    short = marie.run("apply", "marie", *who, typed="too-short")
    assert (short.returncode, "at least 12 characters" in short.stderr, "too-short" in short.stderr) == (2, True, False)
    assert "administrator" in marie.run("apply", "marie", *who, typed=f"{PASSWORD}\n").stdout
    assert marie.run("login", "marie", "--password-stdin", typed=PASSWORD).returncode == 3
    assert "radium" in up.run("admin", "person", "list", "--state", "applied").stdout
    assert "active" in up.run("admin", "person", "approve", "marie").stdout
    assert marie.run("login", "marie", "--password-stdin", typed="wrong password").returncode == 3
    nowhere = marie.run("login", "marie", typed="wrong password")
    assert (nowhere.returncode, "--password-stdin" in nowhere.stderr, "Warning" in nowhere.stderr) == (2, True, False)
    assert "as marie until" in marie.run("login", "marie", "--password-stdin", typed=f"{PASSWORD}\r\n").stdout
    assert stat.S_IMODE(marie.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(marie.file.parent.stat().st_mode) == 0o700
    assert marie.json("whoami")["name"] == "marie"
    assert marie.run("admin", "person", "list").returncode == 3
    made = marie.json("token", "add", "--label", "pipeline", "--scope", "read", "--for", "8 h")
    as_pipeline = marie.run("whoami", HOLDFAST_TOKEN=made["secret"]).stdout
    assert "pipeline" in as_pipeline
    assert "good for read" in as_pipeline
    assert made["id"] in marie.run("token", "list").stdout
    assert "good no more" in marie.run("token", "revoke", made["id"]).stdout
    assert marie.run("whoami", HOLDFAST_TOKEN=made["secret"]).returncode == 3
    assert made["id"] in marie.run("token", "list", "--ended").stdout
    kept = marie.file.read_text()
    other = marie.json("token", "add")
    assert "logged out" in marie.run("logout", HOLDFAST_TOKEN=other["secret"]).stdout
    assert marie.run("whoami", HOLDFAST_TOKEN=other["secret"]).returncode == 0, "logging out is of what login was given"
    nobody = marie.run("logout", HOLDFAST_TOKEN=other["secret"])
    assert (nobody.returncode, "did not log in" in nobody.stderr) == (2, True)
    assert json.loads(marie.file.read_text()) == {}
    [secret] = json.loads(kept).values()
    assert marie.run("whoami", HOLDFAST_TOKEN=secret).returncode == 3


def test_an_account_with_a_password_that_is_good_once(up: Up, tmp_path: Path) -> None:
    pierre = Somebody(up, tmp_path)
    once = up.json("admin", "person", "add", "pierre", "--role", "operator", "--title", "Pierre Curie")["password"]
    again = up.run("admin", "person", "add", "pierre", "--role", "operator", "--title", "Pierre Curie").stdout
    assert "its password stays" in again
    refused = pierre.run("login", "pierre", "--password-stdin", typed=once)
    assert (refused.returncode, "holdfast password" in refused.stderr) == (3, True)
    assert pierre.run("password", "pierre", "--password-stdin", typed=f"{once}\n{PASSWORD}\n").returncode == 0
    assert pierre.json("login", "pierre", "--password-stdin", typed=PASSWORD)["name"] == "pierre"
    assert pierre.run("status").returncode == 0
    assert up.run("admin", "person", "set", "pierre", "--role", "member", "--mail", "p@example.org").returncode == 0
    assert pierre.run("status").returncode == 3
    assert "local" in up.run("admin", "person", "show", "pierre").stdout
    assert "holdfast login on" in up.run("token", "list", "--of", "pierre").stdout
    assert "disabled" in up.run("admin", "person", "disable", "pierre", "--reason", "left").stdout
    assert pierre.run("whoami").returncode == 3
    assert "active" in up.run("admin", "person", "enable", "pierre").stdout
    assert up.run("admin", "person", "password", "nobody").returncode == 4


def test_a_file_of_credentials_that_is_broken_is_said_so(marie: Somebody) -> None:
    marie.file.parent.mkdir(parents=True)
    marie.file.write_text("[")
    done = marie.run("whoami")
    assert (done.returncode, "log in again" in done.stderr) == (2, True)


@pytest.mark.timeout(300)  # some forty commands, each a program that is started
def test_a_group_archives_from_its_folder_and_shares(up: Up, tmp_path: Path) -> None:
    folder = up.sources / "2026-1"
    (folder / "run").mkdir(parents=True)
    (folder / "run/a").write_bytes(b"a")
    table = tmp_path / "proposals.csv"
    table.write_text(
        "proposal,title,folder,person,name,mail,role,from,until\n"
        f"2026-1,Radium,{folder},irene,Irène Curie,,pi,,\n2026-1,,,fred,,,reader,2026-01-01,\n"
    )
    assert "none of which was made" in up.run("admin", "proposals", "import", table, "--dry-run").stdout
    assert len(up.json("admin", "proposals", "import", table)["changes"]) == 5
    assert up.json("admin", "proposals", "import", table)["changes"] == []
    irene, fred = (account(up, tmp_path / name, name) for name in ("irene", "fred"))
    dataset = irene.json("archive", str(folder / "run"), "--title", "A run")["id"]
    assert fred.json("show", dataset)["group"] == "2026-1"
    assert "irene" in up.run("group", "show", "2026-1").stdout
    assert up.json("group", "add", "friends", "--title", "Friends", "--owner", "irene")["name"] == "friends"
    assert "Friends" in irene.run("group", "list").stdout
    hans = account(up, tmp_path / "hans", "hans")
    assert hans.run("show", dataset).returncode == 4
    assert irene.run("group", "join", "friends", "hans", "--role", "writer", "--until", "2999-01-01").returncode == 0
    assert "group:friends" in irene.run("share", dataset, "--with", "group:friends").stdout
    assert hans.run("show", dataset).returncode == 0
    assert hans.run("who", dataset).returncode == 3
    assert "not in friends any more" in hans.run("group", "leave", "friends").stdout
    assert hans.run("show", dataset).returncode == 4
    assert irene.json("unshare", dataset, "--with", "group:friends")["grants"] == []
    assert irene.json("give", dataset, "--to", "hans")["owner"] == "hans"
    assert "hans's" in hans.run("who", dataset).stdout
    assert up.json("group", "set", "friends", "--title", "Enemies")["title"] == "Enemies"


def account(up: Up, home: Path, name: str) -> Somebody:
    """Have somebody, who has an account or not yet, log in."""
    home.mkdir()
    who = Somebody(up, home)
    up.run("admin", "person", "add", name)
    once = up.json("admin", "person", "password", name)["password"]
    assert who.run("password", name, "--password-stdin", typed=f"{once}\n{PASSWORD}\n").returncode == 0
    assert who.run("login", name, "--password-stdin", typed=PASSWORD).returncode == 0
    return who


def test_another_host_is_not_shown_the_administrators_token(up: Up) -> None:
    done = up.run("ls", env={"HOLDFAST_URL": "http://archive.invalid:8080"})
    assert (done.returncode, "You are not logged in" in done.stderr) == (2, True)
