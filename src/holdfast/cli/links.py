# SPDX-License-Identifier: Apache-2.0
"""`holdfast link`: let people read who have no account."""

from __future__ import annotations

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, table
from holdfast.cli.people import typed
from holdfast.wire.links import LinkPage, LinkUses, NewLink

_DAY = 86400  # seconds


@click.group()
def link() -> None:
    """Share a dataset, a folder or a file with people who have no account."""


@link.command()
@click.argument("dataset", metavar="ID")
@click.argument("path", metavar="[PATH]", default="")
@click.option(
    "--days", default=30.0, show_default=True, type=click.FloatRange(min=0, min_open=True), help="How long it is good."
)
@click.option("--most", type=click.IntRange(1), help="How many downloads.  [default: any number]")
@click.option("--password", is_flag=True, help="Ask for a password that the link shall have.")
@click.option("--label", default="", help="Who it is for.")
@json_option
@data_option
def add(
    dataset: str, path: str, days: float, most: int | None, password: bool, label: str, as_json: bool, data: str
) -> None:
    """Make a link to dataset ID, or to a folder or file of it. It is shown once."""
    word = typed("Password", again=True) if password else None
    wish = NewLink(path=path, seconds=days * _DAY, most=most, password=word, label=label)
    with connect(data) as client:
        found = client.add_link(dataset, wish)
        if as_json:
            give(found)
            return
        say(f"{client.url}{found.address}")
        say(
            f"Good until {moment(found.expires_at)}. It is not shown again; end it with: holdfast link revoke {found.id}"
        )


@link.command("list")
@click.argument("dataset", metavar="ID")
@json_option
@data_option
def list_links(dataset: str, as_json: bool, data: str) -> None:
    """List the links to dataset ID, the newest first."""
    with connect(data) as client:
        found = client.links(dataset)
    if as_json:
        give(LinkPage(items=found))
        return
    head = ("link", "state", "path", "for", "downloads", "until", "by")
    rows = [
        (
            item.id, item.state, item.path or "(all)", item.label, f"{item.downloads}{f' of {item.most}' if item.most else ''}",
            moment(item.expires_at), item.created_by,
        )
        for item in found
    ]  # fmt: skip
    table(head, rows, right=(4,))


@link.command()
@click.argument("ident", metavar="LINK")
@json_option
@data_option
def uses(ident: str, as_json: bool, data: str) -> None:
    """List the downloads through a link, the newest first."""
    with connect(data) as client:
        found = client.link_uses(ident)
    if as_json:
        give(LinkUses(items=found))
    else:
        table(("at", "from", "path"), [(moment(item.at), item.address, item.path or "(all)") for item in found])


@link.command()
@click.argument("ident", metavar="LINK")
@json_option
@data_option
def revoke(ident: str, as_json: bool, data: str) -> None:
    """End a link."""
    with connect(data) as client:
        found = client.revoke_link(ident)
    give(found) if as_json else say(f"Link {ident} has ended.")


COMMANDS = (link,)
