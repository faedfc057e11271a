# SPDX-License-Identifier: Apache-2.0
"""Commands about who has which role to a dataset: who, share, unshare, give."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give as give_json
from holdfast.cli.output import moment, say, table
from holdfast.model.rights import ROLES
from holdfast.wire.grants import Sharing


def _tell(found: Sharing, *, as_json: bool) -> None:
    if as_json:
        give_json(found)
        return
    group = f", and of the members of group {found.group} with their roles there" if found.group else ""
    say(f"Dataset {found.dataset} is {found.owner}'s{group}.")
    if found.grants:
        rows = [(item.to, item.title, item.role, item.granted_by, moment(item.created_at)) for item in found.grants]
        table(("shared with", "title", "role", "by", "since"), rows)


@click.command()
@click.argument("dataset", metavar="ID")
@json_option
@data_option
def who(dataset: str, as_json: bool, data: str) -> None:
    """Tell who has which role to dataset ID; for its managers."""
    with connect(data) as client:
        _tell(client.sharing(dataset), as_json=as_json)


@click.command()
@click.argument("dataset", metavar="ID")
@click.option("--with", "to", required=True, metavar="WHOM", help="A person, group:NAME, members (all), or everyone.")
@click.option("--role", type=click.Choice(ROLES), default="reader", show_default=True, help="Up to your own.")
@json_option
@data_option
def share(dataset: str, to: str, role: Any, as_json: bool, data: str) -> None:
    """Give somebody a role to dataset ID; `everyone` makes it public."""
    with connect(data) as client:
        _tell(client.share(dataset, to, role=role), as_json=as_json)


@click.command()
@click.argument("dataset", metavar="ID")
@click.option("--with", "to", required=True, metavar="WHOM", help="As it was shared.")
@json_option
@data_option
def unshare(dataset: str, to: str, as_json: bool, data: str) -> None:
    """Take the role to dataset ID that was given."""
    with connect(data) as client:
        _tell(client.unshare(dataset, to), as_json=as_json)


@click.command()
@click.argument("dataset", metavar="ID")
@click.option("--to", required=True, metavar="PERSON", help="Whose it is to be.")
@json_option
@data_option
def give(dataset: str, to: str, as_json: bool, data: str) -> None:
    """Make PERSON the owner of dataset ID; you keep no role to it."""
    with connect(data) as client:
        _tell(client.give(dataset, to), as_json=as_json)


COMMANDS = (who, share, unshare, give)
