# SPDX-License-Identifier: Apache-2.0
"""Connections of clients that may be slow, or mean it: each says in time what it wants, and in few words."""

from __future__ import annotations

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from holdfast.web.problems import unreadable

PATIENCE: Final = 20.0  # seconds for the head of a request: a browser behind a bad line needs one or two
# The file that is sent stays open meanwhile, and its room in the buffer is not free before it is closed.
UNREAD: Final = 300.0  # seconds for 1 MiB, in which files are sent: the worst line that people use takes three minutes
_MOST: Final = 512 << 10  # bytes of a head: more than one read from the network, which may end within the next head


class Connection(HttpToolsProtocol):
    """Hangs up on who does not say what is wanted, or does not take it.

    uvicorn alone would wait for ever, and remember all that comes.
    """

    def __init__(self, *args: Any, patience: float = PATIENCE, unread: float = UNREAD, **more: Any) -> None:
        """`patience`: seconds from the beginning, or the last answer, until the next request has a head.

        `unread`: seconds until what was written is taken.
        """
        super().__init__(*args, **more)
        self._patience, self._unread = patience, unread
        self._deadline: TimerHandle | None = None
        self._taken_by: TimerHandle | None = None
        self._head = 0  # bytes that came of it
        self._in_body = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what comes, unless it is more than a head has."""
        super().data_received(data)
        if not self._in_body and not self.transport.is_closing():
            self._head += len(data)
            if self._head > _MOST:
                self.send_400_response("The head of this request is too large.")

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request as all errors are answered, and hang up."""
        answer = unreadable(msg)
        head = b"".join(b"%b: %b\r\n" % pair for pair in answer.raw_headers)
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\n" + head + b"connection: close\r\n\r\n" + bytes(answer.body))
        self.transport.close()

    def on_headers_complete(self) -> None:
        """Serve what is wanted."""
        self._wait_no_more()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect another head."""
        self._in_body, self._head = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head, also while the body of a call that was refused still comes."""
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def pause_writing(self) -> None:
        """Wait for the client to take what was written."""
        super().pause_writing()
        self._taken_by = self.loop.call_later(self._unread, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on, for it was taken."""
        super().resume_writing()
        self._taken()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._wait_no_more()
        self._taken()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._wait_no_more()
        self._deadline = self.loop.call_later(self._patience, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _taken(self) -> None:
        if self._taken_by is not None:
            self._taken_by.cancel()
            self._taken_by = None
