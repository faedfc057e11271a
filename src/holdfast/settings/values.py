# SPDX-License-Identifier: Apache-2.0
"""The types of settings, and how each is read from a file, an environment variable or an option."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import Field, field
from pathlib import Path
from typing import Any, Final, NewType

Size = NewType("Size", int)  # bytes; in the file also written "2 GB" or "64 GiB"
Seconds = NewType("Seconds", float)
Share = NewType("Share", float)  # of a whole: 0.9
Kinds = NewType("Kinds", str)  # what there is of each kind: "LTO-8 x4, LTO-9 x2", or a number alone
Shares = NewType("Shares", str)  # the weight of each: "alice=2, bob=1"
_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?", re.IGNORECASE)
_TIME: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+) *(s|min|h|d|)")
_PLAIN: Final = re.compile(r"\d+(?:\.\d*)?|\.\d+")
_TIMES: Final = {"": 1, "s": 1, "min": 60, "h": 3600, "d": 86400}
_SHARE: Final = re.compile(r"[^\s=,]+ *= *(\d+(?:\.\d+)?)")
_KINDS: Final = re.compile(r"(?:[A-Za-z0-9-]+ *x *)?[1-9]\d{0,4}")


def setting(
    default: object,
    text: str,
    *,
    least: float | None = None,
    most: float | None = None,
    unless: str = "",
    secret: bool = False,
) -> Any:
    """Declare one setting: its default, its meaning and bounds, and what an empty default stands for."""
    meta = {"text": text, "least": least, "most": most, "unless": unless, "secret": secret}
    if callable(default):
        return field(default_factory=default, metadata=meta)
    return field(default=default, metadata=meta, repr=not secret)


def parse(raw: object, kind: Any, *, is_text: bool) -> object:
    """The value in its declared type; ValueError says what it should be. Outside the file everything may be text."""
    return _PARSERS[kind](raw, is_text)


def _text(raw: object, _is_text: bool) -> str:  # noqa: FBT001 - one signature for all parsers
    if isinstance(raw, str | Path):
        return str(raw)
    raise ValueError(f"{raw!r} is not text")


def _whole(raw: object, is_text: bool) -> int:  # noqa: FBT001
    if isinstance(raw, str) and is_text and re.fullmatch(r"-?\d+", raw.strip()):
        return int(raw)
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    raise ValueError(f"{raw!r} is not a whole number")


def _size(raw: object, _is_text: bool) -> int:  # noqa: FBT001
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    match = _SIZE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None or (match[3] and not match[2]):
        raise ValueError(f"{raw!r} is not a size such as 500000, 2 GB or 64 GiB")
    factor: int = (1024 if match[3] else 1000) ** _UNITS[match[2].upper()]
    # Whole numbers stay exact, also beyond what a float can hold.
    return int(match[1]) * factor if match[1].isdigit() else round(float(match[1]) * factor)


def _kinds(raw: object, _is_text: bool) -> str:  # noqa: FBT001
    text = str(raw) if isinstance(raw, int | str) and not isinstance(raw, bool) else "-"
    if text and not all(_KINDS.fullmatch(part.strip()) for part in text.split(",")):
        raise ValueError(f"{raw!r} is neither a number nor a list such as LTO-8 x4, LTO-9 x2")
    return text


def _shares(raw: object, _is_text: bool) -> str:  # noqa: FBT001
    text = raw if isinstance(raw, str) else "-"
    found = [_SHARE.fullmatch(part.strip()) for part in text.split(",")]
    if text and not all(share and float(share[1]) for share in found):
        raise ValueError(f"{raw!r} is not a list such as alice=2, bob=1")
    return text


def _plain(raw: object, is_text: bool) -> float:  # noqa: FBT001
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, str) and is_text and _PLAIN.fullmatch(raw.strip()):
        return float(raw)
    raise ValueError(f"{raw!r} is not a number")


def _number(raw: object, is_text: bool) -> float:  # noqa: FBT001
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    match = _TIME.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None or not (match[2] or is_text):
        raise ValueError(f"{raw!r} is not a time such as 90, 10 min, 6 h or 30 d")
    return float(match[1]) * _TIMES[match[2]]


def _share(raw: object, is_text: bool) -> float:  # noqa: FBT001
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, str) and is_text and re.fullmatch(r"\d*\.?\d+", raw.strip()):
        return float(raw)
    raise ValueError(f"{raw!r} is not a share such as 0.9")


def _paths(raw: object, is_text: bool) -> tuple[Path, ...]:  # noqa: FBT001
    parts: object = [part for part in raw.split(":") if part] if isinstance(raw, str) and is_text else raw
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str | Path) for part in parts):
        raise ValueError(f"{raw!r} is not a list of folders")
    paths = tuple(Path(part) for part in parts)
    for path in paths:
        if not path.is_absolute():
            raise ValueError(f"{str(path)!r} is not an absolute path")
    return paths


def _names(raw: object, is_text: bool) -> tuple[str, ...]:  # noqa: FBT001
    parts: object = (
        [part.strip() for part in raw.split(",") if part.strip()] if isinstance(raw, str) and is_text else raw
    )
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) and part for part in parts):
        raise ValueError(f"{raw!r} is not a list of names")
    return tuple(parts)


_PARSERS: Final[dict[Any, Callable[[object, bool], object]]] = {
    str: _text,
    int: _whole,
    Size: _size,
    Seconds: _number,
    Share: _share,
    Kinds: _kinds,
    Shares: _shares,
    float: _plain,
    tuple[Path, ...]: _paths,
    tuple[str, ...]: _names,
}


def checked(value: object, item: Field[Any]) -> object:
    """Return the value if it is within the bounds of its declaration. Raises ValueError."""
    least, most = item.metadata["least"], item.metadata["most"]
    if isinstance(value, int | float):
        # Written so that not-a-number fails too.
        if least is not None and not value >= least:
            raise ValueError(f"{value} is less than {least}")
        if most is not None and not value <= most:
            raise ValueError(f"{value} is more than {most}")
    return value
