# SPDX-License-Identifier: Apache-2.0
"""A group of commands that are imported when they are used: `ls` need not wait for the libraries of the database."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are imported when they are wanted, in the order people meet them."""

    def __init__(self, *, modules: Mapping[str, str], **attributes: Any) -> None:
        """`modules` says for each command which module has it among its `COMMANDS`."""
        super().__init__(**attributes)
        self._modules = modules

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return the names, in the order of `modules`."""
        return list(self._modules)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Return the command `name`, imported now."""
        if name not in self._modules:
            return None
        module = import_module(self._modules[name])
        found: click.Command = next(command for command in module.COMMANDS if command.name == name)
        return found
