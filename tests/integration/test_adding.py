# SPDX-License-Identifier: Apache-2.0
"""`holdfast add` and its kin: files keep what they are, and what is wrong with one is said of that one."""

from __future__ import annotations

import base64
import io
import os
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from powers import without_power
from served import client_of

from holdfast.catalog import listings
from holdfast.client import Client
from holdfast.client.adding import Added, Adding, found
from holdfast.client.deposit import LocalFile
from holdfast.errors import SourceChanged
from holdfast.services import fetch
from holdfast.testing.faults import sample
from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

DATASETS = f"{PREFIX}/datasets"


@pytest.fixture
def dataset(site: SmallSite) -> str:
    return site.open_dataset(profile="single-tape")


@pytest.fixture
def client(site: SmallSite, api: httpx.Client) -> Iterator[Client]:
    with Client(str(api.base_url), site.archive.settings.token_file.read_text().strip()) as made:
        yield made


def tar_of(files: dict[str, bytes], mtime: str) -> bytes:
    """Return a tar with a time of its own in each head."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = len(content), {"mtime": mtime}
            tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


def upload(api: httpx.Client, dataset: str, path: str, content: bytes, **about: str) -> None:
    """Add a file as tus has it, in one call."""
    pairs = {"dataset": dataset, "filename": path, **about}
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    headers = {
        "Tus-Resumable": "1.0.0", "Upload-Length": str(len(content)), "Upload-Metadata": metadata,
        "Content-Type": "application/offset+octet-stream",
    }  # fmt: skip
    assert api.post(f"{PREFIX}/uploads", headers=headers, content=content).status_code == 201


def close(site: SmallSite, api: httpx.Client, dataset: str) -> None:
    assert api.post(f"{DATASETS}/{dataset}/close").status_code == 202
    site.drain()
    assert site.show(dataset).state == "closed", site.show(dataset).problem


def test_files_come_back_with_their_permissions(
    site: SmallSite, api: httpx.Client, client: Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = {"batch": (10, 0o755), "put": (1_100_000, 0o640), "large": (1_300_000, 0o4751)}
    monkeypatch.setattr("holdfast.client.adding._LARGE", 1_200_000)
    for name, (size, mode) in modes.items():
        (tmp_path / name).write_bytes(bytes(size))
        (tmp_path / name).chmod(mode)
    files, _ = found([f"{tmp_path}/{name}" for name in modes])
    assert Adding(client, dataset).run(files).refused == []
    assert api.put(f"{DATASETS}/{dataset}/files/bare", content=b"x").status_code == 201
    upload(api, dataset, "bare-tus", b"x", mode="rwx")  # none that is known
    upload(api, dataset, "tus", b"x", mode="0444")
    folder = site.fill({"fetched": b"x"})
    (folder / "fetched").chmod(0o550)
    fetch.want_path(site.archive, dataset, str(folder / "fetched"), into="", person="tester")
    assert api.put(f"{DATASETS}/{dataset}/files/odd?mode=999", content=b"x").status_code == 422
    site.drain()
    shown = {item.path: item.mode for item in client.files(dataset)}
    inside = site.archive.settings.landing_path / dataset
    assert {path.stat().st_mode & 0o777 for path in inside.iterdir()} == {0o600}  # while they are here, for nobody else
    close(site, api, dataset)
    site.ask(dataset)
    site.drain()
    wanted = {
        "batch": 0o755,
        "put": 0o640,
        "large": 0o751,
        "bare": 0o644,
        "bare-tus": 0o644,
        "tus": 0o444,
        "fetched": 0o550,
    }
    assert (
        {path.name: path.stat().st_mode & 0o7777 for path in (site.destinations / "back").iterdir()} == wanted == shown
    )


@pytest.mark.parametrize("size", [10, 1_100_000])
def test_a_file_that_changes_while_it_waits_is_not_added(
    client: Client, dataset: str, tmp_path: Path, size: int
) -> None:
    def grow(file: Path) -> None:
        with file.open("ab") as opened:
            opened.write(b"more")

    def rewrite(file: Path) -> None:
        with file.open("r+b") as opened:
            opened.write(b"other")

    changes = {
        "grown": grow,
        "rewritten": rewrite,
        "cut": lambda file: os.truncate(file, size // 2),
        "same": lambda _: None,
    }
    for name in changes:
        (tmp_path / name).write_bytes(sample(size, name))
        os.utime(tmp_path / name, ns=(1_700_000_000_000_000_000,) * 2)
    files, _ = found([f"{tmp_path}/{name}" for name in changes])
    for name, change in changes.items():
        change(tmp_path / name)
    for file in files:
        done = Adding(client, dataset).run([file])
        assert (done.files, len(done.refused)) == ((1, 0) if file.path == b"same" else (0, 1)), file
        assert all("changed" in sentence for _, sentence in done.refused)
    assert [item.path for item in client.files(dataset)] == ["same"]


def test_a_file_that_changes_while_it_is_read_is_not_added(client: Client, dataset: str, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(sample(3_000_000, "f"))
    os.utime(file, ns=(1, 1))

    def change(_: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(2_500_000)
            opened.write(b"other")

    (local,), _ = found([str(file)])
    with pytest.raises(SourceChanged):
        client.add_file(dataset, local, moved=change)
    assert list(client.files(dataset)) == []


def test_p10_what_cannot_be_read_is_named_and_its_neighbours_are_added(
    client: Client, dataset: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for name in ("a", "closed", "gone", "sub/b", "sub/c", "locked/d", "locked/e"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(name.encode())
    missing = f"{run}/nowhere"
    files, odd = list[LocalFile](), list[tuple[str, str]]()
    done = Added()

    def add() -> None:
        nonlocal files, odd, done
        files, odd = found([f"{run}/", missing])
        (run / "gone").unlink()
        done = Adding(client, dataset).run(files)

    for name in ("closed", "locked"):
        (run / name).chmod(0)
    without_power(add)
    (run / "locked").chmod(0o755)
    assert {path for path, _ in odd} == {f"{run}/locked", missing}
    assert (done.files, {path for path, _ in done.refused}) == (3, {"closed", "gone"})
    assert any("Permission denied" in sentence for _, sentence in done.refused)
    assert [item.path for item in client.files(dataset)] == ["a", "sub/b", "sub/c"]
    done = Adding(client, dataset).run([file for file in files if file.path == b"gone"])
    assert (done.files, len(done.refused)) == (0, 1)  # none is left to be sent


def test_a_server_that_is_busy_is_asked_again(
    site: SmallSite, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.adding._LARGE", 1_150_000)
    for name, size in {"a": 1_100_000, "b": 1_200_000, "small": 10}.items():
        (tmp_path / name).write_bytes(sample(size, name))
    refused = threading.Event()

    def tell(answer: httpx.Response) -> None:
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            refused.set()

    def slowly() -> Iterator[bytes]:
        yield b"first"
        assert refused.wait(30)
        yield b"last"

    with client_of(site, at_once=2) as api:  # one of each person
        token = site.archive.settings.token_file.read_text().strip()
        with ThreadPoolExecutor(1) as other, Client(str(api.base_url), token) as client:
            client._http.event_hooks = {"response": [tell]}
            put = other.submit(
                api.put, f"{DATASETS}/{dataset}/files/slow", content=slowly(), headers={"Content-Length": "9"}
            )
            wait_for(lambda: bool(site.rows("select id from upload")), "it has begun")
            done = Adding(client, dataset).run(found([f"{tmp_path}/{name}" for name in ("a", "b", "small")])[0])
        assert put.result().status_code == 201
        assert (done.files, done.bytes, done.refused) == (3, 2_300_010, [])


def test_a_file_system_that_keeps_whole_seconds_keeps_datasets(
    site: SmallSite, api: httpx.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact, second = os.utime, 1_000_000_000

    def coarse(*what: Any, ns: tuple[int, int], **how: Any) -> None:
        exact(*what, ns=(ns[0] // second * second, ns[1] // second * second), **how)

    monkeypatch.setattr("os.utime", coarse)
    at = {"mtime_ns": 1_700_000_000_123_456_789}
    assert api.put(f"{DATASETS}/{dataset}/files/sub/f", content=b"content", params=at).status_code == 201
    close(site, api, dataset)
    with site.archive.database.transaction() as conn:  # as if the archive had been told more than its buffer keeps
        (packed,) = listings.of_segment(conn, dataset, 1)
        listings.replace(conn, dataset, 1, [packed._replace(entry=packed.entry._replace(mtime_ns=at["mtime_ns"]))])
    for place, answers in (("content/sub/f", [202, 200]), ("bundle?path=sub/f", [200])):
        for status in answers:
            assert api.get(f"{DATASETS}/{dataset}/{place}").status_code == status
            site.drain()
    assert len(site.rows("select id from request")) == 1


def test_a_file_takes_the_place_of_a_folder_of_which_nothing_is_left(
    site: SmallSite, api: httpx.Client, client: Client, dataset: str, tmp_path: Path
) -> None:
    def put(path: str) -> int:
        return api.put(f"{DATASETS}/{dataset}/files/{path}", content=path.encode()).status_code

    assert (put("d/e/x"), put("k/x"), put("k/y")) == (201, 201, 201)
    for path in ("d/e/x", "k/x"):
        client.remove_file(dataset, path)
    (site.archive.settings.landing_path / dataset / "left").mkdir()  # by a call that was killed
    (tmp_path / "m" / "empty").mkdir(parents=True)
    assert Adding(client, dataset).run(found([f"{tmp_path}/m"])[0]).refused == []
    assert (put("d"), put("left"), put("k"), put("m"), put("m/empty")) == (201, 201, 409, 409, 409)
    close(site, api, dataset)
    assert {item.path: item.kind for item in client.files(dataset)} == {
        "d": "file", "k/y": "file", "left": "file", "m/empty": "directory",
    }  # fmt: skip


def test_a_file_from_before_1970_keeps_its_time(
    site: SmallSite, api: httpx.Client, client: Client, dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.adding._LARGE", 1_200_000)
    early = -1_000_000_000_500_000_001  # in 1938
    for name, size in {"batch": 10, "put": 1_100_000, "tus": 1_300_000}.items():
        (tmp_path / name).write_bytes(bytes(size))
        os.utime(tmp_path / name, ns=(early, early))
    files, _ = found([f"{tmp_path}/{name}" for name in ("batch", "put", "tus")])
    assert Adding(client, dataset).run(files).refused == []
    assert {item.path: item.mtime_ns for item in client.files(dataset)} == dict.fromkeys(("batch", "put", "tus"), early)
    assert Adding(client, dataset).run(files).there == 3
    for mtime in ("1e40", "-1e40"):  # as far as there are times
        assert api.post(f"{DATASETS}/{dataset}/files", content=tar_of({mtime: b"x"}, mtime=mtime)).status_code == 200
    for mtime in (1 << 63, -(1 << 63)):
        assert api.put(f"{DATASETS}/{dataset}/files/x?mtime_ns={mtime}", content=b"x").status_code == 422
    close(site, api, dataset)
    site.ask(dataset)
    site.drain()
    back = {path.name: path.stat().st_mtime_ns for path in (site.destinations / "back").iterdir()}
    assert {back[name] for name in ("batch", "put", "tus")} == {early}
