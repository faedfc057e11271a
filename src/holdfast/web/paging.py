# SPDX-License-Identifier: Apache-2.0
"""The one opaque cursor of all lists."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime

from holdfast.errors import InvalidInput

_MOST = 8192  # characters of a cursor: a path of 4 KiB in base 64, twice


def give(*values: str | bytes) -> str:
    """Return the cursor that carries `values`."""
    texts = [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(texts).encode()).decode().rstrip("=")


def take(cursor: str | None, count: int, *, paths: bool = False) -> list[str] | None:
    """Return the values of a cursor, None without one; those of `paths` need not be UTF-8.

    Raises InvalidInput for one that we did not give.
    """
    if not cursor:
        return None
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor[:_MOST] + "=" * (-len(cursor) % 4)))
        "".join(values).encode("utf-8", "surrogateescape" if paths else "strict")
    except (ValueError, TypeError, binascii.Error):
        values = None
    if not isinstance(values, list) or len(values) != count:
        raise InvalidInput(what="This cursor is not one that this list gave.")
    return values


def take_time(cursor: str | None) -> tuple[datetime, str] | None:
    """Return (time, id) of a list that is newest first."""
    values = take(cursor, 2)
    if values is None:
        return None
    try:
        return datetime.fromisoformat(values[0]), values[1]
    except ValueError as error:
        raise InvalidInput(what="This cursor is not one that this list gave.") from error


def newest_first(items: Sequence[tuple[datetime, str]], limit: int) -> str | None:
    """Return the cursor behind a full page of a list that is newest first, None behind the last page."""
    return give(items[-1][0].isoformat(), items[-1][1]) if len(items) == limit else None
