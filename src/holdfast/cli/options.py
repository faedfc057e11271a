# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the way to the archive's server."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from holdfast.client import Client
from holdfast.errors import SettingsError
from holdfast.settings import Settings
from holdfast.settings.reading import load

F = TypeVar("F", bound=Callable[..., Any])
_DEFAULT_DATA: Final = "~/.local/share/holdfast"  # where the XDG base directory specification puts a user's data
_DEFAULT_URL: Final = "http://127.0.0.1:8080"
URL_FILE: Final = "url"  # in the data folder, written by `holdfast up`

data_option = click.option(
    "--data", "data", metavar="DIR", envvar="HOLDFAST_DATA", default=_DEFAULT_DATA, show_default=True,
    help="The archive's data folder.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Answer with JSON; the last line is one object.")
wait_option = click.option("--wait", is_flag=True, help="Wait until it is done, with progress.")
PRIORITY: Final = click.IntRange(-10, 10)
config_option = click.option(
    "--config", metavar="FILE", envvar="HOLDFAST_CONFIG", help="The settings, else holdfast.toml in the data folder."
)


def folder(data: str) -> Path:
    """Return the data folder as an absolute path."""
    return Path(os.path.abspath(os.path.expanduser(data)))


def settings(data: str, config: str | None = None, **overrides: object) -> Settings:
    """Return the settings in force. Raises SettingsError."""
    given = {key.replace("__", "."): value for key, value in overrides.items() if value not in (None, ())}
    return load(folder(data), config=Path(config) if config else None, overrides=given)


def connect(data: str) -> Client:
    """Return a client of the archive: HOLDFAST_URL and HOLDFAST_TOKEN, else the files of the data folder.

    Raises SettingsError when there is no archive there, or its token cannot be read.
    """
    place = folder(data)
    url, token = os.environ.get("HOLDFAST_URL"), os.environ.get("HOLDFAST_TOKEN")
    try:
        if url is None:
            url = (place / URL_FILE).read_text("utf-8").strip() if (place / URL_FILE).exists() else _DEFAULT_URL
        if token is None:
            token = (place / "token").read_text("utf-8").strip()
    except FileNotFoundError:
        raise SettingsError(
            what=f"There is no archive in {place}. Start one with holdfast up, name its folder with --data (or "
            "HOLDFAST_DATA), or say where another one is with HOLDFAST_URL and HOLDFAST_TOKEN."
        ) from None
    except OSError as error:
        raise SettingsError(what=f"{error.filename} cannot be read: {error.strerror}.") from error
    return Client(url, token)
