# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin profile`: the contracts that the site offers."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from pathlib import Path

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, size, table
from holdfast.errors import InvalidInput
from holdfast.model.profile import Profile


@click.group()
def profile() -> None:
    """Make and look at profiles: the contracts that datasets are kept under."""


@profile.command("list")
@click.option("--retired", is_flag=True, help="Also those that are offered no more.")
@json_option
@data_option
def list_profiles(retired: bool, as_json: bool, data: str) -> None:
    """List the newest version of each profile."""
    with connect(data) as client:
        found = client.profiles(retired=retired)
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    rows = [
        [item.name, str(item.version), str(item.terms.get("copies", "")), "" if item.datasets is None else str(item.datasets), str(item.terms.get("description", ""))]
        for item in found
    ]  # fmt: skip
    table(["profile", "version", "copies", "datasets", "description"], rows, right=[1, 2, 3])


@profile.command("show")
@click.argument("name", metavar="NAME")
@json_option
@data_option
def show_profile(name: str, as_json: bool, data: str) -> None:
    """Show the terms of the profile NAME, its versions, and how much of its quota you use."""
    with connect(data) as client:
        versions = client.profile(name)
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in versions]})
        return
    terms = versions[-1].terms
    for key in (field.name for field in fields(Profile) if field.name in terms):
        value = terms[key]
        say(f"{key:<18} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    if versions[-1].used is not None:
        say(f"You have {size(versions[-1].used)} of {size(terms['quota_bytes'])}.")
    for item in versions:
        retired = f", retired {moment(item.retired_at)}" if item.retired_at else ""
        datasets = "" if item.datasets is None else f", {item.datasets} datasets"
        say(f"version {item.version}: since {moment(item.created_at)}{datasets}{retired}")


@profile.command("set")
@click.argument("file", metavar="FILE.toml", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@data_option
def set_profile(file: Path, as_json: bool, data: str) -> None:
    """Make the profile in FILE.toml, or a new version of it if its terms changed.

    Datasets keep the version that they have; `holdfast admin profile change` puts one under the newest.
    """
    try:
        terms = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(what=f"{file} is not TOML: {error}.") from error
    if not isinstance(terms.get("name"), str):
        raise InvalidInput(what=f"{file} does not say the name of the profile.")
    with connect(data) as client:
        made = client.set_profile(terms["name"], terms)
    give(made) if as_json else say(f"Profile {made.name} has version {made.version}.")


@profile.command("retire")
@click.argument("name", metavar="NAME")
@json_option
@data_option
def retire_profile(name: str, as_json: bool, data: str) -> None:
    """Offer the profile NAME no more; datasets that are under it stay under it."""
    with connect(data) as client:
        made = client.retire_profile(name)
    give(made) if as_json else say(f"Profile {name} is retired. Set it again to offer it again.")


@profile.command("change")
@click.argument("dataset", metavar="ID")
@click.argument("name", metavar="PROFILE")
@json_option
@data_option
def change_profile(dataset: str, name: str, as_json: bool, data: str) -> None:
    """Put dataset ID under the newest version of PROFILE.

    Copies that it wants more are made; those that it wants less go when the others are proven.
    """
    with connect(data) as client:
        found = client.change_profile(dataset, name)
    give(found) if as_json else say(f"Dataset {dataset} is under {found.profile}, version {found.profile_version}.")


COMMANDS = (profile,)
