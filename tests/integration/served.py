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
from holdfast.web.connection import PATIENCE


@contextmanager
def client_of(
    site: SmallSite, *, port: int | None = None, patience: float = PATIENCE, **limits: Any
) -> Iterator[httpx.Client]:
    """Serve an archive on a port of its own and yield a client with its token; `limits` are those of `create_app`."""
    port = port or free_port()
    app = create_app(site.archive, **limits)
    server = uvicorn.Server(server_config(app, host="127.0.0.1", port=port, patience=patience, lifespan="off"))
    serving = threading.Thread(target=server.run)
    serving.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            assert serving.is_alive()
            serving.join(0.01)
        token = site.archive.settings.token_file.read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        serving.join()
