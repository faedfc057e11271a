# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin library`: work on a tape library itself, on the host that has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from holdfast.app import open_library, set_up_library
from holdfast.cli.exits import exit_code
from holdfast.cli.options import config_option, data_option, json_option, settings
from holdfast.cli.output import give, say, size, table
from holdfast.errors import Conflict, InvalidInput, LibraryUnavailable
from holdfast.settings import Settings
from holdfast.tape.library import TapeInfo, TapeLibrary
from holdfast.tape.trial import TRIALS, Scratch, try_out


@click.group()
def library() -> None:
    """Work on a tape library itself, on the host that has it."""


@library.command()
@click.argument("path", metavar="PATH")
@click.option("--tape", "serial", metavar="SERIAL", help="An empty tape to write to.  [default: only list the tapes]")
@click.option("--yes", is_flag=True, help="Do not ask before writing.")
@data_option
@config_option
@json_option
def check(path: str, serial: str | None, yes: bool, data: str, config: str | None, as_json: bool) -> None:
    """Check that the tape library at PATH does what Holdfast needs of it.

    Lists its tapes, which loads none. With --tape, writes some 150 MB to that tape, reads them back, deletes them, and
    says what passed. The tape must be empty; a check that was interrupted may be repeated. The drives come from the
    settings of the data folder, and the archive may be running meanwhile.
    """
    found = _at(path, data, config)
    opened = open_library(found)
    tapes = opened.inventory()
    if not as_json:
        _list(opened, tapes)
    if serial is None:
        if as_json:
            give({"tapes": [{"serial": t.serial, "media_type": t.media_type, "state": t.state} for t in tapes]})
        else:
            say("\nNothing was written. To check writing and reading, name an empty tape with --tape.")
        return
    scratch = Scratch(opened, serial)
    if others := scratch.others_files():
        raise Conflict(what=f"Tape {serial} is not empty: it holds {len(others)} files, {others[0]} among them.")
    if not yes:
        click.confirm(f"Write to tape {serial}? What is written is deleted again, but its room is lost.", abort=True)
    _run(scratch, as_json=as_json)


@library.command("put-back")
@click.argument("name")
@data_option
@config_option
def put_back(name: str, data: str, config: str | None) -> None:
    """Let the tape or drive NAME be used again that is out of use, without a running archive.

    See first that the library itself can use it. `holdfast status` lists the drives that are out of use, and why.
    """
    open_library(settings(data, config)).put_back(name)
    say(f"{name} is in use again.")


def _at(path: str, data: str, config: str | None) -> Settings:
    """Return the settings for the library at a path: what stands there says which kind it is."""
    if not Path(path).is_dir():
        raise InvalidInput(what=f"{path} is not a folder.")
    simulated = (Path(path) / ".library" / "library.json").is_file()
    kind = "simulator" if simulated else "ltfs"
    found = settings(data, config, library__path=os.path.realpath(path), library__kind=kind)
    if not simulated:
        set_up_library(found)
    return found


def _list(opened: TapeLibrary, tapes: Sequence[TapeInfo]) -> None:
    volumes = {tape.serial: opened.stat(tape.serial) for tape in tapes if tape.state != "missing"}
    rows = [
        (
            tape.serial,
            tape.media_type,
            tape.state,
            size(known.capacity if known else None),
            size(known.free if known else None),
        )
        for tape in tapes
        for known in [volumes.get(tape.serial)]
    ]
    table(("tape", "type", "state", "capacity", "free"), rows, right=(3, 4))


def _run(scratch: Scratch, *, as_json: bool) -> None:
    failed: dict[str, str] = {}
    if not as_json:
        say("")
    for trial in TRIALS:
        why = try_out(scratch, trial)
        if why:
            failed[trial.shows] = why
        if not as_json:
            say(f"FAILED  {trial.shows}: {why}" if why else f"passed  {trial.shows}")
    if as_json:
        passed = [trial.shows for trial in TRIALS if trial.shows not in failed]
        give({"tape": scratch.serial, "passed": passed, "failed": failed})
    elif not failed:
        say(f"\nAll {len(TRIALS)} checks passed; tape {scratch.serial} is empty again.")
    if failed:
        raise click.exceptions.Exit(exit_code(LibraryUnavailable(path="", why="")))


COMMANDS = (library,)
