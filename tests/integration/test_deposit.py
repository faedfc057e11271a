# SPDX-License-Identifier: Apache-2.0
"""Datasets made by hand: files come in whole or not at all, and closing puts them onto their tapes."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
from answers import preserved
from blake3 import blake3
from served import client_of

from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

DATASETS = f"{PREFIX}/datasets"


def new(api: httpx.Client, **wish: Any) -> str:
    answer = api.post(DATASETS, json={"title": "By hand", **wish})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put(api: httpx.Client, dataset: str, path: bytes | str, content: bytes, **how: Any) -> httpx.Response:
    raw = path.encode() if isinstance(path, str) else path
    return api.put(f"{DATASETS}/{dataset}/files/{quote_from_bytes(raw)}", content=content, **how)


def listed(api: httpx.Client, dataset: str, **query: Any) -> list[str]:
    return [item["path"] for item in api.get(f"{DATASETS}/{dataset}/files", params=query).json()["items"]]


def tar_of(files: dict[str, bytes], *, mtime: str = "1700000000.123456789") -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(content), {"mtime": mtime}
            tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


def in_landing(site: SmallSite) -> list[str]:
    """Return the names of all files in the landing area, also of those that are still coming."""
    root = site.archive.settings.landing_path
    return sorted(str(file.relative_to(root)) for file in root.rglob("*") if file.is_file())


def test_files_are_added_and_closing_puts_them_onto_two_tapes(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api, metadata={"sample": "LaB6"})
    content = {"a.txt": b"alpha", "sub/b.bin": sample(300_000, "b"), "sub/deep/c": b""}
    for path, data in content.items():
        answer = put(api, dataset, path, data, params={"mtime_ns": 1_700_000_000_123_456_789})
        assert answer.status_code == 201, answer.text
        assert answer.json() == {"path": path, "size": len(data), "blake3": blake3(data).hexdigest()}
    assert listed(api, dataset) == sorted(content)
    assert listed(api, dataset, prefix="sub") == ["sub/b.bin", "sub/deep/c"]
    found = api.get(f"{DATASETS}/{dataset}").json()
    assert (found["state"], found["files"], found["bytes"], found["landing"]) == ("open", 3, 300_005, True)
    site.drain()
    assert site.show(dataset).state == "open"  # nobody has closed it
    for _ in range(2):
        closing = api.post(f"{DATASETS}/{dataset}/close")
        assert (closing.status_code, closing.json()["closing"]) == (202, True)
    site.drain()
    preserved(site, dataset)
    shown = site.show(dataset)
    assert (shown.state, shown.files, shown.bytes, shown.availability) == ("closed", 3, 300_005, "nearline")
    assert in_landing(site) == []
    assert not (site.archive.settings.landing_path / dataset).exists()
    assert [event.person for event in site.events("source.releasing")] == ["holdfast"]
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).state == "delivered"
    back = site.destinations / "back"
    assert {str(f.relative_to(back)): f.read_bytes() for f in back.rglob("*") if f.is_file()} == content
    assert (back / "a.txt").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert len(site.events("dataset.close-wanted")) == 1
    assert put(api, dataset, "late", b"x").status_code == 409


def test_odd_names_come_as_they_are_and_none_leaves_its_folder(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)
    odd = [
        b"with blank",
        b"\xff\xfe latin",
        b"50% & more?#;",
        "grüße/ß".encode(),
        b"files/files/x",
        b"line\nbreak",
        b"-n",
        b"a" * 255,
    ]
    for name in odd:
        assert put(api, dataset, name, name).status_code == 201, name
    for bad in (b"a//b", b"a/" + b"b" * 256, b"x/" * 1600 + b"x", b"nul\0", b"a/../../b", b"%2e%2e/x/../../y"):
        path = f"{DATASETS}/{dataset}/files/{quote_from_bytes(bad)}".replace("..", "%2E%2E")
        answer = api.put(path, content=b"x")
        assert answer.status_code in {404, 422}, (bad, answer.text)
    api.post(f"{DATASETS}/{dataset}/close")
    site.drain()
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).state == "delivered"
    back = site.destinations / "back"
    assert [name for name in odd if (back / os.fsdecode(name)).read_bytes() != name] == []
    assert not (site.archive.settings.landing_path / "b").exists()


def test_a_digest_that_does_not_fit_keeps_nothing(site: SmallSite, api: httpx.Client) -> None:
    dataset, data = new(api), sample(100_000, "d")
    right = {
        name: base64.b64encode(hashlib.new(name.replace("-", ""), data).digest()).decode()
        for name in ("sha-256", "sha-512")
    }
    for header in ("Repr-Digest", "Content-Digest"):
        for name, digest in right.items():
            assert put(api, dataset, "good", data, headers={header: f"{name}=:{digest}:"}).status_code == 201
    answer = put(api, dataset, "bad", data + b"x", headers={"Repr-Digest": f"sha-256=:{right['sha-256']}:"})
    assert (answer.status_code, answer.json()["code"]) == (422, "upload-damaged")
    for odd in ("md5=:AAAA:", "sha-256=:!!!:", "sha-256"):
        assert put(api, dataset, "bad", data, headers={"Repr-Digest": odd}).status_code == 422
    assert listed(api, dataset) == ["good"]
    assert in_landing(site) == [f"{dataset}/good"]
    assert site.rows("select * from reservation") == site.rows("select * from upload") == []


def test_p11_the_same_file_again_changes_nothing_and_another_one_is_a_conflict(
    site: SmallSite, api: httpx.Client
) -> None:
    dataset = new(api)
    assert [put(api, dataset, "a", b"one").status_code for _ in range(2)] == [201, 201]
    assert put(api, dataset, "a", b"two").status_code == 409
    assert put(api, dataset, "a/b", b"x").status_code == 409
    assert put(api, dataset, "c/d", b"x").status_code == 201
    assert put(api, dataset, "c", b"x").status_code == 409
    assert len(site.events("files.added")) == 2
    assert api.get(f"{DATASETS}/{dataset}").json()["files"] == 2
    assert in_landing(site) == [f"{dataset}/a", f"{dataset}/c/d"]


def test_a_file_can_be_removed_while_the_dataset_is_open(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)
    put(api, dataset, "a", b"one")
    put(api, dataset, "sub/b", b"two")
    assert api.delete(f"{DATASETS}/{dataset}/files/sub/b").status_code == 204
    assert api.delete(f"{DATASETS}/{dataset}/files/sub/b").status_code == 404
    assert put(api, dataset, "a", b"other").status_code == 409
    assert api.delete(f"{DATASETS}/{dataset}/files/a").status_code == 204
    assert put(api, dataset, "a", b"other").status_code == 201
    api.post(f"{DATASETS}/{dataset}/close")
    assert api.delete(f"{DATASETS}/{dataset}/files/a").status_code == 409
    site.drain()
    assert listed(api, dataset) == ["a"]  # neither the file nor its folder that is empty now


def test_a_folder_of_an_open_dataset_is_listed_as_one_of_a_closed_one(site: SmallSite, api: httpx.Client) -> None:
    paths = ["a", "a-b", "a.d/x", "d/e/f", "d/e/g", "d/h", "d0", "z/y"]
    dataset = new(api)
    empty = tarfile.TarInfo("empty")
    empty.type = tarfile.DIRTYPE
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        tar.addfile(empty)
    assert api.post(f"{DATASETS}/{dataset}/files", content=body.getvalue()).status_code == 200
    for path in paths:
        assert put(api, dataset, path, b"x").status_code == 201

    def folders() -> list[list[tuple[str, str]]]:
        return [inside(api, dataset, path, limit) for path in ("", "d", "d/e", "a", "nothing") for limit in (1, 1000)]

    opened = folders()
    top = [
        ("a", "file"),
        ("a-b", "file"),
        ("a.d", "directory"),
        ("d", "directory"),
        ("d0", "file"),
        ("empty", "directory"),
    ]
    assert opened[0] == opened[1] == [*top, ("z", "directory")]
    assert opened[2] == opened[3] == [("d/e", "directory"), ("d/h", "file")]
    api.post(f"{DATASETS}/{dataset}/close")
    site.drain()
    assert folders() == opened


def inside(api: httpx.Client, dataset: str, path: str, limit: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"{DATASETS}/{dataset}/folder", params={"path": path, "limit": limit, "cursor": cursor}).json()
        found += [(item["path"], item["kind"]) for item in page["items"]]
        cursor = page.get("next")
    return found


def test_what_is_larger_than_one_package_is_closed(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__capacity=5_000_000, library__reserve=1_000_000, library__tapes=8)
    with client_of(site) as api:
        dataset = new(api)
        for n in range(5):
            assert put(api, dataset, f"{n}", sample(600_000, f"{n}")).status_code == 201
        api.post(f"{DATASETS}/{dataset}/close")
        site.drain()
        preserved(site, dataset)
        assert len(site.show(dataset).packages) > 1


def test_an_empty_dataset_is_not_closed(api: httpx.Client) -> None:
    dataset = new(api)
    answer = api.post(f"{DATASETS}/{dataset}/close")
    assert answer.status_code == 422
    assert "holds no files" in answer.json()["detail"]


def test_a_batch_adds_many_files_and_refuses_each_bad_one_by_itself(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)
    put(api, dataset, "there", b"as it is")
    files = {f"run/{n:03}": sample(n * 10, str(n)) for n in range(300)}
    body = tar_of({**files, "there": b"another", "../out": b"x", "/abs": b"x", "run/001": files["run/001"]})
    answer = api.post(f"{DATASETS}/{dataset}/files", content=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert {item["path"]: item["blake3"] for item in found["added"]} == {
        p: blake3(d).hexdigest() for p, d in files.items()
    }
    assert {item["path"] for item in found["refused"]} == {"there", "../out", "/abs"}
    again = api.post(f"{DATASETS}/{dataset}/files", content=tar_of(files)).json()
    assert (again["added"], again["unchanged"], again["refused"]) == ([], 300, [])
    assert len(in_landing(site)) == 301
    page = api.get(f"{DATASETS}/{dataset}/files", params={"limit": 1, "prefix": "run"}).json()
    assert page["items"][0]["mtime_ns"] == 1_700_000_000_123_456_789


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_batch_with_devices_and_the_like_is_refused(site: SmallSite, api: httpx.Client, kind: bytes) -> None:
    dataset, body = new(api), io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as tar:
        member = tarfile.TarInfo("odd")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    answer = api.post(f"{DATASETS}/{dataset}/files", content=body.getvalue())
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    for content in (b"no tar at all", tar_of({"a": bytes(5000)})[:3000]):
        assert api.post(f"{DATASETS}/{dataset}/files", content=content).status_code == 422
    assert in_landing(site) == []


def test_several_clients_add_at_the_same_time(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)
    answers: list[int] = []

    def add(who: int) -> None:
        with httpx.Client(base_url=api.base_url, headers=api.headers, trust_env=False, timeout=60) as mine:
            for n in range(10):
                answers.append(put(mine, dataset, f"shared/{n}", sample(50_000, str(n))).status_code)
                answers.append(put(mine, dataset, f"own{who}/{n}", sample(1000, f"{who}/{n}")).status_code)

    threads = [threading.Thread(target=add, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [201] * 80
    found = api.get(f"{DATASETS}/{dataset}").json()
    assert (found["files"], found["bytes"]) == (50, 540_000)
    assert len(in_landing(site)) == 50


def test_a_client_that_goes_away_leaves_nothing(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)

    def half() -> Iterator[bytes]:
        yield bytes(3_000_000)
        until(lambda: site.rows("select * from upload") != [])
        raise ConnectionError

    with pytest.raises(ConnectionError):
        api.put(f"{DATASETS}/{dataset}/files/half", content=half(), headers={"Content-Length": "6000000"})
    until(lambda: site.rows("select * from upload") == [])
    assert (listed(api, dataset), in_landing(site)) == ([], [])
    assert api.put(f"{DATASETS}/{dataset}/files/chunked", content=iter([b"a"])).status_code == 422  # of unknown length
    assert site.rows("select * from reservation") == []


def until(fact: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if fact():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come about")


def test_p8_who_may_not_write_adds_nothing(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)
    put(api, dataset, "a", b"a")
    stranger = {"Authorization": "Bearer wrong"}
    assert put(api, dataset, "b", b"b", headers=stranger).status_code == 401
    assert put(api, "0" * 26, "b", b"b").status_code == 404
    in_place = site.archive_folder({"x": b"x"})
    assert put(api, in_place, "b", b"b").status_code == 409
    assert api.post(f"{DATASETS}/{in_place}/close").status_code == 202  # it closes by itself


def test_a_folder_that_somebody_changed_opens_the_dataset_again_and_loses_nothing(
    site: SmallSite, api: httpx.Client
) -> None:
    dataset = new(api)
    put(api, dataset, "a", b"one")
    put(api, dataset, "b", b"two")
    folder = site.archive.settings.landing_path / dataset
    (folder / "a").unlink()
    (folder / "never-added").write_bytes(b"left by a call that was killed")
    api.post(f"{DATASETS}/{dataset}/close")
    site.drain()
    found = site.show(dataset)
    assert (found.state, found.closing) == ("open", False)
    assert found.problem
    assert found.problem.code == "source-changed"
    assert (folder / "b").exists()
    api.delete(f"{DATASETS}/{dataset}/files/a")
    put(api, dataset, "a", b"one")
    api.post(f"{DATASETS}/{dataset}/close")
    site.drain()
    assert listed(api, dataset) == ["a", "b"]
    preserved(site, dataset)


def test_what_rotted_in_landing_is_not_removed_and_is_told(site: SmallSite, api: httpx.Client) -> None:
    dataset = new(api)
    put(api, dataset, "a", b"as it came")
    file: Path = site.archive.settings.landing_path / dataset / "a"
    times = file.stat()
    file.write_bytes(b"as it rots")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    api.post(f"{DATASETS}/{dataset}/close")
    site.drain()
    (release,) = site.rows("select state, kept, removed, differing from release")
    assert (release["state"], release["kept"], release["removed"]) == ("done", 1, 0)
    assert release["differing"] == [{"path": "a", "why": "is not what was added"}]
    assert file.exists()
