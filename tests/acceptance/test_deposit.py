# SPDX-License-Identifier: Apache-2.0
"""Datasets made by hand, with the installed program and with a client of others, through kills."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.client import Client
from holdfast.client.adding import Adding, found
from holdfast.testing.program import Up, wait_for

TUS = Path(__file__).parents[1] / "tus"


def client(up: Up) -> Client:
    return Client(f"http://127.0.0.1:{up.port}", (up.data / "token").read_text().strip())


def test_a_dataset_is_made_added_to_closed_and_deleted(up: Up, tmp_path: Path) -> None:
    files = {"run/a.txt": b"alpha", "run/deep/b.bin": os.urandom(2_000_000), "run/deep/empty": b""}
    files |= {f"run/many/{n:03}": os.urandom(n * 7) for n in range(300)}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "run" / "link").symlink_to("a.txt")
    (tmp_path / "run" / "dangling").symlink_to("nowhere")
    (tmp_path / "run" / "nothing").mkdir()
    os.mkfifo(tmp_path / "run" / "pipe")
    dataset = up.json("create", "--title", "By hand", "--meta", "n=3", "--profile", "single-tape")["id"]
    added = up.run("add", dataset, tmp_path / "run", "--json")
    assert added.returncode == 9, added  # the pipe
    found = json.loads(added.stdout.splitlines()[-1])
    assert (found["files"], found["there"], len(found["refused"])) == (306, 0, 1)
    (tmp_path / "run" / "pipe").unlink()
    assert up.json("add", dataset, tmp_path / "run")["there"] == 306  # nothing is sent again
    assert up.json("add", dataset, f"{tmp_path}/run/deep/", "--into", "again")["files"] == 2
    taken = up.run("remove", dataset, "again", "nowhere", "--json")
    assert taken.returncode == 9  # nowhere
    assert json.loads(taken.stdout.splitlines()[-1])["removed"] == ["again/b.bin", "again/empty"]
    as_before = (tmp_path / "run" / "a.txt").stat().st_mtime_ns
    (tmp_path / "run" / "a.txt").write_bytes(b"other")
    os.utime(tmp_path / "run" / "a.txt", ns=(as_before, as_before))  # as many, at the same time: only the bytes tell
    changed = up.run("add", dataset, tmp_path / "run")
    assert changed.returncode == 9
    assert "run/a.txt: run/a.txt is in the dataset already, with other content" in changed.stdout
    closed = up.json("close", dataset, "--wait")
    assert (closed["state"], closed["level"], closed["files"]) == ("closed", "preserved", 303)
    assert up.json("close", dataset)["state"] == "closed"
    back = tmp_path / "back"
    assert up.run("get", dataset, "--to", back, "--wait").returncode == 0
    there = [path for path in back.rglob("*") if path.is_file() and not path.is_symlink()]
    assert {str(path.relative_to(back)): path.read_bytes() for path in there} == files
    assert (os.readlink(back / "run/link"), os.readlink(back / "run/dangling")) == ("a.txt", "nowhere")
    assert list((back / "run/nothing").iterdir()) == []
    wait_for(lambda: not (up.data / "landing" / dataset).exists(), "landing is freed")
    assert "Nothing was deleted" in up.run("delete", dataset).stdout
    assert up.run("delete", dataset, "--apply", "--reason", "a test").returncode == 0
    assert "is deleted, by admin: a test" in up.run("delete", dataset).stdout


def test_an_empty_dataset_says_what_to_do(up: Up) -> None:
    dataset = up.json("create", "--title", "Empty")["id"]
    done = up.run("close", dataset)
    assert done.returncode == 2
    assert "holds no files" in done.stderr
    untitled = up.run("create", "--title", "")
    assert (untitled.returncode, untitled.stderr) == (2, "holdfast: title: String should have at least 1 character.\n")


def test_a_file_that_never_comes_is_taken_out(up: Up) -> None:
    dataset = up.json("create", "--title", "Half")["id"]
    told = {"dataset": dataset.encode(), "filename": b"deep/half"}
    headers = {
        "Authorization": f"Bearer {(up.data / 'token').read_text().strip()}", "Tus-Resumable": "1.0.0", "Upload-Length": "9",
        "Upload-Metadata": ",".join(f"{key} {base64.b64encode(value).decode()}" for key, value in told.items()),
    }  # fmt: skip
    begun = httpx.post(f"http://127.0.0.1:{up.port}/api/v1/uploads", headers=headers, trust_env=False)
    assert begun.status_code == 201
    assert "1 files are still on their way" in up.run("close", dataset).stderr
    place = f"http://127.0.0.1:{up.port}/api/v1/datasets/{dataset}/files/deep/half"
    assert httpx.put(place, headers=headers, content=b"there", trust_env=False).status_code == 201
    gone = {"id": dataset, "removed": ["deep/half"], "missing": []}
    assert up.json("remove", dataset, "deep/half") == gone
    assert up.json("show", dataset)["files"] == 1  # the one that was there before
    assert up.json("remove", dataset, "deep/half") == gone
    assert "holds no files" in up.run("close", dataset).stderr


def test_profiles_are_made_shown_and_changed(up: Up, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\ncopies = 1\ndescription = "Ours."\n')
    assert up.json("admin", "profile", "set", tmp_path / "mine.toml")["version"] == 1
    assert "Ours." in up.run("admin", "profile", "list").stdout
    shown = up.run("admin", "profile", "show", "mine").stdout
    assert "copies             1" in shown
    assert "version 1: since" in shown
    dataset = up.json("create", "--title", "Mine", "--profile", "mine")["id"]
    assert up.json("admin", "profile", "change", dataset, "twin-tape")["profile"] == "twin-tape"
    assert up.run("admin", "profile", "retire", "mine").returncode == 0
    assert up.run("create", "--title", "Mine", "--profile", "mine").returncode == 2
    (tmp_path / "bad.toml").write_text('name = "bad"\ncolour = "red"\n')
    assert "has no term 'colour'" in up.run("admin", "profile", "set", tmp_path / "bad.toml").stderr


def test_p6_a_large_file_is_gone_on_with_after_the_archive_was_killed(own: Up, tmp_path: Path) -> None:
    """By tus-js-client, which knows nothing of us; `npm ci --prefix tests/tus` installs it (scripts/test-packages)."""
    assert (TUS / "node_modules").exists(), "run scripts/test-packages"
    chance, data = random.Random(os.getpid()), os.urandom(24_000_000)
    file = tmp_path / "large.h5"
    file.write_bytes(data)
    with client(own) as calls:
        dataset = calls.create(title="Large").id
        with (tmp_path / "log").open("wb") as log:
            sending = subprocess.Popen(
                ["node", TUS / "upload.mjs", f"http://127.0.0.1:{own.port}/api/v1/uploads",
                 (own.data / "token").read_text().strip(), dataset, file, "deep/large.h5", "250000"],
                stdout=log, stderr=log,
            )  # fmt: skip
            for least in sorted(chance.randrange(1_000_000, 20_000_000) for _ in range(2)):
                wait_for(
                    lambda least=least: (
                        sending.poll() is not None  # type: ignore[misc]
                        or any(item.received >= least for item in calls.uploads(dataset).items)
                    ),
                    "the upload gets on",
                )
                own.kill()
                own.start()
            assert sending.wait(90) == 0, (tmp_path / "log").read_text()
        (found,) = list(calls.files(dataset))
        assert (found.path, found.size) == ("deep/large.h5", len(data))
        assert (own.data / "landing" / dataset / "deep" / "large.h5").read_bytes() == data


def test_files_get_there_and_back_through_kills_of_the_archive(
    own: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(os.getpid())
    instants = [chance.randrange(1, 5_500_000), chance.randrange(5_500_000, 11_000_000)]
    monkeypatch.setattr("holdfast.client.adding._LARGE", 5_000_000)
    monkeypatch.setattr("holdfast.client.deposit._PIECE", 1_000_000)
    files = {"large": os.urandom(12_000_000), "medium": os.urandom(4_000_000), "small": b"content"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    reached = threading.Semaphore(0)
    left: list[int] = []

    def tell(far: int) -> None:
        while left and far >= left[0]:
            left.pop(0)
            reached.release()

    def through_kills(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
        left[:] = instants
        done = pool.submit(work)
        for _ in instants:
            assert reached.acquire(timeout=60), instants
            own.kill()
            own.start()
        return done.result()

    with ThreadPoolExecutor(1) as pool, client(own) as one:
        dataset = one.create(title="Through kills", profile="single-tape").id
        local, _ = found([str(tmp_path / name) for name in files])
        adding = Adding(one, dataset, progress=lambda now: tell(now.bytes))
        added = through_kills(pool, lambda: adding.run(local))
        assert (added.refused, added.files + added.there) == ([], 3)
        own.json("close", dataset, "--wait")
        own.json("stage", dataset, "--wait")
        came = 0

        def note(number: int) -> None:
            nonlocal came
            came += number
            tell(came)

        back = {file.path: file for file in one.files(dataset)}
        assert (
            through_kills(pool, lambda: one.download(dataset, back["large"], tmp_path / "back", progress=note)) is None
        )
    assert (tmp_path / "back").read_bytes() == files["large"]
    assert came == len(files["large"])
