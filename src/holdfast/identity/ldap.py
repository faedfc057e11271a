# SPDX-License-Identifier: Apache-2.0
"""Names and passwords that a directory knows: search for the person, then bind as that person."""

from __future__ import annotations

import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from holdfast.errors import Busy, Unreachable
from holdfast.identity.recognised import Recognised
from holdfast.settings import Ldap

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it uses old names of pyasn1
    import ldap3
    from ldap3.core.exceptions import LDAPException
    from ldap3.utils.conv import escape_filter_chars

_TIMEOUT: Final = 4  # seconds for each answer; a directory takes some hundredths
_AT_ONCE: Final = threading.BoundedSemaphore(4)  # of the 40 threads of a server: one that does not answer holds no more


def recognise(settings: Ldap, name: str, password: str) -> Recognised | None:
    """Return who has this name and password, None when nobody has. Raises Unreachable, Busy (others are asking)."""
    if not password:  # a bind without one succeeds, as nobody (RFC 4513, section 5.1.2)
        return None
    if not _AT_ONCE.acquire(blocking=False):
        raise Busy(what="The directory is being asked for others just now. Try again in a moment.")
    try:
        return _found(settings, name, password)
    except LDAPException as error:
        raise Unreachable(url=settings.url, why=str(error) or type(error).__name__) from error
    finally:
        _AT_ONCE.release()


def _found(settings: Ldap, name: str, password: str) -> Recognised | None:
    with _connected(settings, settings.bind_dn, settings.bind_password) as search:
        if not search.bound:  # nobody's password is wrong but ours
            raise Unreachable(
                url=settings.url,
                why=f"it does not admit the archive itself (ldap.bind_dn): {search.result['description']}",
            )
        found = search.search(
            settings.base, settings.filter.replace("{name}", escape_filter_chars(name)), size_limit=2,
            attributes=[settings.title, settings.mail, settings.groups],
        )  # fmt: skip
        entries = [entry for entry in search.response or [] if entry["type"] == "searchResEntry"]
    if not found or len(entries) != 1:
        return None
    [entry] = entries
    with _connected(settings, entry["dn"], password) as bound:
        return _told(settings, name, entry) if bound.bound else None


@contextmanager
def _connected(settings: Ldap, dn: str, password: str) -> Iterator[Any]:
    """Yield a connection, bound as `dn` if the password is right; always encrypted."""
    verify = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=settings.ca or None)
    server = ldap3.Server(settings.url, tls=verify, connect_timeout=_TIMEOUT, get_info=ldap3.NONE)
    connection = ldap3.Connection(
        server, dn or None, password or None, receive_timeout=_TIMEOUT, read_only=True,
        auto_referrals=False,  # whoever it names would be shown the password, and perhaps unencrypted
    )  # fmt: skip
    try:
        connection.open()
        if not settings.url.lower().startswith("ldaps:"):
            connection.start_tls()
        connection.bind()
        yield connection
    finally:
        connection.strategy.close()
        if connection.socket:  # it keeps one that could not be connected
            connection.socket.close()


def _told(settings: Ldap, name: str, entry: dict[str, Any]) -> Recognised:
    def values(attribute: str) -> list[str]:
        raw = entry["attributes"].get(attribute) or []
        return [str(item) for item in raw] if isinstance(raw, list) else [str(raw)]

    return Recognised(
        "ldap", settings.url, str(entry["dn"]), name=name, title=next(iter(values(settings.title)), ""),
        mail=next(iter(values(settings.mail)), ""), groups=tuple(values(settings.groups)),
    )  # fmt: skip
