# SPDX-License-Identifier: Apache-2.0
"""The names in X.509 certificates, written as OpenSSL and the proxies that use it write them (RFC 2253).

So a person has one credential, whether a proxy or we ourselves checked the certificate.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from cryptography import x509

# What OpenSSL calls the attributes that names of persons and authorities have.
_SHORT: Final = {
    "2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "serialNumber", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
    "2.5.4.9": "street", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "title", "2.5.4.13": "description",
    "2.5.4.15": "businessCategory", "2.5.4.16": "postalAddress", "2.5.4.17": "postalCode", "2.5.4.41": "name",
    "2.5.4.42": "GN", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier", "2.5.4.45": "x500UniqueIdentifier",
    "2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier",
    "0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.3": "mail", "0.9.2342.19200300.100.1.25": "DC",
    "1.2.840.113549.1.9.1": "emailAddress", "1.2.840.113549.1.9.2": "unstructuredName",
}  # fmt: skip
_SPECIAL: Final = b',+"\\<>;'
_ESCAPED: Final = re.compile(rb"\\([0-9A-Fa-f]{2})|\\(.)", re.DOTALL)
_LIST: Final = re.compile("-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_PART: Final = re.compile(r"(?:\\.|[^,+/\\])+", re.DOTALL)  # also of the older form with slashes


def names_in(pem: str) -> tuple[str, str]:
    """Return subject and issuer of a certificate, nothing of one that cannot be read."""
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode("ascii"))
        return _written(certificate.subject), _written(certificate.issuer)
    except (ValueError, x509.InvalidVersion):  # OpenSSL takes more than the standard allows
        return "", ""


def lists_in(pem: str) -> Iterator[tuple[str, datetime]]:
    """Yield issuer and end of each revocation list in a PEM file, but for those that cannot be read."""
    for block in _LIST.findall(pem):
        try:
            found = x509.load_pem_x509_crl(block.encode("ascii"))
            yield _written(found.issuer), found.next_update_utc or datetime.max.replace(tzinfo=UTC)
        except (ValueError, x509.InvalidVersion):  # OpenSSL may take it
            continue


def common_name(name: str) -> str:
    """Return the first common name in a written name, as a person reads it; empty without one."""
    parts = (part.strip() for part in _PART.findall(name))
    found = next((part[3:] for part in parts if part.startswith("CN=")), "")
    raw = _ESCAPED.sub(lambda part: bytes.fromhex(part[1].decode()) if part[1] else part[2], found.encode())
    return raw.decode("utf-8", "replace")


def _written(name: x509.Name) -> str:
    """Return a name with the most special part first, as `openssl x509 -nameopt RFC2253` does."""
    return ",".join("+".join(_attribute(item) for item in reversed(list(part))) for part in reversed(name.rdns))


def _attribute(item: x509.NameAttribute[str | bytes]) -> str:
    short = _SHORT.get(item.oid.dotted_string)
    if short is None or isinstance(item.value, bytes):
        return f"{short or item.oid.dotted_string}=#{_encoded(item).hex().upper()}"
    raw = item.value.encode("utf-8")
    last = len(raw) - 1
    return f"{short}=" + "".join(_shown(byte, first=at == 0, last=at == last) for at, byte in enumerate(raw))


def _shown(byte: int, *, first: bool, last: bool) -> str:
    if byte < 0x20 or byte > 0x7E:  # noqa: PLR2004 - what is not printable in ASCII
        return f"\\{byte:02X}"
    escaped = byte in _SPECIAL or (first and byte in b"# ") or (last and byte == ord(" "))
    return ("\\" if escaped else "") + chr(byte)


def _encoded(item: x509.NameAttribute[str | bytes]) -> bytes:
    """Return the DER of a value that has no form as text."""
    name = x509.Name([item]).public_bytes()
    for _ in range(3):  # a sequence with a set with a sequence with the type, then the value
        name = name[_header(name) :]
    return name[_header(name) + name[1] :]  # a type is shorter than 128 bytes


def _header(der: bytes) -> int:
    """Return how long tag and length of a DER value are, in bytes."""
    return 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
