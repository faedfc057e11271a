# SPDX-License-Identifier: Apache-2.0
"""Units of measurement: which there are, and numbers in the unit that all of a dimension share. Pure.

Pint knows the units. Loading it takes half a second, so it is loaded when the first unit is met, and never by a command.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from threading import Lock
from typing import Any, Final

_LOADING: Final = Lock()
_LIMIT: Final = 64  # characters of a unit
# What units are made of; powers have one digit and no powers themselves, for pint computes what it is given.
_UNIT: Final = re.compile(r"(?:1/)?(?:[A-Za-zµμΩÅ°%_*/·. ()]|(?:\*\*|\^|(?<=[A-Za-zµμΩÅ]))-?\d(?!\d| *(?:\*\*|\^)))+")
_OURS: Final = ("photon = count", "shot = count", "pulse = count", "adu = [digital_unit] = ADU")
_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
QUANTITY: Final = re.compile(rf"({_NUMBER})\s+(\S.{{0,{_LIMIT - 1}}})")


def check_unit(unit: str) -> str:
    """Return a unit without blanks around it. Raises ValueError when it is not known."""
    unit = unit.strip()
    _factor(unit)
    return unit


def in_base(value: float, unit: str) -> tuple[str, float]:
    """Return the dimension, as one word, and the number in its base unit. Raises ValueError."""
    dimension, factor, offset = _factor(unit)
    return dimension, value * factor + offset


def degrees(value: float, unit: str) -> float | None:
    """Return an angle in degrees, None when the unit is not one of angles."""
    found: Any = _units()
    try:
        return float(found.Quantity(value, _plain(unit)).to("degree").magnitude)
    except Exception:  # noqa: BLE001 - pint raises errors of its own and of tokenize
        return None


@lru_cache(maxsize=4096)
def _factor(unit: str) -> tuple[str, float, float]:
    if not unit or len(unit) > _LIMIT or not _UNIT.fullmatch(unit):
        raise ValueError(f"{unit[:_LIMIT]!r} is not a unit")
    found: Any = _units()
    try:
        parsed = found.parse_units(_plain(unit))
        zero, one = (found.Quantity(number, parsed).to_base_units() for number in (0.0, 1.0))
        dimension = re.sub(r"[\[\] ]", "", str(parsed.dimensionality))
    except Exception as error:  # pint raises errors of its own and of tokenize
        raise ValueError(f"{unit!r} is not a unit that is known, such as mm, keV or s") from error
    offset = float(zero.magnitude)
    return dimension, float(one.magnitude) - offset, offset


def _plain(unit: str) -> str:
    """Return a unit as pint reads it: FITS writes m-2 where pint wants m**-2."""
    return re.sub(
        r"(?<=[A-Za-zµμΩÅ])(-?\d)", r"**\1", unit.replace("^", "**").replace("·", "*").replace("%", "percent")
    )


def _units() -> Any:
    with _LOADING:  # the first searches after a start may be many at once, and must not load it once each
        return _loaded()


@cache
def _loaded() -> Any:
    import pint  # noqa: PLC0415 - half a second; see above

    found: Any = pint.UnitRegistry(cache_folder=None, on_redefinition="ignore")  # its shot is a measure of spirits
    for line in _OURS:
        found.define(line)
    return found
