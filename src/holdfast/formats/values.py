# SPDX-License-Identifier: Apache-2.0
"""Texts and numbers of files as values of metadata."""

from __future__ import annotations

import math
import re
from typing import Any, Final

from holdfast.model.metadata import checked_date

Pair = tuple[str, Any]

TEXT_LIMIT: Final = 1000  # characters, or bytes in the file; what is longer is no fact but a document
_MOMENT: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(\.\d{1,6})?\d*(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)


def of_text(text: str, *, zone: str = "") -> Any:
    """Return a day or a moment as a date, any other text as it is; `zone` is of moments that name none."""
    text = text.rstrip(" \0")
    found = _MOMENT.fullmatch(text)
    if not found:
        return text
    day, time, fraction, own = found.groups()
    where = own or zone
    if time and not where:
        return text
    if time and where != "Z" and ":" not in where:
        where = f"{where[:3]}:{where[3:]}"
    try:
        return {"date": checked_date(f"{day}T{time}{fraction or ''}{where}" if time else day)}
    except ValueError:
        return text


def of_number(number: float, unit: str = "") -> Any:
    """Return a number, with its unit if it has one; None for what is not a finite one."""
    if not math.isfinite(number):
        return None
    return {"value": number, "unit": unit} if unit else number
