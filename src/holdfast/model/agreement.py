# SPDX-License-Identifier: Apache-2.0
"""What many headers say of the same keys, as one: the value on which all agree, or the range of numbers and dates. Pure."""

from __future__ import annotations

from typing import Any

from holdfast.model.metadata import instant, kind_of


class Agreement:
    """Collects canonical values by key, of so many keys at most; those that come later are left out."""

    def __init__(self, most: int) -> None:
        """Take `most` keys."""
        self.full = False  # whether a key was left out
        self._most = most
        # The least and the greatest value; nothing where what was said has no order.
        self._said: dict[str, tuple[Any, Any] | None] = {}

    def add(self, key: str, value: Any) -> None:
        """Take what one header says of a key."""
        if key not in self._said:
            self.full = len(self._said) >= self._most
            if not self.full:
                self._said[key] = (value, value)
            return
        said = self._said[key]
        if said is not None and not _same(said[0], value):
            self._said[key] = _wider(*said, value)

    def values(self) -> dict[str, Any]:
        """Return the agreed values; of a range both ends, as `KEY.min` and `KEY.max`."""
        found: dict[str, Any] = {}
        for key, said in self._said.items():
            if said is None:
                continue
            low, high = said
            found |= {key: low} if _same(low, high) else {f"{key}.min": low, f"{key}.max": high}
        return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)  # True is no 1


def _wider(low: Any, high: Any, value: Any) -> tuple[Any, Any] | None:
    order = _order(value)
    if order is None or _dimension(low) != _dimension(value):
        return None
    return (value if order < _order(low) else low), (value if order > _order(high) else high)


def _dimension(value: Any) -> tuple[str, str]:
    return kind_of(value), value.get("unit", "") if isinstance(value, dict) else ""


def _order(value: Any) -> Any:
    """Return what a value is sorted by among those of its dimension, None when there is no order."""
    if kind_of(value) == "number":
        return value["value"] if isinstance(value, dict) else value
    return instant(value["date"]) if kind_of(value) == "date" else None
