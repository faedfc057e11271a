# SPDX-License-Identifier: Apache-2.0
"""Downloads, checksums, comparisons and links on the command line, against a running archive."""

from __future__ import annotations

import hashlib
import os
import subprocess
import urllib.request
from pathlib import Path

import pytest

from holdfast.testing.program import Up

FILES = {"a.txt": b"alpha", "sub/b.bin": os.urandom(3_000_000), "sub/deep/c": b""}


@pytest.fixture(scope="module")
def dataset(up: Up) -> str:
    folder = up.sources / "run"
    for path, content in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / "near").symlink_to("a.txt")
    (folder / "far").symlink_to("/etc/passwd")
    return str(up.json("archive", folder, "--title", "A run", "--wait")["id"])


def test_a_dataset_is_downloaded_and_compared(up: Up, dataset: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    up.run("release", dataset, "--apply")  # so that it has to come from tape
    some = up.json("download", dataset, "sub", "--to", here)
    assert some == {"files": 2, "bytes": 3_000_000, "wrong": []}
    (here / "sub" / "b.bin").rename(here / "sub" / "b.bin.holdfast-part")
    os.truncate(here / "sub" / "b.bin.holdfast-part", 1_000_000)  # as if it had been cut off
    done = up.run("download", dataset, "--to", here)
    assert done.returncode == 9
    assert "far: it is a link to /etc/passwd, which leads out of" in done.stdout
    assert {p.relative_to(here).as_posix(): p.read_bytes() for p in here.rglob("*") if p.is_file()} == {
        **FILES, "near": b"alpha",
    }  # fmt: skip
    assert not list(here.rglob("*.holdfast-part"))
    (here / "far").symlink_to("/etc/passwd")
    right = up.run("verify", here, "--against", dataset)
    assert (right.returncode, right.stdout) == (0, "5 of 5 files are as they were archived.\n")
    sums = up.run("checksums", dataset)
    subprocess.run(["sha512sum", "--quiet", "-c"], cwd=here, input=sums.stdout, text=True, check=True)


def test_nothing_is_written_outside_of_the_folder(up: Up, tmp_path: Path) -> None:
    evil, long = up.sources / "evil", "z" * 250
    (evil / "deep").mkdir(parents=True)
    (evil / "deep" / "up").symlink_to("..")  # from there, ".." is another folder than its name says
    for name, target in {
        f"{hashlib.sha512(long.encode()).hexdigest()}.holdfast-part": "victim", "x.holdfast-part": "other", "out": "",
    }.items():  # fmt: skip
        (evil / name).symlink_to(f"deep/up/../{target}")
    for name in (long, "x"):
        (evil / name).write_bytes(b"not yours")
    ident = up.json("archive", evil, "--title", "Evil", "--wait")["id"]
    for _ in range(2):
        done = up.run("download", ident, "--to", tmp_path / "here", "--jobs", "1")
        assert (done.returncode, done.stdout.count("leads out of")) == (9, 3)
    assert os.listdir(tmp_path) == ["here"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "deep").symlink_to("../elsewhere")
    (tmp_path / "own" / "x.holdfast-part").symlink_to("../victim")
    done = up.run("download", ident, "--to", tmp_path / "own")
    assert "is a link, and in the way" in done.stdout
    assert (os.listdir(tmp_path / "elsewhere"), (tmp_path / "victim").exists()) == ([], False)


def test_what_is_not_there_is_named(up: Up, dataset: str, tmp_path: Path) -> None:
    for asked, told in (([dataset, "nothing"], "nothing"), (["0" * 26], "0" * 26)):
        done = up.run("download", *asked, "--to", tmp_path / "here")
        assert (done.returncode, told in done.stderr, "does not answer" in done.stderr) == (4, True, False)


def test_what_differs_is_named(up: Up, dataset: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    up.run("download", dataset, "--to", here)
    (here / "a.txt").write_bytes(b"ALPHA")
    (here / "sub" / "deep" / "c").unlink()
    (here / "new").touch()
    found = up.run("verify", here, "--against", dataset)
    assert found.returncode == 7
    for line in ("a.txt: is different", "sub/deep/c: is missing", "1 files in"):
        assert line in found.stdout
    again = up.run("download", dataset, "--to", here)  # never overwrites what is not its own
    assert "another file is there already" in again.stdout
    assert (here / "a.txt").read_bytes() == b"ALPHA"


def test_a_link_is_for_people_without_an_account(up: Up, dataset: str) -> None:
    assert up.run("download", dataset, "a.txt", "--to", up.sources.parent / "brought").returncode == 0
    made = up.run("link", "add", dataset, "a.txt", "--most", "1", "--label", "referee")
    address = made.stdout.splitlines()[0]
    with urllib.request.urlopen(f"{address}/content/a.txt") as answer:  # what was brought is there for all who may
        assert answer.read() == b"alpha"
    [listed] = up.json("link", "list", dataset)["items"]
    assert (listed["downloads"], listed["label"]) == (1, "referee")
    assert up.json("link", "uses", listed["id"])["items"][0]["path"] == "a.txt"
    assert "has ended" in up.run("link", "revoke", listed["id"]).stdout
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(address)


def test_odd_links_and_long_names_come_as_they_are(up: Up, tmp_path: Path) -> None:
    folder, here = up.sources / "odd", tmp_path / "here"
    for path in (folder / "sub", folder / "nothing"):
        path.mkdir(parents=True)
    (folder / "sub" / "f").write_bytes(b"f")
    links = {
        b"latin": b"caf\xe9",
        b"blank": "a\u00a0b".encode(),
        b"plain": b"sub/f",
        b"folder": b"sub",
        b"slash": b"a\\x41",
    }
    for name, target in links.items():
        os.symlink(target, os.fsencode(folder) + b"/" + name)
    for name in ("n" * 241, "n" * 242, "n" * 255, "o" * 255):
        (folder / name).write_bytes(name.encode())
    dataset = str(up.json("archive", folder, "--title", "Odd", "--wait")["id"])
    assert up.json("download", dataset, "--to", here)["wrong"] == []
    assert {name: os.readlink(os.fsencode(here) + b"/" + name) for name in links} == links
    assert {path.name for path in here.iterdir()} == {path.name for path in folder.iterdir()}
    assert (here / ("o" * 255)).read_bytes() == b"o" * 255
    right = up.run("verify", here, "--against", dataset)
    assert (right.returncode, right.stdout) == (0, "11 of 11 files are as they were archived.\n")
    (here / "nothing" / "new").touch()  # what is a folder in the dataset holds something more here
    (here / "more").mkdir()
    (here / "more" / "link").symlink_to("..")
    more = up.run("verify", here, "--against", dataset).stdout
    assert "11 of 11 files are as they were archived. 2 files in" in more
