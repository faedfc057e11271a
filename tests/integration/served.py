# SPDX-License-Identifier: Apache-2.0
"""An archive served over HTTP within the test's own process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import uvicorn

from holdfast.testing.proxy import free_port
from holdfast.testing.site import SmallSite
from holdfast.web.application import create_app, server_config
from holdfast.web.connection import PATIENCE, UNREAD


@contextmanager
def served(
    site: SmallSite, *, port: int | None = None, patience: float = PATIENCE, unread: float = UNREAD, **limits: Any
) -> Iterator[int]:
    """Serve an archive on a port of its own, which is yielded, in the way its settings want.

    `limits` are those of `create_app`.
    """
    port = port or free_port()
    config = server_config(
        create_app(site.archive, **limits), site.archive.settings.web, host="127.0.0.1", port=port, patience=patience, unread=unread,
        lifespan="off",
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            assert thread.is_alive()
            thread.join(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def client_of(site: SmallSite, *, port: int | None = None, **how: Any) -> Iterator[httpx.Client]:
    """Serve an archive on a port of its own and yield a client with its token; `how` is as for `served`."""
    with served(site, port=port, **how) as found:
        token = site.archive.settings.token_file.read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{found}", headers=headers, timeout=30, trust_env=False) as client:
            yield client
