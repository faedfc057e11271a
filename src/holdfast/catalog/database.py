# SPDX-License-Identifier: Apache-2.0
"""Connections, transactions, guarded moves and claims.

Nobody above this module sees psycopg's exceptions: a lost server becomes DatabaseUnavailable, a value that it does not
take InvalidInput.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from select import POLLIN, poll
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import set_json_loads
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic_core import from_json

from holdfast.errors import DatabaseUnavailable, InvalidInput

Connection = psycopg.Connection[DictRow]
Row = DictRow

set_json_loads(from_json)  # three times as fast as the one of Python

_WAIT: Final = 15.0  # seconds for a connection: longer than a restart of the server takes
# The pool doubles its pauses while it tries to connect; giving up early and beginning anew keeps them at 2 s.
_RECONNECT: Final = 3.0  # seconds
# A dead peer is noticed within about 30 s, so that its claims become free (P6, P7).
_KEEPALIVE: Final = {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "4"}


@contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg's errors into ours: a lost or refusing server, a value that no database takes (a NUL in a text)."""
    try:
        yield
    except psycopg.DataError as error:
        raise InvalidInput(what=f"A value is not acceptable: {str(error).strip().splitlines()[0]}.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable(
            why=str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        ) from error


class Database:
    """A pool of connections to the catalogue."""

    def __init__(self, dsn: str, *, size: int = 8) -> None:
        """Open lazily: a server that is away now may come back."""
        self.dsn = dsn
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            min_size=0,
            max_size=size,
            open=False,
            timeout=_WAIT,
            reconnect_timeout=_RECONNECT,
            kwargs={"row_factory": dict_row, "autocommit": True, **_KEEPALIVE},
            connection_class=psycopg.Connection[DictRow],
        )
        self._pool.open()
        self.change = object()

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that commits at the end, or rolls back on any exception."""
        try:
            with self.reading() as conn, conn.transaction():
                yield conn
        finally:
            self.change = object()  # whoever remembers something of the catalogue sees that it may be another now

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection on which each statement stands for itself.

        What the archive reads it would read no other within a transaction, for each statement sees what is committed
        when it begins (read committed); this saves two of the ways there and back.
        """
        with translated():
            conn = self._living()
            try:
                yield conn
            finally:
                self._pool.putconn(conn)

    def _living(self) -> Connection:
        """Return a connection that nobody has ended while it lay in the pool.

        The pool could ask each connection itself, with a way there and back for each use, and it waits longer after each
        dead one: after a restart of the server, with all of them dead, somebody would wait 15 s.
        """
        for _ in range(self._pool.max_size):
            conn = self._pool.getconn()
            if not _ended(conn):
                return conn
            conn.close()
            self._pool.putconn(conn)
        return self._pool.getconn()  # as it is: a server that ends all of them is told as one that is away

    def rows(self, query: LiteralString, args: dict[str, Any] | None = None) -> list[Row]:
        """Run one query and return its rows."""
        with self.reading() as conn:
            return conn.execute(query, args).fetchall()

    @contextmanager
    def claim(self, *things: str) -> Iterator[bool]:
        """Hold the one claim on each of `things` while this process lives; yields False when somebody else holds any.

        Advisory locks on a connection of their own: the server frees them the moment that this process dies, so
        nobody waits for a timeout. Being cut off is survived by attempt numbers (P7), not by these locks.
        """
        with translated():
            conn = psycopg.connect(self.dsn, autocommit=True, row_factory=dict_row, **_KEEPALIVE)  # type: ignore[arg-type]
        try:
            yield all(_taken(conn, thing) for thing in things)
        finally:
            conn.close()


def _ended(conn: Connection) -> bool:
    """Say whether the server, or the network, has ended an idle connection: else there is nothing to read from it."""
    waiting = poll()
    waiting.register(conn.fileno(), POLLIN)
    return bool(waiting.poll(0))


def _taken(conn: Connection, thing: str) -> bool:
    with translated():
        row = conn.execute("select pg_try_advisory_lock(hashtextextended(%s, 0)) as held", [thing]).fetchone()
    return bool(row and row["held"])


def one(rows: Sequence[Row]) -> Row | None:
    """Return the only row, or None."""
    return rows[0] if rows else None
