# SPDX-License-Identifier: Apache-2.0
"""How metadata are written on a command line, and shown."""

from __future__ import annotations

import base64
import json
import math
import re
import tomllib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import click

HELP: Final = (
    "Values are a number (12), a number with a unit (12.4 keV), true or false, or a text; date:KEY=2026-03-01T10:00:00Z "
    "is a date, binary:KEY=@FILE the bytes of a file, text:KEY=12 a text in any case."
)
# As in units, but for what begins with more zeros: 007 is the name of something.
_PLAIN: Final = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s+([A-Za-zµμΩÅ°%][\w/*^·%. -]*)")


def pair(text: str) -> tuple[str, Any]:
    """Return key and value of KEY=VALUE. Raises BadParameter."""
    key, equals, value = text.partition("=")
    kind, colon, rest = key.partition(":")
    form = kind if colon and kind in {"date", "binary", "text"} else ""
    key = (rest if form else key).strip()
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not KEY=VALUE.")
    match form:
        case "date":
            return key, {"date": value.strip()}
        case "binary":
            return key, {"binary": base64.b64encode(_content(value)).decode()}
        case "text":
            return key, value
        case _:
            return key, _typed(value)


def _content(value: str) -> bytes:
    if not value.startswith("@"):
        raise click.BadParameter("A binary value is read from a file: binary:KEY=@FILE.")
    try:
        return Path(value[1:]).read_bytes()
    except OSError as error:
        raise click.BadParameter(f"{value[1:]} cannot be read: {error.strerror}.") from error


def _typed(text: str) -> Any:
    """Return a number, also with a unit, where the text is one as people write them."""
    if text in {"true", "false"}:
        return text == "true"
    if _PLAIN.fullmatch(text) and (number := _number(text)) is not None:
        return number
    if found := _QUANTITY.fullmatch(text.strip()):
        return {"value": _number(found[1]), "unit": found[2].strip()}
    return text


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        if math.isfinite(number):
            return number
    return None


def read_file(name: str) -> dict[str, Any]:
    """Return the metadata in a JSON or TOML file; dates of TOML are dates. Raises BadParameter."""
    try:
        content = Path(name).read_bytes()
        found = tomllib.loads(content.decode()) if name.endswith(".toml") else json.loads(content)
    except OSError as error:
        raise click.BadParameter(f"{name} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{name} is neither JSON nor TOML: {error}.") from error
    if not isinstance(found, dict):
        raise click.BadParameter(f"{name} holds no keys.")
    return {
        key: {"date": value.isoformat()} if isinstance(value, date | datetime) else value
        for key, value in found.items()
    }


def shown(value: Any) -> str:
    """Return a value for people."""
    if not isinstance(value, Mapping):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if "unit" in value:
        return f"{value['value']} {value['unit']}"
    if "date" in value:
        return str(value["date"])
    return f"({len(str(value.get('binary', ''))) * 3 // 4} bytes)"
