# SPDX-License-Identifier: Apache-2.0
"""Typed metadata: what a value may be, its one canonical form, and which keys a contract wants. Pure.

A value is what JSON has for it, or an object that says its type:

    "P06"  12.4  true  {"value": 12.4, "unit": "keV"}  {"date": "2026-03-01T10:00:00Z"}  {"binary": "iVBORw0K..."}
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, get_args

from holdfast.errors import InvalidInput
from holdfast.model.units import check_unit, in_base

Kind = Literal["string", "number", "boolean", "date", "binary"]
Severity = Literal["reject", "warn"]
KINDS: Final[tuple[str, ...]] = get_args(Kind)
SEVERITIES: Final[tuple[str, ...]] = get_args(Severity)
Metadata = Mapping[str, Any]

KEY_LIMIT: Final = 1024  # bytes of UTF-8
VALUE_LIMIT: Final = 100_000  # bytes: of UTF-8, or of a binary value
TOTAL_LIMIT: Final = 4_000_000  # bytes of the canonical form of one dataset: it is read as a whole
KEYS_LIMIT: Final = 10_000  # of one dataset; a FITS file has some hundred
# Nobody sets keys below these: they are kept for what comes from the files themselves.
RESERVED: Final = ("fits:", "hdf5:")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)")
_OBJECTS: Final = {"value": ("value", "unit"), "date": ("date",), "binary": ("binary",)}


@dataclass(frozen=True, slots=True)
class Required:
    """A key that a contract wants; without it a dataset is refused, or only warned of."""

    key: str
    kind: Kind = "string"
    severity: Severity = "reject"


@dataclass(frozen=True, slots=True)
class Lack:
    """A key that is wanted and not there, or of another type."""

    key: str
    severity: Severity
    sentence: str


def checked_key(key: str) -> str:
    """Return a key in NFC. Raises InvalidInput."""
    found = unicodedata.normalize("NFC", key)
    if not found.strip() or found != found.strip() or not found.isprintable():
        raise InvalidInput(
            what=f"{key!r} is no key: it is empty, or has blanks around it or characters that cannot be shown."
        )
    if len(_utf8(found, key)) > KEY_LIMIT:
        raise InvalidInput(what=f"The key {key[:40]!r}... is longer than {KEY_LIMIT} bytes.")
    return found


def checked(key: str, value: Any) -> Any:
    """Return a value in its canonical form. Raises InvalidInput, with the key."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value)
        if "\0" in text:
            raise InvalidInput(what=f"{key}: a text holds no NUL character. Give it as a binary value.")
        if len(_utf8(text, key)) > VALUE_LIMIT:
            raise InvalidInput(what=f"{key}: the text is longer than {VALUE_LIMIT} bytes.")
        return text
    if isinstance(value, int | float):
        return _number(key, value)
    if isinstance(value, Mapping):
        for form, fields in _OBJECTS.items():
            if set(value) == set(fields):
                return _FORMS[form](key, value)
    raise InvalidInput(
        what=f'{key}: a value is a text, a number, true or false, or one of {{"value": 12.4, "unit": "keV"}}, '
        '{"date": "2026-03-01T10:00:00Z"}, {"binary": "(base 64)"}.'
    )


def checked_all(metadata: Metadata) -> dict[str, Any]:
    """Return metadata as a whole in canonical form. Raises InvalidInput, also when it is too large."""
    found = {checked_key(key): checked(key, value) for key, value in metadata.items()}
    if len(found) > KEYS_LIMIT:
        raise InvalidInput(what=f"A dataset has at most {KEYS_LIMIT} keys.")
    if len(canonical(found)) > TOTAL_LIMIT:
        raise InvalidInput(
            what=f"The metadata of a dataset are at most {TOTAL_LIMIT} bytes. Put long texts into files."
        )
    return found


def kind_of(value: Any) -> Kind:
    """Return the type of a canonical value."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "number" if "unit" in value else "date" if "date" in value else "binary"
    return "number"


def canonical(value: Any) -> bytes:
    """Return the bytes that a checksum is over: JSON as in RFC 8785, but that integers keep all their digits."""
    return _json(value).encode()


def digest(metadata: Metadata) -> str:
    """Return the SHA-256 of the canonical form, hex."""
    return hashlib.sha256(canonical(metadata)).hexdigest()


def missing(wanted: Sequence[Required], metadata: Metadata) -> list[Lack]:
    """Return what a contract wants and metadata lack, in the contract's order."""
    found = []
    for rule in wanted:
        value = metadata.get(rule.key)
        if value is None or value == "":
            found.append(Lack(rule.key, rule.severity, f"The key {rule.key} ({rule.kind}) is missing."))
        elif kind_of(value) != rule.kind:
            found.append(Lack(rule.key, rule.severity, f"The key {rule.key} is a {kind_of(value)}, not a {rule.kind}."))
    return found


def instant(text: str) -> datetime:
    """Return the moment of a canonical date; of a day its beginning, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if _DATE.fullmatch(text) else datetime.fromisoformat(text)


def checked_date(text: str) -> str:
    """Return a day as it is, or a moment in UTC. Raises ValueError with the reason."""
    if _DATE.fullmatch(text):
        return date.fromisoformat(text).isoformat()
    if not _TIME.fullmatch(text):
        raise ValueError("write a day as 2026-03-01, a moment with its zone, as 2026-03-01T10:00:00Z")
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is out of range") from error
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _utf8(text: str, key: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(what=f"{key!r}: a text holds half of a character.") from error


def _number(key: str, value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(what=f"{key}: {value!r} is not a number.")
    try:
        finite = math.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise InvalidInput(what=f"{key}: a number lies between -1.8e308 and 1.8e308.")
    # A whole number has one form, whether it was written 12, 12.0 or 1.2e1; the shortest decimal of a float counts.
    return _whole(value) if isinstance(value, float) and value.is_integer() else value


def _whole(value: float) -> int:
    mantissa, _, exponent = repr(value).partition("e")
    return (
        int(mantissa.replace(".", "")) * 10 ** (int(exponent) - len(mantissa.partition(".")[2]))
        if exponent
        else int(value)
    )


def _quantity(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    unit = value["unit"]
    if not isinstance(unit, str):
        raise InvalidInput(what=f"{key}: a unit is a text.")
    try:
        number, unit = _number(key, value["value"]), check_unit(unit)
        in_base(float(number), unit)
        return {"value": number, "unit": unit}
    except ValueError as error:
        raise InvalidInput(what=f"{key}: {error}") from error


def _day_or_moment(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"date": checked_date(str(value["date"]))}
    except ValueError as error:
        raise InvalidInput(what=f"{key}: {str(value['date'])[:40]!r} is not a date: {error}.") from error


def _binary(key: str, value: Mapping[str, Any]) -> dict[str, Any]:
    try:
        content = base64.b64decode(str(value["binary"]), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(what=f"{key}: a binary value is given in base 64.") from error
    if len(content) > VALUE_LIMIT:
        raise InvalidInput(what=f"{key}: the binary value is longer than {VALUE_LIMIT} bytes.")
    return {"binary": base64.b64encode(content).decode()}


_FORMS: Final = {"value": _quantity, "date": _day_or_moment, "binary": _binary}


def _json(value: Any) -> str:
    if isinstance(value, Mapping):
        # RFC 8785 sorts by UTF-16 units.
        ordered = sorted(value.items(), key=lambda item: item[0].encode("utf-16-be"))
        return "{" + ",".join(f"{_json(key)}:{_json(item)}" for key, item in ordered) + "}"
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value, ensure_ascii=False)


def _float(value: float) -> str:
    """Return a float that is no whole number as ECMAScript writes it."""
    sign, (mantissa, _, exponent) = "-" * (value < 0), f"{abs(value)!r}".partition("e")
    if not exponent:
        return f"{value!r}"
    power = int(exponent)
    if power < -6:  # noqa: PLR2004 - ECMAScript's own bound
        return f"{sign}{mantissa.removesuffix('.0')}e{power}"
    return f"{sign}0.{'0' * (-power - 1)}{mantissa.replace('.', '').removesuffix('0')}"
