# SPDX-License-Identifier: Apache-2.0
"""A database server that can be away: a TCP port in front of a UNIX socket, which can be cut and mended."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_PORTS: Final = range(20_000, 32_000)  # below those that Linux gives to outgoing connections
_BLOCK: Final = 1 << 16


def free_port() -> int:
    """Return a TCP port of this host on which nobody listens."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port


class Proxy:
    """Passes connections on to the server of `dsn`; `dsn` of the proxy leads there through it."""

    def __init__(self, dsn: str) -> None:
        """Begin to listen."""
        parts = conninfo_to_dict(dsn)
        self._server = str(Path(str(parts["host"])) / f".s.PGSQL.{parts.get('port', 5432)}")
        self._port = free_port()
        self.dsn = make_conninfo(dsn, host="127.0.0.1", port=self._port, gssencmode="disable", sslmode="disable")
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.mend()

    def mend(self) -> None:
        """Listen again."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def cut(self) -> None:
        """Refuse new connections and end those there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """End the connections there are."""
        with self._lock:
            closing, self._open = self._open, []
        for end in closing:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            with self._lock:
                self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=_pass, args=pair, daemon=True).start()


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            sink.sendall(block)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
