# SPDX-License-Identifier: Apache-2.0
"""Reading the settings: one TOML file, environment variables over it, the command line over both."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from holdfast.errors import SettingsError
from holdfast.settings import Settings, known_keys, sections
from holdfast.settings.values import checked, parse

_PREFIX: Final = "HOLDFAST_"
# These have a meaning of their own and are no settings.
_NOT_SETTINGS: Final = frozenset({"URL", "TOKEN", "CA", "CONFIG", "DATA", "CRASH", "CRASH_ONCE"})
_NOT_SETTINGS_PREFIX: Final = "TEST_"


def load(data: Path, *, config: Path | None = None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the settings of a data folder: defaults, file, environment, then the overrides (keys as `web.port`).

    The file is `config`, else `HOLDFAST_CONFIG`, else `holdfast.toml` in the data folder if it is there. Raises
    SettingsError, naming key, place and remedy.
    """
    data = data.absolute()
    values: dict[str, dict[str, object]] = {section: {} for section in sections()}
    origins: dict[str, str] = {}
    known = known_keys()
    for key, raw, origin in _given(data, config, overrides or {}):
        if key not in known:
            raise SettingsError(what=_unknown(key, origin, known))
        section, item, kind = known[key]
        try:
            values[section][item.name] = checked(parse(raw, kind, is_text=not origin.startswith("file")), item)
        except ValueError as error:
            raise SettingsError(what=f"{key} ({origin}): {error}.") from None
        origins[key] = origin
    tables = {section: table(**values[section]) for section, table in sections().items()}
    settings = Settings(data=data, origins=origins, **tables)
    _check_choices(settings)
    return settings


def _given(data: Path, config: Path | None, overrides: Mapping[str, object]) -> Iterator[tuple[str, object, str]]:
    """Every value that somebody gave, weakest first, with its origin."""
    yield from _from_file(data, config)
    for name, value in sorted(os.environ.items()):
        rest = name.removeprefix(_PREFIX)
        if rest == name or rest in _NOT_SETTINGS or rest.startswith(_NOT_SETTINGS_PREFIX):
            continue
        yield rest.lower().replace("_", ".", 1), value, f"environment: {name}"
    for key, given in overrides.items():
        if given is not None and given != ():  # else it is an option that was not used
            yield key, given, "command line"


def _from_file(data: Path, config: Path | None) -> Iterator[tuple[str, object, str]]:
    named = config or (Path(os.environ["HOLDFAST_CONFIG"]) if os.environ.get("HOLDFAST_CONFIG") else None)
    path = named or data / "holdfast.toml"
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except FileNotFoundError:
        if named is None:
            return
        raise SettingsError(what=f"The settings file {path} does not exist.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(what=f"The settings file {path} cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(what=f"The settings file {path} is not valid TOML: {error}.") from error
    table: object
    for section, table in content.items():
        if not isinstance(table, dict):
            origin = f"file {path}:{_line(text, '', section)}"
            raise SettingsError(what=_unknown(section, origin, known_keys()))
        for name, value in table.items():
            yield f"{section}.{name}", value, f"file {path}:{_line(text, section, name)}"


def _line(text: str, section: str, name: str) -> int:
    """The line of a key in a TOML file, 1 when it is written in a way that this does not recognise."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        if header:
            current = header[1]
        elif current == section and re.match(rf"\s*[\"']?{re.escape(name)}[\"']?\s*[=.]", line):
            return number
    return 1


def _unknown(key: str, origin: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not near:
        # The section may be left out or mistaken while the name is right.
        near = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    hint = f" Did you mean {near[0]}?" if near else f" The sections are {', '.join(sections())}."
    return f"There is no setting {key} ({origin}).{hint}"


def _check_choices(settings: Settings) -> None:
    for key, value, allowed in (
        ("library.kind", settings.library.kind, ("simulator", "ltfs")),
        ("library.adopt", settings.library.adopt, ("all", "none")),
        ("roots.owners", settings.roots.owners, ("archive", "kept")),
        ("people.newcomers", settings.people.newcomers, ("refuse", "apply", "admit")),
        ("log.level", settings.log.level, ("debug", "info", "warning", "error")),
        ("log.format", settings.log.format, ("text", "json")),
    ):
        if value not in allowed:
            origin = settings.origins.get(key, "default")
            raise SettingsError(what=f"{key} ({origin}): {value!r} is not one of {', '.join(allowed)}.")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", settings.site.name):
        origin = settings.origins.get("site.name", "default")
        raise SettingsError(
            what=f"site.name ({origin}): {settings.site.name!r} is not a short name of small letters, digits and dashes."
        )
