# SPDX-License-Identifier: Apache-2.0
"""The file that keeps the token of each archive that somebody logged in to; nobody else can read it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from holdfast.errors import SettingsError


def kept(url: str) -> str | None:
    """Return the token for a server's address, None without one. Raises SettingsError."""
    token = _read().get(_key(url))
    return str(token) if token else None


def keep(url: str, token: str | None) -> Path:
    """Keep the token for a server's address, or forget it (None), and return the file. Raises SettingsError."""
    known = _read()
    known.pop(_key(url), None)
    if token:
        known[_key(url)] = token
    file = _file()
    new = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as writing:
            json.dump(known, writing, indent=2)
        new.rename(file)
    except OSError as error:
        raise SettingsError(what=f"{file} cannot be written: {error.strerror}.") from error
    return file


def _file() -> Path:
    place = os.environ.get("XDG_CONFIG_HOME") or "~/.config"  # XDG base directory specification
    return Path(os.path.expanduser(place)) / "holdfast" / "credentials"


def _key(url: str) -> str:
    return url.rstrip("/")


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SettingsError(what=f"{error.filename} cannot be read: {error.strerror}.") from error
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SettingsError(what=f"{_file()} is not what holdfast login writes. Remove it, then log in again.")
    return found
