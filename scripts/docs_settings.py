# SPDX-License-Identifier: Apache-2.0
"""The page of all settings, from `holdfast.settings`."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from holdfast.settings import sections, show
from holdfast.settings.values import Kinds, Seconds, Share, Shares, Size

_KINDS: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    Size: "size",
    Seconds: "time (`90`, `10 min`, `6 h`)",
    Share: "share",
    Kinds: "kinds",
    Shares: "shares",
    float: "number",
    tuple[Path, ...]: "list of folders",
    tuple[str, ...]: "list of names",
}
_HEAD: Final = """\
# Settings

<!-- Made by `make docs` from src/holdfast/settings/__init__.py: change that. -->

Settings come from four places, each stronger than the one before:

1. the defaults below,
2. one TOML file: `--config FILE`, else the variable `HOLDFAST_CONFIG`, else `holdfast.toml` in the data folder,
3. environment variables: `HOLDFAST_`, the section, `_` and the key, as in `HOLDFAST_WEB_PORT=9000`,
4. the command line.

A key that is not known is an error, in the file and in the environment. `holdfast config` prints every value and
where it came from.

A *size* is a number of bytes, or text such as `"2 GB"` (powers of 1000) or `"64 GiB"` (powers of 1024). A *list of
folders* holds absolute paths; in an environment variable they are separated by colons, *names* by commas. *Kinds* are a number, or text
such as `"LTO-8 x4, LTO-9 x2"`; known are the drives `LTO-7`, `LTO-8`, `LTO-9` and the media `L5` to `L9` and `M8`. *Shares* are names with
numbers above 0. A relative path in `library.path`, `library.state`, `staging.path`, `landing.path` and `buffer.path` is below the data folder.

These variables are not settings: `HOLDFAST_URL` and `HOLDFAST_TOKEN` (the server and token that the command line uses),
`HOLDFAST_CONFIG` and `HOLDFAST_DATA` (the settings file and the data folder), `HOLDFAST_CRASH`,
`HOLDFAST_CRASH_ONCE` and `HOLDFAST_TEST_...` (tests).
"""


def page() -> str:
    """Return the settings page as Markdown."""
    parts = [_HEAD]
    for section, table in sections().items():
        hints = get_type_hints(table)
        parts.append(f"\n## [{section}]\n\n{table.__doc__}\n\n| key | type | default | meaning |\n|---|---|---|---|\n")
        parts += [_row(section, item, hints[item.name]) for item in fields(table)]
    return "".join(parts)


def _row(section: str, item: Field[Any], kind: Any) -> str:
    meta = item.metadata
    default = meta["unless"] or f"`{_written(item.default, kind)}`"
    bounds = [f"at least {meta['least']}"] if meta["least"] is not None else []
    bounds += [f"at most {meta['most']}"] if meta["most"] is not None else []
    bounds += ["never shown"] if meta["secret"] else []
    kinds = ", ".join([_KINDS[kind], *bounds])
    return f"| `{section}.{item.name}` | {kinds} | {default} | {meta['text']} |\n"


def _written(value: object, kind: Any) -> str:
    if value is MISSING:
        return ""
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{part}"' for part in value) + "]"
    if kind is Size and isinstance(value, int):
        for factor, unit in ((10**9, "GB"), (10**6, "MB")):
            if value and value % factor == 0:
                return f'"{value // factor} {unit}"'
    return f'"{value}"' if kind is str else show(value)
