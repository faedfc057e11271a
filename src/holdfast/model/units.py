# SPDX-License-Identifier: Apache-2.0
"""Units of measurement: which there are, and numbers in the unit that all of a dimension share. Pure.

Pint knows the units. Loading it takes half a second, so it is loaded when the first unit is met, and never by a command.
"""

from __future__ import annotations

import math
import re
import unicodedata
from functools import cache, lru_cache
from threading import Lock
from typing import Any, Final

_LOADING: Final = Lock()
_LIMIT: Final = 64  # characters of a unit
_MOST: Final = 1e300  # in the base unit, so that sums of a few are still numbers
# What units are made of; powers have one digit and no powers themselves, for pint computes what it is given.
_UNIT: Final = re.compile(r"(?:1/)?(?:[A-Za-zµμΩÅ°%_*/·. ()]|(?:\*\*|\^|(?<=[A-Za-zµμΩÅ]))-?\d(?!\d| *(?:\*\*|\^)))+")
# And how FITS and NeXus spell what pint has in small letters, or not at all.
_OURS: Final = (
    "photon = count", "shot = count", "pulse = count", "adu = [digital_unit] = ADU", "@alias angstrom = Angstrom = Angstroms",
    "jansky = 1e-26 * watt / meter ** 2 / hertz = Jy",
)  # fmt: skip
_NUMBER: Final = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
QUANTITY: Final = re.compile(rf"({_NUMBER})\s+(\S.{{0,{_LIMIT - 1}}})")


def check_unit(unit: str) -> str:
    """Return a unit without blanks around it. Raises ValueError when it is not known."""
    unit = unicodedata.normalize("NFC", unit).strip()  # there is an ohm, and an angstrom, beside the letters
    _factor(unit)
    return unit


def in_base(value: float, unit: str) -> tuple[str, float]:
    """Return the dimension, as one word, and the number in its base unit. Raises ValueError, also for a number too large."""
    dimension, factor, offset = _factor(unit)
    base = value * factor + offset
    if not abs(base) <= _MOST:
        raise ValueError(f"{value:g} {unit} is more than can be compared with other units")
    return dimension, base


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
        zero, one, two = (found.Quantity(number, parsed).to_base_units() for number in (0.0, 1.0, 2.0))
        dimension = re.sub(r"[\[\] ]", "", str(parsed.dimensionality))
    except Exception as error:  # pint raises errors of its own and of tokenize
        raise ValueError(f"{unit!r} is not a unit that is known, such as mm, keV or s") from error
    offset = float(zero.magnitude)
    factor = float(one.magnitude) - offset
    if not math.isclose(float(two.magnitude), offset + 2 * factor, rel_tol=1e-9):
        return str(parsed), 1.0, 0.0  # of a logarithm, as dBm: compared with the same unit only
    return dimension, factor, offset


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
