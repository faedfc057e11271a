# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin`: what only an operator does, with tapes, drives, the library, people, and the archive in numbers."""

from __future__ import annotations

from typing import Final

import click

from holdfast.cli.lazy import LazyGroup

_COMMANDS: Final = {
    "library": "holdfast.cli.library",
    "request": "holdfast.cli.get",
    "tape": "holdfast.cli.tapes",
    "drive": "holdfast.cli.drives",
    "profile": "holdfast.cli.profiles",
    "mounts": "holdfast.cli.drives",
    "person": "holdfast.cli.persons",
    "proposals": "holdfast.cli.groups",
    "statistics": "holdfast.cli.statistics",
    "packages": "holdfast.cli.statistics",
}


@click.group(cls=LazyGroup, modules=_COMMANDS)
def admin() -> None:
    """What only an operator does."""


COMMANDS = (admin,)
