# SPDX-License-Identifier: Apache-2.0
"""The connection under all calls: what is sent, what is tried again, and how a refusal is told."""

from __future__ import annotations

import secrets
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from holdfast.errors import HoldfastError, Refused, SettingsError, Unreachable
from holdfast.wire.model import wrong

ANSWER: Final = 60.0  # seconds until an answer has to come; asking for part of a huge dataset walks its file list
_TIMEOUT: Final = httpx.Timeout(ANSWER, connect=5.0)
_TRIES: Final = 3  # of a call that was not answered; safe, because every write carries an idempotency key
_PATIENCE: Final = 600.0  # seconds in which a server that is busy is asked again; others' uploads take their time
M = TypeVar("M", bound=BaseModel)


class Connection:
    """A connection to an archive."""

    def __init__(
        self, url: str, token: str | None = None, *, ca: str | None = None, certificate: str | None = None,
        key: str | None = None,
    ) -> None:  # fmt: skip
        """`url` is the server's address without a path, `token` a token of it; what is public needs none.

        Three PEM files: `ca` has the authorities that are believed instead of those of the world, `certificate` and `key`
        say who calls; the key may be in the file of the certificate. Raises SettingsError for files that cannot be used.
        """
        self._url, self._shows = url, certificate is not None
        self._http = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT,
            trust_env=False,
            # Reading the certificates of the world takes as long as a whole call.
            verify=_believed(ca, certificate, key) if url.startswith("https:") else False,
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
        content = wish.model_dump_json() if wish else None
        return self._call(method, path, content=content, headers=headers, **how)

    def _call(self, method: str, path: str, **how: Any) -> httpx.Response:
        response = self._asked(method, path, **how)
        if not response.is_success:
            self._refuse(response)
        return response

    def _asked(self, method: str, path: str, **how: Any) -> httpx.Response:
        """Return what the server answered, be it a refusal. Raises Unreachable, SettingsError."""
        for left in range(_TRIES - 1, -1, -1):
            try:
                response = self._http.request(method, path, **how)
            except httpx.TransportError as error:
                if left and not isinstance(error, httpx.ConnectError):
                    continue
                raise self._unreachable(error) from error
            break
        return response

    def _patiently(self, send: Callable[[], httpx.Response], patience: float = _PATIENCE) -> httpx.Response:
        """Return the answer to `send`, which is called again when a server that is busy says, for `patience` seconds at most."""
        end = time.monotonic() + patience
        while True:
            response = send()
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
            with self._http.stream("GET", response.request.url) as told:
                if told.status_code == response.status_code:
                    told.read()
                    response = told
        try:
            found = response.json()
            details = dict(found.get("details", {}))
            raise Refused(**{**details, "detail": found["detail"], "code": found["code"]})
        except (ValueError, KeyError, AttributeError):
            raise Unreachable(url=self._url, why=f"it answered {response.status_code}") from None


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


def segment(name: str) -> str:
    """Return a name as one part of a path."""
    return quote(name, safe="")
