# SPDX-License-Identifier: Apache-2.0
"""Versions of a dataset are had as one: what is listed is what comes, the newest of each path, and nothing one may not read."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from persons import person

from holdfast.services import content
from holdfast.services.union import newest
from holdfast.testing.program import environment
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

PROGRAM = str(Path(sys.executable).with_name("holdfast"))
OLD = {"a": b"old a", "b/c": b"old c", "d/x": b"below", "d/y/z": b"below", "f": b"a file", "f-1": b"beside", "z": b"z"}
NEW = {"b/c": b"new c", "d": b"a file now", "f/inside": b"a folder now", "m": b"m"}
BOTH = {
    "a": b"old a",
    "b/c": b"new c",
    "d": b"a file now",
    "f/inside": b"a folder now",
    "f-1": b"beside",
    "m": b"m",
    "z": b"z",
}


@pytest.fixture
def versions(site: SmallSite, api: httpx.Client) -> tuple[str, str]:
    """Two versions; the bytes of both are on tape only."""
    first = site.archive_folder(OLD)
    site.drain()
    second = site.open_dataset(extends=first)
    for path, data in NEW.items():
        assert api.put(f"{PREFIX}/datasets/{second}/files/{path}", content=data).status_code == 201
    assert api.post(f"{PREFIX}/datasets/{second}/close").status_code == 202
    site.drain()
    shutil.rmtree(site.sources / "run")
    return first, second


def brought(site: SmallSite, api: httpx.Client, dataset: str, **params: Any) -> httpx.Response:
    """Return the bundle of a union, after it came from tape."""
    for _ in range(3):
        answer = api.get(f"{PREFIX}/datasets/{dataset}/bundle", params={"union": True, **params})
        if answer.status_code != 202:
            break
        site.drain()
    assert answer.status_code == 200
    return answer


def test_a_union_comes_as_it_is_listed(
    site: SmallSite, api: httpx.Client, versions: tuple[str, str], tmp_path: Path
) -> None:
    first, second = versions
    page = api.get(f"{PREFIX}/datasets/{second}/files", params={"union": True}).json()["items"]
    assert [item["path"] for item in page] == sorted(BOTH)
    assert {item["path"] for item in page if item["dataset"] == second} == NEW.keys()
    (tmp_path / "all.tar").write_bytes(brought(site, api, second).content)
    subprocess.run(["tar", "-xf", "all.tar"], cwd=tmp_path, check=True)
    top = tmp_path / second
    assert {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()} == BOTH
    subprocess.run(["sha512sum", "--strict", "--quiet", "-c", f"{second}.sha512"], cwd=tmp_path, check=True)
    lines = api.get(f"{PREFIX}/datasets/{second}/checksums", params={"union": True}).content
    assert lines.count(b"\n") == len(BOTH)
    subprocess.run(["sha512sum", "--strict", "--quiet", "-c"], cwd=top, input=lines, check=True)
    with zipfile.ZipFile(io.BytesIO(brought(site, api, second, format="zip", path=["b", "z"]).content)) as found:
        assert found.read(f"{second}/b/c") == b"new c"
        assert found.namelist() == [f"{second}/b/c", f"{second}/z", f"{second}.sha512"]
    # Without it, a version is what was archived as it.
    assert api.get(f"{PREFIX}/datasets/{second}/checksums").content.count(b"\n") == len(NEW)
    assert api.get(f"{PREFIX}/datasets/{first}/checksums", params={"union": True}).content.count(b"\n") == len(OLD)
    nothing = api.get(f"{PREFIX}/datasets/{second}/bundle", params={"union": True, "path": "nothing"})
    assert nothing.status_code == 404


def test_what_one_may_not_read_is_in_no_union(site: SmallSite, api: httpx.Client, versions: tuple[str, str]) -> None:
    first, second = versions
    headers = person(site, "reader")
    grant = 'insert into "grant" (dataset, person, role, granted_by) values (%s, %s, %s, %s)'
    site.rows(grant, second, "reader", "reader", "x")
    api.headers.update(headers)
    with tarfile.open(fileobj=io.BytesIO(brought(site, api, second).content)) as tar:  # P8
        assert sorted(tar.getnames()) == sorted([f"{second}/{path}" for path in NEW] + [f"{second}.sha512"])
    assert api.get(f"{PREFIX}/datasets/{second}/checksums", params={"union": True}).content.count(b"\n") == len(NEW)
    operator = person(site, "operator", role="operator")
    site.rows(grant, second, "operator", "reader", "x")
    api.headers.update(operator)  # sees that the old one is there, and may not read it
    with tarfile.open(fileobj=io.BytesIO(brought(site, api, second).content)) as tar:
        assert len(tar.getnames()) == len(NEW) + 1
    assert api.get(f"{PREFIX}/datasets/{first}/bundle", params={"union": True}).status_code in {403, 404}


def test_the_command_brings_a_union(
    site: SmallSite, api: httpx.Client, versions: tuple[str, str], tmp_path: Path
) -> None:
    _, second = versions
    token = site.archive.settings.token_file.read_text().strip()
    env = environment(HOLDFAST_URL=str(api.base_url), HOLDFAST_TOKEN=token)
    to = tmp_path / "here"
    program = [PROGRAM, "download", second, "--union", "--to", str(to)]
    with subprocess.Popen(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while running.poll() is None:
            site.drain()
        assert running.returncode == 0, running.communicate()
    assert {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()} == BOTH
    done = subprocess.run([PROGRAM, "checksums", second, "--union"], env=env, capture_output=True, check=True)
    subprocess.run(["sha512sum", "--strict", "--quiet", "-c"], cwd=to, input=done.stdout, check=True)


def test_a_union_is_walked_in_pages(site: SmallSite, monkeypatch: pytest.MonkeyPatch) -> None:
    old = {f"{folder}/{number:02}": b"old" for folder in ("a", "a-b", "a0") for number in range(20)}
    new = {f"a/{number:02}": b"new" for number in range(0, 20, 3)} | {"a-b": b"a file"}
    first = site.archive_folder(old)
    site.drain()
    second = site.archive_folder(new, name="new")
    site.drain()
    site.rows("update dataset set extends = %s where id = %s", first, second)
    monkeypatch.setattr(content, "_PAGE", 7)
    found = {packed.entry.path.decode(): one for one, packed in content.entries(site.archive, [second, first], [])}
    assert found == {path: first for path in old if not path.startswith("a-b/")} | dict.fromkeys(new, second)


def test_memory_does_not_grow_with_what_is_walked() -> None:
    """One path of each version is looked at ahead, and no more."""
    taken = 0

    def source(name: str) -> Iterator[tuple[bytes, bool, str]]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield f"{number:06}".encode(), True, name

    walked = newest(None, [("new", source("new")), ("old", source("old"))])  # type: ignore[arg-type]
    for _ in range(10):
        next(walked)
    assert taken <= 2 * 12
