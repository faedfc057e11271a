# SPDX-License-Identifier: Apache-2.0
"""Links and empty folders are added as they are, come back as they were, and nobody ever goes through a link."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast.client import Client
from holdfast.client.adding import Adding, found
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

DATASETS = f"{PREFIX}/datasets"
NS = 1_700_000_000_123_456_789
Tree = dict[str, tuple[str, bytes, int]]


@pytest.fixture
def dataset(site: SmallSite) -> str:
    return site.open_dataset(profile="single-tape")


def tar_of(members: Mapping[str, str | bytes | None]) -> bytes:
    """Return a tar: bytes are a file, text is where a link leads, None is a folder."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, what in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(what, bytes):
                member.size = len(what)
            elif what is None:
                member.type = tarfile.DIRTYPE
            else:
                member.type, member.linkname = tarfile.SYMTYPE, what
            tar.addfile(member, io.BytesIO(what) if isinstance(what, bytes) else None)
    return body.getvalue()


def add(api: httpx.Client, dataset: str, members: Mapping[str, str | bytes | None]) -> Any:
    answer = api.post(f"{DATASETS}/{dataset}/files", content=tar_of(members))
    assert answer.status_code == 200, answer.text
    return answer.json()


def listed(api: httpx.Client, dataset: str) -> dict[str, str]:
    items = api.get(f"{DATASETS}/{dataset}/files").json()["items"]
    return {item["path"]: item["target"] or item["kind"] for item in items}


def tree(folder: Path) -> Tree:
    """Return all files, links and empty folders below a folder, with kind, content and time."""
    shown: Tree = {}
    for path in folder.rglob("*"):
        name, mtime = str(path.relative_to(folder)), path.lstat().st_mtime_ns
        if path.is_symlink():
            shown[name] = ("link", os.fsencode(os.readlink(path)), mtime)
        elif path.is_file():
            shown[name] = ("file", path.read_bytes(), mtime)
        elif not any(path.iterdir()):
            shown[name] = ("directory", b"", mtime)
    return shown


def close(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    assert api.post(f"{DATASETS}/{dataset}/close").status_code == 202
    site.drain()
    assert site.show(dataset).state == "closed", site.show(dataset).problem


def test_a_folder_comes_back_as_the_same_tree(site: SmallSite, api: httpx.Client, dataset: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "deep/er").mkdir(parents=True)
    (run / "deep/empty").mkdir()
    (run / "nothing").mkdir()
    (run / "a").write_bytes(b"alpha")
    (run / "deep/er/big").write_bytes(os.urandom(1_500_000))
    links = {"inside": "a", "deep/up": "../a", "dangling": "no/such/file", "passwd": "/etc/passwd", "etc": "/etc", "here": ".",
             "odd": b"caf\xe9 \n", "loop": "loop", "deep/long": "x" * 4000}  # fmt: skip
    for name, target in links.items():
        os.symlink(os.fsencode(target), os.fsencode(run / name))
    for path in run.rglob("*"):
        os.utime(path, ns=(NS, NS), follow_symlinks=False)
    token = site.archive.settings.token_file.read_text().strip()
    with Client(str(api.base_url), token) as client:
        files, odd = found([f"{run}/"])
        assert odd == []
        done = Adding(client, dataset).run(files)
        assert (done.files, done.refused) == (len(tree(run)), [])
        again = Adding(client, dataset).run(files)
        assert (again.files, again.there, again.refused) == (0, len(files), [])
    assert tree(site.archive.settings.landing_path / dataset) == tree(run)
    assert listed(api, dataset)["etc"] == "/etc"
    close(site, api, dataset)
    assert not (site.archive.settings.landing_path / dataset).exists()
    request = site.request(site.ask(dataset))
    site.drain()
    # As ever, links that lead out of what is delivered are not made, and told; who unpacks a tar gets them too.
    wanted, out = tree(run), {"etc", "passwd"}
    assert tree(site.destinations / "back") == {path: what for path, what in wanted.items() if path not in out}
    assert {item.path for item in site.request(request.id).undelivered} == out
    site.stage(dataset)
    site.drain()
    with tarfile.open(fileobj=io.BytesIO(api.get(f"{DATASETS}/{dataset}/bundle").content)) as tar:
        had = {member.name.partition("/")[2]: member for member in tar if member.name != f"{dataset}.sha512"}
        assert had.keys() == wanted.keys()
        for path, (kind, content, _) in wanted.items():
            assert (had[path].issym(), had[path].isdir()) == (kind == "link", kind == "directory")
            assert kind != "link" or os.fsencode(had[path].linkname) == content


def test_nothing_is_written_or_removed_through_a_link(
    site: SmallSite, api: httpx.Client, dataset: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_bytes(b"of somebody else")
    assert len(add(api, dataset, {"out": str(outside), "d": "sub", "sub/x": b"x"})["added"]) == 3
    refused = add(
        api, dataset, {"out/new": b"n", "out/there": b"n", "out/link": "/", "out/dir": None, "d/x": b"n", "out": b"n"}
    )
    assert {item["path"] for item in refused["refused"]} == {
        "out/new",
        "out/there",
        "out/link",
        "out/dir",
        "d/x",
        "out",
    }
    assert api.put(f"{DATASETS}/{dataset}/files/out/put", content=b"n").status_code == 409
    assert api.delete(f"{DATASETS}/{dataset}/files/out/there").status_code == 404
    # Also in one batch, in which the link comes first, and where a file has its place already.
    one = add(
        api, dataset, {"l": str(outside), "l/in": b"n", "sub": str(outside), "sub/x/y": "z", "x/y": b"y", "x": "/"}
    )
    assert {item["path"] for item in one["refused"]} == {"l/in", "sub", "sub/x/y", "x"}
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"there": b"of somebody else"}
    assert api.delete(f"{DATASETS}/{dataset}/files/out").status_code == 204
    assert api.put(f"{DATASETS}/{dataset}/files/out/new", content=b"a folder now").status_code == 201
    close(site, api, dataset)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"there": b"of somebody else"}
    assert listed(api, dataset) == {"d": "sub", "l": str(outside), "out/new": "file", "sub/x": "file", "x/y": "file"}


def test_a_folder_counts_as_long_as_it_is_empty(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    # As `tar -c run` makes it, with all folders as members.
    first = add(
        api, dataset, {"run": None, "run/empty": None, "run/full": None, "run/full/a": b"a", "run/b/c": None, ".": None}
    )
    assert {item["path"] for item in first["added"]} == {"run/empty", "run/full/a", "run/b/c"}
    assert first["unchanged"] == 2
    assert add(api, dataset, {"run/empty": None, "run": None})["unchanged"] == 2
    assert api.get(f"{DATASETS}/{dataset}").json()["files"] == 3
    assert add(api, dataset, {"run/empty/now/not": b"x", "run/b/c/d": "anywhere"})["refused"] == []
    assert sorted(listed(api, dataset)) == ["run/b/c/d", "run/empty/now/not", "run/full/a"]
    assert api.get(f"{DATASETS}/{dataset}").json()["files"] == 3
    bad = add(api, dataset, {"run/full/a": None, "../x": None, "/y": "z"})
    assert {item["path"] for item in bad["refused"]} == {"run/full/a", "../x", "/y"}
    assert add(api, dataset, {"alone": None})["refused"] == []
    # What a call that was killed has left in a folder is not in the dataset, and the folder is.
    (site.archive.settings.landing_path / dataset / "alone" / "left").write_bytes(b"without a row")
    assert add(api, dataset, {"gone": None, "zero": None})["refused"] == []
    assert api.delete(f"{DATASETS}/{dataset}/files/gone").status_code == 204
    assert not (site.archive.settings.landing_path / dataset / "gone").exists()
    close(site, api, dataset)
    assert listed(api, dataset) == {
        "alone": "directory", "run/b/c/d": "anywhere", "run/empty/now/not": "file", "run/full/a": "file",
        "zero": "directory",
    }  # fmt: skip


def test_links_and_folders_are_bounded_as_files_are(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    too_long = add(api, dataset, {"long": "x" * 4096, "n" * 256: "x", "a/" * 1600 + "b": None, "ok": "x" * 4095})
    assert {item["path"] for item in too_long["refused"]} == {"long", "n" * 256, "a/" * 1600 + "b"}
    answer = api.put(f"{PREFIX}/profiles/few", json={"terms": {"copies": 1, "most_files": 3, "accept": ["*.h5"]}})
    assert answer.status_code == 200, answer.text
    few = site.open_dataset(profile="few")
    assert [item["path"] for item in add(api, few, {"x": "y", "x.h5": "y", "d": None})["refused"]] == ["x"]
    for more in ({"e": None, "f": None}, {"y.h5": "a", "z.h5": "b"}):
        assert api.post(f"{DATASETS}/{few}/files", content=tar_of(more)).status_code == 409
    assert listed(api, few) == {"d": "directory", "x.h5": "y"}


def test_a_link_that_somebody_changed_opens_the_dataset_again(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    add(api, dataset, {"a": "b", "f": b"f"})
    link = site.archive.settings.landing_path / dataset / "a"
    link.unlink()
    link.symlink_to("/etc/passwd")
    assert api.post(f"{DATASETS}/{dataset}/close").status_code == 202
    site.drain()
    problem = site.show(dataset).problem
    assert problem
    assert problem.code == "source-changed"
