# SPDX-License-Identifier: Apache-2.0
"""The connection under all calls: what is sent, what is tried again, and how a refusal is told."""

from __future__ import annotations

import base64
import math
import os
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from holdfast.errors import HoldfastError, InvalidInput, Refused, SettingsError, Unreachable
from holdfast.wire.model import wrong

ANSWER: Final = 60.0  # seconds until an answer has to come; asking for part of a huge dataset walks its file list
_TIMEOUT: Final = httpx.Timeout(ANSWER, connect=5.0)
_PATIENCE: Final = 600.0  # seconds in which a server that is busy is asked again; others' uploads take their time
_AWAY: Final = 60.0  # seconds in which bytes on their way wait for a server that was there; starting anew takes it less
_LOOK: Final = 1.0  # seconds between two looks
_CUTS: Final = 4  # of a call that gets no further; to repeat it is safe, because every write carries an idempotency key
_NOT_THERE: Final = (httpx.ConnectError, httpx.ConnectTimeout)
_ADDRESS: Final = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)(:(?P<port>[0-9]{1,5}))?(/[^\s?#]*)?", re.IGNORECASE
)
_LAST_PORT: Final = 65535
_TOKEN: Final = re.compile(r"[!-~]+")  # what a header can have
M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


class Connection:
    """A connection to an archive."""

    def __init__(
        self, url: str, token: str | None = None, *, ca: str | None = None, certificate: str | None = None,
        key: str | None = None,
    ) -> None:  # fmt: skip
        """`url` is the server's address without a path, `token` a token of it; what is public needs none.

        Three PEM files: `ca` has the authorities that are believed instead of those of the world, `certificate` and `key`
        say who calls; the key may be in the file of the certificate. Raises SettingsError for what cannot be used.
        """
        if token and not _TOKEN.fullmatch(
            token
        ):  # which, is not said: a line break behind it makes it no less a secret
            raise SettingsError(what="The token (HOLDFAST_TOKEN) has blanks, line breaks or letters that no token has.")
        self._url, self._shows = url, certificate is not None
        self._lost: float | None = -math.inf  # since when no call finds the server; before the first one, for ever
        if not (found := _ADDRESS.fullmatch(url)) or int(found["port"] or 0) > _LAST_PORT:
            raise SettingsError(what=f"{url!r} is no address of a server, as https://archive.example.org is.")
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT,
            trust_env=False,
            event_hooks={"response": [_from_the_server]},
            # Reading the certificates of the world takes as long as a whole call.
            verify=False if url.lower().startswith("http:") else _believed(ca, certificate, key),
        )

    @property
    def url(self) -> str:
        """The server's address, without a path."""
        return self._url.rstrip("/")

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _get(self, route: str, kind: type[M], /, **query: Any) -> M:
        params = {key: value for key, value in query.items() if value is not None}
        return self._understood(kind, self._call("GET", route, params=params).content)

    def _post(self, path: str, wish: BaseModel | None, kind: type[M], key: str = "") -> M:
        return self._understood(kind, self._send("POST", path, wish, key).content)

    def _put(self, path: str, wish: BaseModel, kind: type[M], /, **query: Any) -> M:
        return self._understood(kind, self._send("PUT", path, wish, params=query).content)

    def _delete(self, path: str, kind: type[M]) -> M:
        return self._understood(kind, self._call("DELETE", path).content)

    def _understood(self, kind: type[M], content: bytes) -> M:
        """Return what the server answered. Raises Refused when it is none of what this version knows."""
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            what = f"{self._url} answered something that this version of Holdfast does not understand: {wrong(error)}"
            raise Refused(detail=what, code="not-understood") from error

    def _send(self, method: str, path: str, wish: BaseModel | None, key: str = "", **how: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key or secrets.token_urlsafe(16), "Content-Type": "application/json"}
        try:
            content = wish.model_dump_json() if wish else None
        except PydanticSerializationError as error:
            raise InvalidInput(what="What was given is not all text in UTF-8.") from error
        return self._call(method, path, content=content, headers=headers, **how)

    def _call(self, method: str, path: str, **how: Any) -> httpx.Response:
        response = self._asked(method, path, **how)
        if not response.is_success:
            self._refuse(response)
        return response

    def _asked(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Return what the server answered, be it a refusal. Raises Unreachable, SettingsError."""
        return self._steadily(lambda: self._http.request(method, path, **how), away=0.0)

    def _steadily(self, work: Callable[[], T], reached: Callable[[], int] = lambda: 0, *, away: float = _AWAY) -> T:
        """Return what `work` does, which is done again when it is cut off, be it by a server that starts anew.

        `reached` tells how far it is: what gets further each time may be cut off any number of times. A server that was there
        may be `away` for so many seconds. Raises Unreachable, SettingsError.
        """
        cuts, far = 0, reached()
        while True:
            try:
                done = work()
            except UnicodeEncodeError as error:
                raise _no_text(error) from error
            except httpx.TransportError as error:
                now, told = time.monotonic(), self._unreachable(error)
                if isinstance(error, _NOT_THERE):
                    self._lost = self._lost or now
                    over = now >= self._lost + away
                else:
                    cuts = 1 if reached() > far else cuts + 1
                    far, over = reached(), cuts == _CUTS
                if over or not isinstance(told, Unreachable):
                    raise told from error
                time.sleep(min(_LOOK, away))  # who does not wait for a server is not to wait for nothing
            else:
                self._lost = None
                return done

    @contextmanager
    def _streamed(self, route: str, /, **query: Any) -> Iterator[httpx.Response]:
        """Yield an answer that is read in pieces. Raises Refused, Unreachable, SettingsError."""
        try:
            with self._http.stream("GET", route, params=query) as response:
                if response.is_error:
                    response.read()
                    self._refuse(response)
                yield response
        except UnicodeEncodeError as error:
            raise _no_text(error) from error
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def _patiently(self, send: Callable[[], httpx.Response], patience: float = _PATIENCE) -> httpx.Response:
        """Return the answer to `send`, which is called again when it is cut off, and when a server that is busy says.

        The latter for `patience` seconds at most. Raises Unreachable, SettingsError.
        """
        end = time.monotonic() + patience
        while True:
            response = self._steadily(send)
            pause = response.headers.get("Retry-After", "")
            if (
                response.status_code != httpx.codes.SERVICE_UNAVAILABLE
                or not pause.isdigit()
                or time.monotonic() + int(pause) > end
            ):
                return response
            time.sleep(int(pause))

    def _unreachable(self, error: httpx.TransportError) -> HoldfastError:
        """Return what to tell of a call that was not answered."""
        why = str(error).rstrip(".") or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            return SettingsError(
                what=f"The certificate of {self._url} is not believed: {why}. If its authority is one of your own, name the file "
                "with it in HOLDFAST_CA."
            )
        if self._shows and not isinstance(error, httpx.ConnectError):  # TLS 1.3: it looks at a certificate after that
            why += ", perhaps because it does not believe your certificate"
        return Unreachable(url=self._url, why=why)

    def _refuse(self, response: httpx.Response) -> NoReturn:
        if response.request.method == "HEAD":  # its answer cannot say why; that to the same call with GET can
            with suppress(httpx.TransportError), self._http.stream("GET", response.request.url) as told:
                if told.status_code == response.status_code:
                    told.read()
                    response = told
        try:
            found = response.json()
            details = dict(found.get("details", {}))
            raise Refused(**{**details, "detail": found["detail"], "code": found["code"]})
        except (ValueError, TypeError, KeyError, AttributeError):
            raise Unreachable(url=self._url, why=f"it answered {response.status_code}") from None


def _from_the_server(response: httpx.Response) -> None:
    """Raise TransportError for what a proxy answers in the place of a server that does not."""
    if response.status_code == httpx.codes.BAD_GATEWAY:
        raise httpx.ConnectError("the proxy in front of it answers 502", request=response.request)
    if response.status_code == httpx.codes.GATEWAY_TIMEOUT:
        raise httpx.ReadTimeout("the proxy in front of it answers 504", request=response.request)


def _believed(ca: str | None, certificate: str | None, key: str | None) -> ssl.SSLContext:
    """Return whom a connection believes, and what it shows. Raises SettingsError."""
    try:
        context = ssl.create_default_context(cafile=ca) if ca else httpx.create_ssl_context(trust_env=False)
    except OSError as error:
        raise SettingsError(what=f"The authorities in {ca} cannot be used: {error}.") from error
    try:
        if certificate:
            context.load_cert_chain(certificate, key)
    except OSError as error:
        files = " and ".join(filter(None, (certificate, key)))
        raise SettingsError(what=f"The certificate in {files} cannot be used: {error}.") from error
    return context


def _no_text(error: UnicodeEncodeError) -> InvalidInput:
    return InvalidInput(what=f"{error.object!r} is not text in UTF-8.")


def is_text(path: str) -> bool:
    """Say whether a path is UTF-8; `os.fsdecode` and `sys.argv` also have others."""
    return not any("\ud800" <= char <= "\udfff" for char in path)


def sent(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the paths that are UTF-8 and, in base 64, those that are not."""
    return (
        [path for path in paths if is_text(path)],
        [base64.b64encode(os.fsencode(path.strip("/"))).decode() for path in paths if not is_text(path)],
    )


def segment(name: str | bytes) -> str:
    """Return a name as one part of a path; `..` would be taken for the way to another address."""
    return quote(name, safe="") if name not in {".", "..", b".", b".."} else "%2E" * len(name)


def segments(path: bytes) -> str:
    """Return the path of a file as it stands in an address."""
    return "/".join(map(segment, path.split(b"/")))
