# SPDX-License-Identifier: Apache-2.0
"""Commands for the operator of a site that is not running: config, migrate, rebuild."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from holdfast.app import database_of, open_archive, set_up
from holdfast.cli.exits import PARTIAL
from holdfast.cli.options import config_option, data_option, folder, json_option, settings
from holdfast.cli.output import give, say, size, table
from holdfast.services.rebuild import Progress
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
@click.option("--again", is_flag=True, help="Read also the tapes that an earlier run has read whole.")
@data_option
@config_option
@json_option
def rebuild(library: str, again: bool, data: str, config: str | None, as_json: bool) -> None:
    """Fill an empty catalogue from the tapes alone; the archive must not be running.

    Reads the manifests of each tape and, of packages that none of them covers, the index and the metadata; never the
    files. Each drive reads a tape of its own. If it is interrupted, run it again: it goes on where it was. Start the
    archive on the same library afterwards.
    """
    path = os.path.realpath(library)
    if not Path(path).is_dir():
        raise click.BadParameter(f"{library} is not a folder.", param_hint="--library")
    found = settings(data, config, library__path=path)
    found.data.mkdir(mode=0o700, parents=True, exist_ok=True)

    def progress(at: Progress) -> None:
        if not as_json:
            left = f", {timedelta(seconds=round(at.left))} left" if at.left is not None and at.done < at.tapes else ""
            rate = at.packages / at.seconds if at.seconds else 0.0
            say(
                f"tape {at.serial} ({at.done} of {at.tapes} done): {at.packages} packages, {rate:.0f} in a second, "
                f"{size(at.bytes)} read{left}"
            )

    with database_of(found) as dsn:
        set_up(found, dsn)
        with open_archive(found, dsn=dsn) as archive:
            result = rebuild_catalogue(archive, progress=progress, again=again)
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
        say(f"{what}: {why}", err=True)
    say(
        f"{result['tapes']} tapes were read"
        + (f", {result['skipped']} had been read before" if result["skipped"] else "")
        + f": {len(result['datasets'])} datasets, {result['packages']} packages ({result['opened']} were opened), "
        f"{result['copies']} copies. Start the archive with: holdfast up --data {folder(data)}"
    )


COMMANDS = (show_config, migrate, rebuild)
