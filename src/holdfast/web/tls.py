# SPDX-License-Identifier: Apache-2.0
"""TLS of our own: the certificate of this server, and those that callers show, which OpenSSL checks."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from holdfast.errors import SettingsError
from holdfast.settings import Web
from holdfast.web.connection import Connection


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


def serving(web: Web) -> dict[str, Any]:
    """Return what uvicorn has to know to serve as the settings want. Raises SettingsError."""
    if not web.certificate:
        if web.key or web.client_ca:
            raise SettingsError(what="web.key and web.client_ca need web.certificate, the certificate of this server.")
        return {}
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
    if not web.client_ca:
        return {"ssl_context_factory": lambda *_: context}
    try:
        context.load_verify_locations(web.client_ca)
    except (OSError, ValueError) as error:
        raise SettingsError(what=f"web.client_ca: {web.client_ca} cannot be used: {error}.") from error
    context.verify_mode = ssl.CERT_OPTIONAL
    return {"ssl_context_factory": lambda *_: context, "http": _Certified}
