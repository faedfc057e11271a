# SPDX-License-Identifier: Apache-2.0
"""Files that the archive brings itself: from its server and from hosts that it may ask, resumed where they were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest

from holdfast.errors import HoldfastError, InvalidInput, NotAllowed, NotFound, OutsideRoots, Unreachable
from holdfast.services import fetch, landing, show, uploads
from holdfast.services.landing import folder_of
from holdfast.testing.faults import sample
from holdfast.testing.hosts import Quiet, answering
from holdfast.testing.site import SmallSite

DATA = sample(3_000_000, "remote")


class Host(ThreadingHTTPServer):
    """A host with one file; `cut` ends an answer after so many bytes, `told` is said of the file, `off` is how wrong its ranges are."""

    cut: int | None = None
    ranges = True
    off = 0
    data = DATA

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked: list[str] = []
        self.told = {"ETag": '"one"'}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(Quiet):
    server: Host

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        asked = self.headers.get("Range", "") if self.server.ranges else ""
        self.server.asked.append(f"{self.command} {asked}".strip())
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file.h5")
            self.end_headers()
            return
        if self.path in {"/away", "/secret"}:
            self.send_response(302 if self.path == "/away" else 404)
            self.send_header("Location", "http://127.0.0.2:1/x")
            self.end_headers()
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(DATA) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start + self.server.off}-{len(DATA) - 1}/{len(DATA)}")
        for name, value in self.server.told.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(self.server.data[start : start + self.server.cut if self.server.cut else None])
            self.close_connection = True


@pytest.fixture
def host() -> Iterator[Host]:
    with answering(Host()) as made:
        yield made


@pytest.fixture
def near(make_site: Callable[..., SmallSite], host: Host) -> SmallSite:
    return make_site(landing__hosts=(host.url, "*.example.org"))


def landed(site: SmallSite, dataset: str) -> dict[str, bytes]:
    root = folder_of(site.archive, dataset)
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def test_files_of_the_server_are_copied(site: SmallSite) -> None:
    files = {"a.txt": b"alpha", "sub/b": sample(200_000, "b"), "none": None}
    folder = site.fill(files, name="run")
    os.utime(folder / "a.txt", ns=(1, 1_700_000_000_123_456_789))
    (folder / "link").symlink_to("nowhere/a.txt")
    dataset = site.open_dataset()
    for _ in range(2):  # repeated, it changes nothing
        assert fetch.want_path(site.archive, dataset, str(folder), into="raw", person="tester") == 4
        site.drain()
    assert fetch.want_path(site.archive, dataset, str(folder / "a.txt"), into="", person="tester") == 1
    site.drain()
    assert landed(site, dataset) == {"raw/run/a.txt": b"alpha", "raw/run/sub/b": files["sub/b"], "a.txt": b"alpha"}
    assert (folder_of(site.archive, dataset) / "a.txt").stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert os.readlink(folder_of(site.archive, dataset) / "raw/run/link") == "nowhere/a.txt"
    [(_, empty)] = show.files(site.archive, dataset, prefix=b"raw/run/none", after=b"", limit=9)
    assert empty.kind == "directory"
    assert site.show(dataset).files == 5
    for path, error in (
        ("/etc/passwd", OutsideRoots),
        (str(folder / "nothing"), NotFound),
        (f"{folder}/../../x", OutsideRoots),
    ):
        with pytest.raises(error):
            fetch.want_path(site.archive, dataset, path, into="", person="tester")


def test_a_file_that_changes_meanwhile_is_told_and_not_added(site: SmallSite) -> None:
    folder, dataset = site.fill({"a": b"one"}), site.open_dataset()
    fetch.want_path(site.archive, dataset, str(folder / "a"), into="", person="tester")
    (folder / "a").write_bytes(b"two")
    site.drain(hurry=False)
    assert landed(site, dataset) == {}
    (row,) = uploads.of_dataset(site.archive, dataset)
    assert "has changed" in row["problem"]["sentence"]


def test_a_file_of_another_host_comes_and_goes_on_where_it_was(near: SmallSite, host: Host) -> None:
    dataset = near.open_dataset()
    host.cut = 1_000_000
    fetch.want_url(near.archive, dataset, f"{host.url}/file.h5", path="", person="tester")
    near.drain(hurry=False)
    (row,) = uploads.of_dataset(near.archive, dataset)
    assert row["problem"]["code"] == "unreachable"
    assert 0 < row["received"] <= 1_000_000
    assert landed(near, dataset) == {}
    host.cut = None
    near.drain()
    assert landed(near, dataset) == {"file.h5": DATA}
    assert any(asked.startswith("GET bytes=") for asked in host.asked)


def cut_off(near: SmallSite, host: Host, told: dict[str, str]) -> str:
    """Have a file fetched that is cut off on its way, and all be well again; return its dataset."""
    dataset = near.open_dataset()
    host.cut, host.told = 1_000_000, told
    fetch.want_url(near.archive, dataset, f"{host.url}/file.h5", path="x", person="tester")
    near.drain(hurry=False)
    (row,) = uploads.of_dataset(near.archive, dataset)
    assert 0 < row["received"] <= 1_000_000
    host.cut = None
    host.asked.clear()
    return dataset


def test_a_file_that_is_another_one_now_is_not_gone_on_with(near: SmallSite, host: Host) -> None:
    dataset = cut_off(near, host, {"ETag": '"one"'})
    host.told = {"ETag": '"two"'}
    near.hurry()
    near.drain(hurry=False)
    (row,) = uploads.of_dataset(near.archive, dataset)
    assert "has changed" in row["problem"]["sentence"]
    near.rows("update upload set expires_at = now()")
    uploads.sweep(near.archive)
    assert len(uploads.of_dataset(near.archive, dataset)) == 1  # however long: its dataset is not closed without it
    assert landed(near, dataset) == {}


@pytest.mark.parametrize("told", [{}, {"ETag": 'W/"one"'}, {"Last-Modified": "Tue, 14 Nov 2023 22:13:20 GMT"}])
def test_two_versions_of_a_file_never_become_one(near: SmallSite, host: Host, told: dict[str, str]) -> None:
    dataset = cut_off(near, host, told)
    host.data = sample(len(DATA), "a newer one, of which its host does not tell")
    near.drain()
    assert landed(near, dataset) == {"x": host.data}


def test_a_host_that_gives_whole_files_only_is_asked_for_all_again(near: SmallSite, host: Host) -> None:
    dataset = cut_off(near, host, {"ETag": '"one"'})
    host.ranges = False
    near.drain()
    assert landed(near, dataset) == {"x": DATA}


def test_another_range_than_was_asked_for_is_not_taken(near: SmallSite, host: Host) -> None:
    dataset = cut_off(near, host, {"ETag": '"one"'})
    host.off = -7
    near.hurry()
    near.drain(hurry=False)
    (row,) = uploads.of_dataset(near.archive, dataset)
    assert "sent something else" in row["problem"]["sentence"]
    host.off = 0
    near.drain()
    assert landed(near, dataset) == {"x": DATA}


def test_only_hosts_that_were_named_are_asked(near: SmallSite, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = near.open_dataset()
    assert fetch.want_url(near.archive, dataset, f"{host.url}/moved", path="a", person="tester") == 1
    refused: list[tuple[str, type[HoldfastError]]] = [
        (f"{host.url}/away", NotAllowed),  # sends us to another host
        (f"http://localhost:{host.server_port}/x", NotAllowed),
        ("https://127.0.0.1/x", NotAllowed),
        ("https://example.org.evil.net/x", NotAllowed),
        ("http://data.example.org/x", NotAllowed),  # not by https
        ("https://user:pass@data.example.org/x", NotAllowed),
        ("file:///etc/passwd", NotAllowed),
        (f"{host.url}/secret", Unreachable),
        (f"{host.url}/no\0url", InvalidInput),
        (f"https://{'x' * 100}.example.org/x", Unreachable),
    ]
    for url, error in refused:
        with pytest.raises(error):
            fetch.want_url(near.archive, dataset, url, path="", person="tester")
    # A name that leads inside: DNS is not ours.
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("10.0.0.1", 443))])
    with pytest.raises(NotAllowed, match="private"):
        fetch.want_url(near.archive, dataset, "https://data.example.org/x", path="a", person="tester")


def test_a_file_whose_path_is_taken_waits_and_says_so(site: SmallSite) -> None:
    folder, dataset = site.fill({"a": b"one"}), site.open_dataset()
    fetch.want_path(site.archive, dataset, str(folder / "a"), into="", person="tester")
    site.drain()
    (folder / "a").write_bytes(b"another")
    fetch.want_path(site.archive, dataset, str(folder / "a"), into="", person="tester")
    site.drain(hurry=False)
    (row,) = uploads.of_dataset(site.archive, dataset)
    assert "with other content" in row["problem"]["sentence"]
    landing.remove(site.archive, person="tester", dataset=dataset, path=b"a")
    site.drain()
    assert landed(site, dataset) == {"a": b"another"}
