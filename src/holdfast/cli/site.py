# SPDX-License-Identifier: Apache-2.0
"""Commands for the operator of a site that is not running: config, migrate, rebuild."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from holdfast.app import database_of, open_archive, set_up
from holdfast.cli.exits import PARTIAL
from holdfast.cli.options import config_option, data_option, folder, json_option, settings
from holdfast.cli.output import give, say, table
from holdfast.services.rebuild import rebuild as rebuild_catalogue
from holdfast.settings import Settings


@click.command("config")
@data_option
@config_option
@json_option
def show_config(data: str, config: str | None, as_json: bool) -> None:
    """Print the settings in force and where each value comes from."""
    rows = settings(data, config).explain()
    if as_json:
        give({key: {"value": value, "from": origin} for key, value, origin in rows})
    else:
        table(("setting", "value", "from"), rows)


@click.command()
@data_option
@config_option
def migrate(data: str, config: str | None) -> None:
    """Set a site up, or bring its catalogue up to date: schema, folders, library, profiles, token. Idempotent.

    `holdfast up` does this by itself; hosts that run `web`, `worker` and `planner` need it once per version.
    """
    found = settings(data, config)
    found.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with database_of(found) as dsn:
        set_up(found, dsn)
    say(f"The catalogue is up to date; the token of the command line is {found.token_file}.")


@click.command()
@click.option("--library", required=True, metavar="DIR", help="The tape library to read.")
@data_option
@config_option
@json_option
def rebuild(library: str, data: str, config: str | None, as_json: bool) -> None:
    """Fill an empty catalogue from the tapes alone; the archive must not be running.

    Reads the index and the metadata of each package, not its files. Start the archive on the same library afterwards.
    """
    path = os.path.realpath(library)
    if not Path(path).is_dir():
        raise click.BadParameter(f"{library} is not a folder.", param_hint="--library")
    found = settings(data, config, library__path=path)
    found.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def progress(serial: str, number: int, total: int) -> None:
        if not as_json:
            say(f"tape {serial} ({number} of {total})")

    with database_of(found) as dsn:
        set_up(found, dsn)
        with open_archive(found, dsn=dsn) as archive:
            result = rebuild_catalogue(archive, progress=progress)
    _remember_library(found, path)
    _tell(asdict(result), as_json=as_json, data=data)
    if result.problems:
        raise click.exceptions.Exit(PARTIAL)


def _remember_library(found: Settings, path: str) -> None:
    """Have `holdfast up` on this data folder use the library that was read."""
    file = found.data / "holdfast.toml"
    if path != str(found.data / "library") and not file.exists():
        file.write_text(f'[library]\npath = "{path}"\n', "utf-8")


def _tell(result: dict[str, Any], *, as_json: bool, data: str) -> None:
    result = {**result, "datasets": sorted(result["datasets"])}
    if as_json:
        give(result)
        return
    for what, why in result["problems"]:
        click.echo(f"{what}: {why}", err=True)
    say(
        f"{result['tapes']} tapes were read: {len(result['datasets'])} datasets, {result['packages']} packages, "
        f"{result['copies']} copies. Start the archive with: holdfast up --data {folder(data)}"
    )


COMMANDS = (show_config, migrate, rebuild)
