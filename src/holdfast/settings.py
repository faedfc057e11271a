# SPDX-License-Identifier: Apache-2.0
"""The settings: read once, checked whole, every value with the place it came from.

One TOML file, `HOLDFAST_*` environment variables over it, and the command line over both. A key that is not known is
an error that names the nearest one that is. Each table below is one section of the file; the reference page is made
from them (`make docs`).
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, NewType, get_type_hints

from holdfast.errors import SettingsError

Size = NewType("Size", int)  # bytes; in the file also written "2 GB" or "64 GiB"
Seconds = NewType("Seconds", float)
Kinds = NewType("Kinds", str)  # what there is of each kind: "LTO-8 x4, LTO-9 x2", or a number alone

_PREFIX: Final = "HOLDFAST_"
# These have a meaning of their own and are no settings.
_NOT_SETTINGS: Final = frozenset({"URL", "TOKEN", "CONFIG", "DATA", "CRASH", "CRASH_ONCE"})
_NOT_SETTINGS_PREFIX: Final = "TEST_"
_UNITS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGTP]?)(i?)B?", re.IGNORECASE)
_KINDS: Final = re.compile(r"(?:[A-Za-z0-9-]+ *x *)?[1-9]\d{0,4}")
_MASK: Final = "********"


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


@dataclass(frozen=True)
class Site:
    """This data centre."""

    name: str = setting("main", "The name of this site; it is in every row and package that the site makes.")
    server: str = setting(
        socket.gethostname, "The host name that people and other sites use for this one.", unless="the host name"
    )


@dataclass(frozen=True)
class Database:
    """The catalogue's PostgreSQL, version 15 or newer."""

    url: str = setting(
        "",
        "How to reach it: `postgresql://user:password@host/name`, or libpq's `host=... dbname=...`.",
        unless="the embedded server, in the folder `database` of the data folder",
        secret=True,
    )
    connections: int = setting(10, "The most connections that one process keeps open.", least=2, most=1000)


@dataclass(frozen=True)
class Web:
    """The REST API."""

    host: str = setting("127.0.0.1", "The address to listen on; `0.0.0.0` is every address of the machine.")
    port: int = setting(8080, "The TCP port to listen on.", least=1, most=65535)


@dataclass(frozen=True)
class Roots:
    """Where the archive may read and write files on behalf of people; everything else is refused."""

    source: tuple[Path, ...] = setting((), "Folders below which datasets may be archived from.")
    destination: tuple[Path, ...] = setting((Path("/"),), "Folders below which files may be delivered to.")


@dataclass(frozen=True)
class Library:
    """The tape library: the mount point of LTFS Library Edition, or a simulated library of the same behaviour."""

    kind: str = setting("simulator", "`ltfs` for real tapes, `simulator` for a folder that behaves like them.")
    path: str = setting("", "The mount point, or the folder.", unless="the folder `library` of the data folder")
    state: str = setting(
        "", "Where locks, and what is known of real tapes, are kept: a folder on a local disk, the same for all "
        "archives of this host that use the library.", unless="the folder `tapes` of the data folder",
    )  # fmt: skip
    drives: Kinds = setting(Kinds("2"), "The drives: a number, or kinds with numbers. Twin copies want two.")
    reserve: Size = setting(Size(200_000_000), "What is left free on a tape, for its index.", least=0)
    tapes: int = setting(8, "How many tapes a simulated library is made with.", least=2, most=10000)
    media: Kinds = setting(
        Kinds(""), "The media types of a simulated library with numbers, instead of `tapes`.", unless="tapes of no type"
    )
    capacity: Size = setting(Size(2_000_000_000), "What one simulated tape holds.", least=1_000_000)


@dataclass(frozen=True)
class Staging:
    """The disk area of packages that are not yet on all their media."""

    path: str = setting("", "The folder.", unless="the folder `staging` of the data folder")
    limit: Size = setting(
        Size(0), "The most bytes in it; packing waits when it is full. 0: what the disk has.", least=0
    )


@dataclass(frozen=True)
class Workers:
    """How many jobs of each kind run at the same time in this data folder's process."""

    pack: int = setting(1, "Packing: reads the source, compresses, computes checksums.", least=0, most=256)
    tape: int = setting(1, "Writing to tape; each holds the drives of one pair of tapes.", least=0, most=256)
    recall: int = setting(1, "Reading from tape and delivering.", least=0, most=256)
    check: int = setting(1, "Reading copies back and checking them.", least=0, most=256)


@dataclass(frozen=True)
class Planner:
    """What compares facts with intentions and makes the jobs."""

    interval: Seconds = setting(Seconds(1.0), "The longest time between two looks.", least=0.01, most=3600)
    scrub_days: int = setting(365, "A package that was not read for so long is read; 0: never.", least=0, most=36500)
    scrub_at_once: int = setting(1, "How many copies may wait for that at a time.", least=1, most=1000)


@dataclass(frozen=True)
class Log:
    """What is told while it runs."""

    level: str = setting("info", "The least important kind that is shown: `debug`, `info`, `warning` or `error`.")
    format: str = setting("text", "`text` for people, `json` for one JSON object per line.")


@dataclass(frozen=True)
class Settings:
    """All settings, the data folder they belong to, and where each came from."""

    data: Path
    site: Site = field(default_factory=Site)
    database: Database = field(default_factory=Database)
    web: Web = field(default_factory=Web)
    roots: Roots = field(default_factory=Roots)
    library: Library = field(default_factory=Library)
    staging: Staging = field(default_factory=Staging)
    workers: Workers = field(default_factory=Workers)
    planner: Planner = field(default_factory=Planner)
    log: Log = field(default_factory=Log)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def token_file(self) -> Path:
        """The first administrator's token, readable by the archive's user only."""
        return self.data / "token"

    @property
    def database_folder(self) -> Path:
        """The embedded database's folder."""
        return self.data / "database"

    @property
    def library_path(self) -> Path:
        """The tape library's folder."""
        return self.data / (self.library.path or "library")

    @property
    def library_state(self) -> Path:
        """The folder of locks and of what is known of real tapes."""
        return self.data / (self.library.state or "tapes")

    @property
    def staging_path(self) -> Path:
        """The folder of packages on their way to media."""
        return self.data / (self.staging.path or "staging")

    def explain(self) -> list[tuple[str, str, str]]:
        """Every key with its value, secrets masked, and its origin."""
        rows = []
        for key, (section, item, _) in known_keys().items():
            value = getattr(getattr(self, section), item.name)
            shown = (_MASK if value else "") if item.metadata["secret"] else show(value)
            rows.append((key, shown, self.origins.get(key, "default")))
        return rows


def sections() -> dict[str, type]:
    """The sections of the file and the table of each."""
    hints = get_type_hints(Settings)
    return {item.name: hints[item.name] for item in fields(Settings) if item.name not in {"data", "origins"}}


def known_keys() -> dict[str, tuple[str, Field[Any], Any]]:
    """Every key, as `section.name`, with its section, its field and its type."""
    return {
        f"{section}.{item.name}": (section, item, get_type_hints(table)[item.name])
        for section, table in sections().items()
        for item in fields(table)
    }


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
            values[section][item.name] = _checked(_parse(raw, kind, is_text=not origin.startswith("file")), item)
        except ValueError as error:
            raise SettingsError(what=f"{key} ({origin}): {error}.") from None
        origins[key] = origin
    tables = {section: table(**values[section]) for section, table in sections().items()}
    settings = Settings(data=data, origins=origins, **tables)
    _check_choices(settings)
    return settings


def show(value: object) -> str:
    """One value as it would be written, lists with commas."""
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    return str(value)


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


# ---- types ----


def _parse(raw: object, kind: Any, *, is_text: bool) -> object:
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


def _number(raw: object, is_text: bool) -> float:  # noqa: FBT001
    if isinstance(raw, str) and is_text:
        try:
            return float(raw)
        except ValueError:
            pass
    elif isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    raise ValueError(f"{raw!r} is not a number of seconds")


def _paths(raw: object, is_text: bool) -> tuple[Path, ...]:  # noqa: FBT001
    parts: object = [part for part in raw.split(":") if part] if isinstance(raw, str) and is_text else raw
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str | Path) for part in parts):
        raise ValueError(f"{raw!r} is not a list of folders")
    paths = tuple(Path(part) for part in parts)
    for path in paths:
        if not path.is_absolute():
            raise ValueError(f"{str(path)!r} is not an absolute path")
    return paths


_PARSERS: Final[dict[Any, Callable[[object, bool], object]]] = {
    str: _text,
    int: _whole,
    Size: _size,
    Seconds: _number,
    Kinds: _kinds,
    tuple[Path, ...]: _paths,
}


def _checked(value: object, item: Field[Any]) -> object:
    least, most = item.metadata["least"], item.metadata["most"]
    if isinstance(value, int | float):
        # Written so that not-a-number fails too.
        if least is not None and not value >= least:
            raise ValueError(f"{value} is less than {least}")
        if most is not None and not value <= most:
            raise ValueError(f"{value} is more than {most}")
    return value
