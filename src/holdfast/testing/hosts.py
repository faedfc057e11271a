# SPDX-License-Identifier: Apache-2.0
"""Other hosts, as small HTTP servers in the test's own process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, TypeVar

S = TypeVar("S", bound=HTTPServer)


class Quiet(BaseHTTPRequestHandler):
    """Answers calls, and writes nothing of them to standard error."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def answering(host: S) -> Iterator[S]:
    """Have a host answer, and end it."""
    thread = threading.Thread(target=host.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        thread.join()
        host.server_close()
