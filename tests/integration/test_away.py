# SPDX-License-Identifier: Apache-2.0
"""A client whose server goes, and comes again or not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path

import pytest
from served import served

from holdfast.client import Client
from holdfast.errors import Unreachable
from holdfast.testing.hosts import Quiet, answering
from holdfast.testing.proxy import free_port
from holdfast.testing.site import SmallSite


@contextmanager
def proxy_alone(port: int, status: int) -> Iterator[threading.Event]:
    """Answer as a proxy does behind which no server is; yields what is set once somebody has called."""
    called = threading.Event()

    class Alone(Quiet):
        def do_GET(self) -> None:
            called.set()
            self.send_error(status)

    with answering(HTTPServer(("127.0.0.1", port), Alone)):
        yield called


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def client(site: SmallSite, port: int) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{port}", site.archive.settings.token_file.read_text().strip()) as client:
        yield client


@pytest.mark.parametrize("status", [502, 504])
def test_bytes_on_their_way_wait_for_a_server_that_was_there(
    site: SmallSite, port: int, client: Client, tmp_path: Path, status: int
) -> None:
    dataset = site.archive_folder({"a": b"content"})
    site.drain()
    with served(site, port=port):
        (file,) = client.files(dataset)
    with ThreadPoolExecutor(1) as pool:
        with proxy_alone(port, status) as called:
            answer = pool.submit(client.download, dataset, file, tmp_path / "a")
            assert called.wait(30)
        with served(site, port=port):
            assert answer.result() is None
    assert (tmp_path / "a").read_bytes() == b"content"


def test_one_that_stays_away_is_given_up(
    site: SmallSite, port: int, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.client.connection._LOOK", 0.01)
    with served(site, port=port):
        client.whoami()
    with pytest.raises(Unreachable, match="refused"):
        client.whoami()
    for status in (502, 504):
        with proxy_alone(port, status), pytest.raises(Unreachable, match=f"the proxy in front of it answers {status}"):
            client.whoami()


def test_one_that_never_was_there_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.client.connection.time.sleep", pytest.fail)
    with pytest.raises(Unreachable, match="refused"):
        client.whoami()
