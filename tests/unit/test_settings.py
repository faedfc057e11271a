# SPDX-License-Identifier: Apache-2.0
"""Settings are read whole or refused with the place and the remedy; every value knows where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.app import open_library, set_up_library
from holdfast.errors import SettingsError
from holdfast.settings import known_keys
from holdfast.settings.reading import load
from holdfast.tape.ltfs import LtfsLibrary
from holdfast.tape.media import parse_kinds
from holdfast.tape.simulator import SimulatedLibrary


def write(folder: Path, text: str, name: str = "holdfast.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_need_no_file(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.site.name == "main"
    assert settings.web.port == 8080
    assert settings.roots.destination == (Path("/"),)
    assert settings.library.capacity == 2 * 10**9
    assert settings.planner.interval == 1.0
    assert settings.library_path == tmp_path / "library"
    assert settings.staging_path == tmp_path / "staging"
    assert settings.database_folder == tmp_path / "database"
    assert settings.token_file.parent == tmp_path
    assert {origin for _, _, origin in settings.explain()} == {"default"}


def test_the_stronger_place_wins_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "[web]\nport = 1\nhost = 'a'\n\n[workers]\n# two\npack = 2\n[roots]\nsource = ['/d']\n")
    monkeypatch.setenv("HOLDFAST_WEB_PORT", "2")
    monkeypatch.setenv("HOLDFAST_WORKERS_TAPE", "3")
    settings = load(tmp_path, overrides={"web.port": 3, "web.host": None, "roots.source": ()})
    origins = {key: origin for key, _, origin in settings.explain()}
    assert (settings.web.port, settings.web.host, settings.workers.pack, settings.workers.tape) == (3, "a", 2, 3)
    assert settings.roots.source == (Path("/d"),)
    assert origins["web.port"] == "command line"
    assert origins["web.host"] == f"file {path}:3"
    assert origins["workers.pack"] == f"file {path}:7"
    assert origins["workers.tape"] == "environment: HOLDFAST_WORKERS_TAPE"
    assert origins["workers.check"] == "default"


def test_the_file_may_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "[web]\nport = 1\n")
    monkeypatch.setenv("HOLDFAST_CONFIG", str(write(tmp_path, "[web]\nport = 2\n", "two.toml")))
    assert load(tmp_path).web.port == 2
    assert load(tmp_path, config=write(tmp_path, "[web]\nport = 3\n", "three.toml")).web.port == 3
    with pytest.raises(SettingsError, match=r"four\.toml does not exist"):
        load(tmp_path, config=tmp_path / "four.toml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[web]\nprot = 1\n", r"web\.prot .*holdfast\.toml:2.*mean web\.port"),
        ("[wed]\nport = 1\n", r"wed\.port .*mean web\.port"),
        ("port = 1\n", r"no setting port .*:1"),
        ("[nothing]\nof_the_kind = 1\n", r"nothing\.of_the_kind .*sections are site, database"),
        ("[web]\nport = '80'\n", r"web\.port \(file .*:2\): '80' is not a whole number"),
        ("[web]\nport = true\n", "True is not a whole number"),
        ("[web]\nport = 0\n", "0 is less than 1"),
        ("[web]\nport = 70000\n", "70000 is more than 65535"),
        ("[web]\nhost = 1\n", "1 is not text"),
        ("[library]\ncapacity = '2 furlongs'\n", "is not a size such as"),
        ("[library]\ncapacity = '2 iB'\n", "is not a size such as"),
        ("[library]\nkind = 'paper'\n", "'paper' is not one of simulator, ltfs"),
        ("[library]\ndrives = 'LTO-8 four'\n", "neither a number nor a list such as LTO-8 x4, LTO-9 x2"),
        ("[library]\ndrives = 0\n", "0 is neither a number"),
        ("[library]\nmedia = 'L8 x2, '\n", "neither a number"),
        ("[planner]\ninterval = nan\n", "nan is less than"),
        ("[roots]\nsource = '/data'\n", "is not a list of folders"),
        ("[roots]\nsource = ['data']\n", "'data' is not an absolute path"),
        ("[roots]\nsource = [1]\n", "is not a list of folders"),
        ("[log]\nlevel = 'loud'\n", "'loud' is not one of debug"),
        ("[site]\nname = 'Two words'\n", "'Two words' is not a short name"),
        ("[web\n", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=says):
        load(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holdfast.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5", 5),
        ("2 GB", 2 * 10**9),
        ("64 GiB", 64 << 30),
        ("64gib", 64 << 30),
        ("1.5 TB", 1_500_000_000_000),
        ("10K", 10_000),
        ("9007199254740993", 9007199254740993),
        ("7 B", 7),
    ],
)
def test_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("HOLDFAST_STAGING_LIMIT", text)
    assert load(tmp_path).staging.limit == size


def test_environment_is_text_of_any_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ROOTS_SOURCE", "/a:/b c")
    monkeypatch.setenv("HOLDFAST_PLANNER_INTERVAL", "0.5")
    settings = load(tmp_path)
    assert settings.roots.source == (Path("/a"), Path("/b c"))
    assert settings.planner.interval == 0.5


def test_an_unknown_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "TOKEN", "DATA", "CRASH", "CRASH_ONCE", "TEST_ANYTHING"):
        monkeypatch.setenv(f"HOLDFAST_{name}", "x")
    load(tmp_path)
    monkeypatch.setenv("HOLDFAST_WEB_PROT", "1")
    with pytest.raises(SettingsError, match=r"web\.prot \(environment: HOLDFAST_WEB_PROT\).*web\.port"):
        load(tmp_path)


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_DATABASE_URL", "postgresql://me:hush@host/db")
    settings = load(tmp_path)
    assert "hush" in settings.database.url
    assert "hush" not in str(settings.explain())
    assert "hush" not in repr(settings)


def test_absolute_and_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LIBRARY_PATH", "/offline")
    monkeypatch.setenv("HOLDFAST_STAGING_PATH", "fast")
    settings = load(tmp_path)
    assert settings.library_path == Path("/offline")
    assert settings.staging_path == tmp_path / "fast"


def test_no_key_of_two_sections_reads_the_same_variable() -> None:
    names = [key.replace(".", "_") for key in known_keys()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("2", [("", 2)]),
        ("LTO-8 x4, LTO-9 x2", [("LTO-8", 4), ("LTO-9", 2)]),
        ("lto-8x4,LTO-9 x 1", [("LTO-8", 4), ("LTO-9", 1)]),
    ],
)
def test_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, kinds: list[tuple[str, int]]) -> None:
    monkeypatch.setenv("HOLDFAST_LIBRARY_DRIVES", text)
    assert parse_kinds(load(tmp_path).library.drives) == kinds
    monkeypatch.delenv("HOLDFAST_LIBRARY_DRIVES")
    write(tmp_path, "[library]\ndrives = 3\n")
    assert parse_kinds(load(tmp_path).library.drives) == [("", 3)]


def test_new_tapes_are_adopted_or_not(tmp_path: Path) -> None:
    assert load(tmp_path).library.adopt == "all"
    with pytest.raises(SettingsError, match=r"library\.adopt .*'some' is not one of all, none"):
        load(tmp_path, overrides={"library.adopt": "some"})


def test_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, '[recall]\nshares = "alice = 2, bob=0.5"\n[library]\nspeed = 1000\n')
    assert (load(tmp_path).recall.shares, load(tmp_path).library.speed) == ("alice = 2, bob=0.5", 1000.0)
    for wrong in ("alice", "alice=0", "alice=-1", "=2", "alice=2,"):
        monkeypatch.setenv("HOLDFAST_RECALL_SHARES", wrong)
        with pytest.raises(SettingsError, match="is not a list such as alice=2, bob=1"):
            load(tmp_path)
    monkeypatch.delenv("HOLDFAST_RECALL_SHARES")
    for wrong in ("fast", "-1", "nan"):
        monkeypatch.setenv("HOLDFAST_LIBRARY_SPEED", wrong)
        with pytest.raises(SettingsError, match=r"library\.speed"):
            load(tmp_path)


def test_the_library_is_of_the_kind_that_was_set(tmp_path: Path) -> None:
    assert isinstance(open_library(load(tmp_path)), SimulatedLibrary)
    real = {"library.kind": "ltfs", "library.path": "/offline"}
    library = open_library(load(tmp_path, overrides={**real, "library.drives": "LTO-8 x2"}))
    assert isinstance(library, LtfsLibrary)
    assert library.root == Path("/offline")
    with pytest.raises(SettingsError, match=r"library\.drives: There is no kind of drive LTO-12; known are LTO-7"):
        open_library(load(tmp_path, overrides={**real, "library.drives": "LTO-12 x2"}))
    with pytest.raises(SettingsError, match="There is no media type X8"):
        set_up_library(load(tmp_path, overrides={"library.media": "X8 x2"}))
