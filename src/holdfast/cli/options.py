# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and the way to the archive's server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from holdfast.cli.credentials import kept
from holdfast.cli.exits import exit_code, exit_of_code
from holdfast.cli.output import say
from holdfast.client import Client
from holdfast.errors import HoldfastError, SettingsError, TransientError
from holdfast.settings import Settings
from holdfast.settings.reading import load
from holdfast.settings.values import Seconds, parse

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
_DEFAULT_DATA: Final = "~/.local/share/holdfast"  # where the XDG base directory specification puts a user's data
_DEFAULT_URL: Final = "http://127.0.0.1:8080"
_AWAY: Final = 600.0  # seconds that a server may be away while somebody waits: it is restarted, or brought up to date
_AGAIN: Final = 1.0  # seconds between two looks whether it is back
_TRANSIENT: Final = exit_of_code(TransientError.code)
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


class Time(click.ParamType[float]):
    """A time such as 90, 10 min, 6h or 2d."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        try:
            return float(str(parse(value, Seconds, is_text=True)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def folder(data: str) -> Path:
    """Return the data folder as an absolute path."""
    return Path(os.path.abspath(os.path.expanduser(data)))


def settings(data: str, config: str | None = None, **overrides: object) -> Settings:
    """Return the settings in force. Raises SettingsError."""
    given = {key.replace("__", "."): value for key, value in overrides.items() if value not in (None, ())}
    return load(folder(data), config=Path(config) if config else None, overrides=given)


def connect(data: str) -> Client:
    """Return a client of the archive: with HOLDFAST_TOKEN, else as who logged in, else with the data folder's token.

    Raises SettingsError when there is no archive there, or its token cannot be read.
    """
    url = address(data)
    return client_of(url, os.environ.get("HOLDFAST_TOKEN", "").strip() or kept(url) or _folder_token(data, url))


def patiently(ask: Callable[[], T], *, shown: bool) -> T:
    """Return the answer to `ask`, also of a server that is away for a while: what is waited for goes on without it.

    Says once why it waits, if `shown`. Raises what `ask` raises when that does not pass, or has not in `_AWAY` seconds.
    """
    end, told = time.monotonic() + _AWAY, not shown
    while True:
        try:
            return ask()
        except HoldfastError as error:
            if exit_code(error) != _TRANSIENT or time.monotonic() > end:
                raise
            if not told:
                say(f"waiting: {error.sentence}", err=True)
                told = True
        time.sleep(_AGAIN)


def client_of(url: str, token: str | None = None, *, certificate: str | None = None, key: str | None = None) -> Client:
    """Return a client that believes the authorities in the file HOLDFAST_CA, if it is set. Raises SettingsError."""
    return Client(url, token, ca=os.environ.get("HOLDFAST_CA"), certificate=certificate, key=key)


def _folder_token(data: str, url: str) -> str:
    """Return the administrator's token, for this host only: another one has another administrator."""
    try:
        if "HOLDFAST_URL" not in os.environ or on_this_host(url):
            return (folder(data) / "token").read_text("utf-8").strip()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise SettingsError(
            what=f"{error.filename} cannot be read: {error.strerror}. Log in with holdfast login."
        ) from error
    raise SettingsError(
        what=f"You are not logged in to an archive at {url}. Log in with holdfast login, set HOLDFAST_TOKEN, start "
        "an archive with holdfast up, or name its data folder with --data (or HOLDFAST_DATA)."
    )


def on_this_host(url: str) -> bool:
    """Say whether an address leads to this host and nowhere else."""
    try:
        return urlsplit(url).hostname in {"127.0.0.1", "::1", "localhost"}
    except ValueError:  # of what is no address; the client says so
        return False


def address(data: str) -> str:
    """Return where the archive's server is: HOLDFAST_URL, else what the data folder says. Raises SettingsError."""
    if url := os.environ.get("HOLDFAST_URL"):
        return url
    try:
        return (folder(data) / URL_FILE).read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return _DEFAULT_URL
    except OSError as error:
        raise SettingsError(
            what=f"{error.filename} cannot be read: {error.strerror}. Say where the archive is with HOLDFAST_URL."
        ) from error
