# SPDX-License-Identifier: Apache-2.0
"""TLS of our own: the certificate of this server, and those that callers show, which OpenSSL checks."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from holdfast.errors import SettingsError
from holdfast.identity.certificate import lists_in, names_in
from holdfast.settings import Web
from holdfast.web.connection import Connection

_LOG = logging.getLogger(__name__)
_PAUSE: Final = 1.0  # seconds until files that could not be used are read again: reading all lists takes a moment


class _Certified(Connection):
    """Tells the application the certificate of the caller, as the ASGI extension `tls` has it."""

    _shown: tuple[str, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the certificate; the handshake is over, so it is one that was checked."""
        super().connection_made(transport)
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self._shown = (ssl.DER_cert_to_PEM_cert(der),) if der else ()

    def on_message_begin(self) -> None:
        """Add it to what is told of each call."""
        super().on_message_begin()
        self.scope["extensions"] = {"tls": {"client_cert_chain": self._shown}}


class _Renewed(ssl.SSLContext):
    """Begins each connection with the files as they are: certificates are renewed, and revoked, without a restart.

    Nothing can be taken out of a context again, so files that changed make a new one. It also knows no session of the one before:
    what is revoked is not resumed. Files that cannot be used change nothing.
    """

    def __new__(cls, _web: Web) -> Self:
        """Be a context, as whoever accepts connections wants one."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, web: Web) -> None:
        """Read the files. Raises SettingsError."""
        self._web = web
        self._again, self._told = 0.0, ""
        self._read(_stamps(web))

    def wrap_bio(self, *arguments: Any, **how: Any) -> ssl.SSLObject:
        """Begin a connection."""
        stamps = _stamps(self._web)
        if stamps != self._stamps and time.monotonic() >= self._again:
            try:
                self._read(stamps)
                _LOG.info("web.certificate: it and the files beside it changed, and were read again")
            except SettingsError as error:
                self._again = time.monotonic() + _PAUSE
                if error.sentence != self._told:
                    _LOG.error("%s As long as that is so, all of them are used as they were before.", error.sentence)
                self._told = error.sentence
        self._tell_outdated()
        return self._context.wrap_bio(*arguments, **how)

    def _read(self, stamps: list[tuple[int, ...]]) -> None:
        self._context, lists = _context(self._web)
        self._stamps, self._told = stamps, ""
        self._ends: dict[str, datetime] = {}
        if not lists:
            return
        for issuer, end in lists_in(lists):
            self._ends[issuer] = max(end, self._ends.get(issuer, end))
        known = {names_in(ssl.DER_cert_to_PEM_cert(der))[0] for der in self._context.get_ca_certs(binary_form=True)}
        if missing := known - self._ends.keys():
            _LOG.warning(
                "web.client_crl: %s has no list of %s: their certificates are all refused.",
                self._web.client_crl, "; ".join(sorted(missing)),
            )  # fmt: skip

    def _tell_outdated(self) -> None:
        now = datetime.now(UTC)
        for issuer in [issuer for issuer, end in self._ends.items() if end < now]:
            _LOG.error(
                "web.client_crl: the list of %s in %s was good until %s: its certificates are all refused until there is a newer one.",
                issuer, self._web.client_crl, f"{self._ends.pop(issuer):%Y-%m-%d %H:%M} UTC",
            )  # fmt: skip


def serving(web: Web) -> dict[str, Any]:
    """Return what uvicorn has to know to serve as the settings want. Raises SettingsError."""
    if not web.certificate:
        if web.key or web.client_ca or web.client_crl:
            raise SettingsError(
                what="web.key, web.client_ca and web.client_crl need web.certificate, the certificate of this server."
            )
        return {}
    if web.client_crl and not web.client_ca:
        raise SettingsError(what="web.client_crl needs web.client_ca, the authorities whose lists it has.")
    context = _Renewed(web)
    how: dict[str, Any] = {"ssl_context_factory": lambda *_: context}
    return how | {"http": _Certified} if web.client_ca else how


def _stamps(web: Web) -> list[tuple[int, ...]]:
    """Return what tells that a file is another one than before."""
    found: list[tuple[int, ...]] = []
    for file in filter(None, (web.certificate, web.key, web.client_ca, web.client_crl)):
        try:
            stat = os.stat(file)
        except OSError:
            found.append(())
        else:
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


def _context(web: Web) -> tuple[ssl.SSLContext, str]:
    """Return a context of the files as they are, and the revocation lists in it. Raises SettingsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        # Without a password of ours a key that has one would be asked for on the terminal.
        context.load_cert_chain(web.certificate, web.key or None, password="")
    except (OSError, ValueError) as error:
        files = " and ".join(filter(None, (web.certificate, web.key)))
        raise SettingsError(
            what=f"web.certificate, web.key: {files} cannot be used: {error}. It takes the certificate of this server "
            "and its key without a password, both as PEM."
        ) from error
    if web.client_ca:
        _load(context, "web.client_ca", web.client_ca, "x509_ca")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # with one, a certificate that ended would be good for as long as it is renewed
    if not web.client_crl:
        return context, ""
    # Also of the authorities above: one that was revoked makes lists that revoke nothing.
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context, _load(context, "web.client_crl", web.client_crl, "crl")


def _load(context: ssl.SSLContext, setting: str, file: str, wanted: str) -> str:
    """Add authorities or lists to a context, and return the file. Raises SettingsError."""
    try:
        text = Path(file).read_text("ascii", "replace")
        context.load_verify_locations(file)
    except (OSError, ValueError) as error:
        raise SettingsError(what=f"{setting}: {file} cannot be used: {error}.") from error
    if not context.cert_store_stats()[wanted]:
        kind = "certificate of an authority" if wanted == "x509_ca" else "revocation list (CRL)"
        raise SettingsError(what=f"{setting}: {file} cannot be used: it has no {kind} as PEM.")
    return text
