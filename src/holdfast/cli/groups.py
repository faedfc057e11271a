# SPDX-License-Identifier: Apache-2.0
"""`holdfast group` and `holdfast admin proposals`: who has roles together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, table
from holdfast.errors import InvalidInput
from holdfast.model.rights import ROLES
from holdfast.wire.groups import GroupChange, GroupDetail, NewGroup

_DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group()
def group() -> None:
    """Groups: persons who have roles together."""


@group.command("list")
@json_option
@data_option
def list_groups(as_json: bool, data: str) -> None:
    """List the groups that you are in, or all for an operator."""
    with connect(data) as client:
        found = list(client.groups())
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    table(("group", "kind", "title", "folder"), [(item.name, item.kind, item.title, item.folder) for item in found])


@group.command("show")
@click.argument("name")
@json_option
@data_option
def show_group(name: str, as_json: bool, data: str) -> None:
    """Tell what group NAME is, and who is in it if you may change that."""
    with connect(data) as client:
        _tell(client.group(name), as_json=as_json)


def _tell(found: GroupDetail, *, as_json: bool) -> None:
    if as_json:
        give(found)
        return
    say(f"{found.name} ({found.title or 'no title'}) is a {found.kind}; folder {found.folder or 'none'}")
    if found.members is None:
        return
    rows = [
        (item.person, item.title, item.role, item.origin, _when(item.from_at), _when(item.until_at))
        for item in found.members
    ]
    table(("person", "title", "role", "kept by", "from", "until"), rows)


def _when(at: datetime | None) -> str:
    return moment(at) if at else "-"


@group.command()
@click.argument("name")
@click.option("--title", default="", help="What it is.")
@click.option("--folder", default="", help="Of the server; its writers may archive from it.")
@click.option("--owner", help="Whose it is.  [default: you]")
@json_option
@data_option
def add(name: str, title: str, folder: str, owner: str | None, as_json: bool, data: str) -> None:
    """Make the group NAME; for operators."""
    wish = NewGroup(name=name, title=title, folder=folder, owner=owner)
    with connect(data) as client:
        _tell(client.add_group(wish), as_json=as_json)


@group.command("set")
@click.argument("name")
@click.option("--title", help="What it is.")
@click.option("--folder", help="Of the server; its writers may archive from it. Empty: none.")
@json_option
@data_option
def change(name: str, title: str | None, folder: str | None, as_json: bool, data: str) -> None:
    """Change title or folder of group NAME; for operators."""
    wish = GroupChange(title=title, folder=folder)
    with connect(data) as client:
        _tell(client.change_group(name, wish), as_json=as_json)


@group.command()
@click.argument("name")
@click.argument("person")
@click.option("--role", type=click.Choice(ROLES), default="reader", show_default=True, help="Up to your own.")
@click.option("--from", "since", type=_DAY, help="Since when, UTC.")
@click.option("--until", type=_DAY, help="Until when, UTC.")
@json_option
@data_option
def join(
    name: str, person: str, role: Any, since: datetime | None, until: datetime | None, as_json: bool, data: str
) -> None:
    """Have PERSON be in group NAME with a role, for a time; for its managers."""
    times = {"since": since and since.replace(tzinfo=UTC), "until": until and until.replace(tzinfo=UTC)}
    if times["until"] and times["until"] <= datetime.now(UTC):
        raise InvalidInput(
            what=f"{moment(times['until'])} is over. Whoever shall leave now: holdfast group leave {name} {person}."
        )
    with connect(data) as client:
        _tell(client.join_group(name, person, role=role, **times), as_json=as_json)


@group.command()
@click.argument("name")
@click.argument("person", required=False)
@json_option
@data_option
def leave(name: str, person: str | None, as_json: bool, data: str) -> None:
    """Have PERSON leave group NAME, or leave it yourself."""
    with connect(data) as client:
        who = person or client.whoami().name
        found = client.leave_group(name, who)
    give(found) if as_json else say(f"{who} is not in {name} any more.")


@click.group()
def proposals() -> None:
    """Proposals, as a user office keeps them."""


@proposals.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE.csv")
@click.option("--dry-run", is_flag=True, help="Only tell what would change.")
@json_option
@data_option
def import_table(file: Path, dry_run: bool, as_json: bool, data: str) -> None:
    """Make the proposals of a table be as they stand in it, all or none; who is not named any more leaves them.

    Columns: proposal, title, folder, person, name, mail, role (pi, owner, manager, writer or reader), from, until (days as
    2026-12-31, both included); one line for each person of a proposal.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(what=f"{file} cannot be read: {error}.") from error
    with connect(data) as client:
        found = client.keep_proposals(text, dry_run=dry_run)
    if as_json:
        give(found)
        return
    for sentence in found.changes:
        say(sentence)
    say(f"{len(found.changes)} changes{', none of which was made: repeat without --dry-run' if dry_run else ''}.")


COMMANDS = (group, proposals)
