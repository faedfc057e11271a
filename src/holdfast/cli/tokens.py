# SPDX-License-Identifier: Apache-2.0
"""`holdfast token`: tokens for programs, with what each is good for, how long, and when it was used."""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.options import Time, connect, data_option, json_option
from holdfast.cli.output import give, moment, say, table
from holdfast.model.rights import SCOPES
from holdfast.wire.people import Token


@click.group()
def token() -> None:
    """Tokens: what programs show instead of a password."""


@token.command("list")
@click.option("--of", metavar="PERSON", help="Those of somebody else; for administrators.")
@click.option("--ended", is_flag=True, help="Also those that are good no more.")
@json_option
@data_option
def list_tokens(of: str | None, ended: bool, as_json: bool, data: str) -> None:
    """List your tokens, the newest first."""
    with connect(data) as client:
        found = client.tokens(of=of, ended=ended)
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    head = ("token", "label", "good for", "made", "until", "last used", "from")
    table(head, [_row(item) for item in found])


def _row(item: Token) -> tuple[str, ...]:
    until = "revoked" if item.revoked_at else moment(item.expires_at) if item.expires_at else "removed by hand"
    return (
        item.id, item.label, ", ".join(item.scopes), moment(item.created_at), until,
        moment(item.used_at) if item.used_at else "never", item.used_from or "-",
    )  # fmt: skip


@token.command()
@click.option("--label", default="", help="What it is for.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(SCOPES), help="What it is good for; may be repeated."
)
@click.option(
    "--for", "lifetime", type=Time(), metavar="TIME", help="How long, as 8 h or 90 d.  [default: people.token_lifetime]"
)
@json_option
@data_option
def add(label: str, scopes: tuple[Any, ...], lifetime: float | None, as_json: bool, data: str) -> None:
    """Make a token and show it, once. Without --scope it is good for all that yours is good for."""
    with connect(data) as client:
        made = client.add_token(label=label, scopes=scopes, lifetime=lifetime)
    if as_json:
        give(made)
        return
    click.echo(made.secret)
    say(
        f"Token {made.id}, good for {', '.join(made.scopes)} until {moment(made.expires_at)}. It is shown only now.",
        err=True,
    )


@token.command()
@click.argument("ident", metavar="ID")
@json_option
@data_option
def revoke(ident: str, as_json: bool, data: str) -> None:
    """End token ID for good, with all that were made with it."""
    with connect(data) as client:
        found = client.revoke_token(ident)
    give(found) if as_json else say(f"Token {found.id} is good no more{_with(found.others)}.")


def _with(others: list[str]) -> str:
    return f", nor what was made with it: {', '.join(others)}" if others else ""


COMMANDS = (token,)
