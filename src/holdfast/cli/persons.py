# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin person`: accounts, as administrators see and decide about them."""

from __future__ import annotations

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, table
from holdfast.wire.people import NewPerson, Person, PersonChange
from holdfast.wire.signin import CredentialPage, NewCredential

role_option = click.option(
    "--role", type=click.Choice(["admin", "operator", "member"]), help="What one may at this site."
)
title_option = click.option("--title", help="The whole name, as people write it.")
mail_option = click.option("--mail", help="Where to reach this person.")


@click.group()
def person() -> None:
    """Accounts: who there is, who wants to be, and who may what at this site."""


@person.command("list")
@click.option("--state", type=click.Choice(["applied", "active", "disabled"]), help="Only accounts in this state.")
@click.option("--search", default="", help="Part of a name, title or mail address.")
@json_option
@data_option
def list_people(state: str | None, search: str, as_json: bool, data: str) -> None:
    """List accounts by name."""
    with connect(data) as client:
        found = list(client.people(state=state, search=search))
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    rows = [
        (item.name, item.title, item.mail, item.role, item.state, moment(item.created_at), item.reason)
        for item in found
    ]
    table(("name", "title", "mail", "role", "state", "since", "reason"), rows)


@person.command("show")
@click.argument("name")
@json_option
@data_option
def show_person(name: str, as_json: bool, data: str) -> None:
    """Tell all that is known of the account NAME."""
    with connect(data) as client:
        _tell(client.person(name), as_json=as_json)


def _tell(found: Person, *, as_json: bool) -> None:
    if as_json:
        give(found)
        return
    say(
        f"{found.name} ({found.title or 'no title'}), {found.mail or 'no mail address'}, is {found.role} and {found.state}."
    )
    if found.reason:
        say(f"Reason: {found.reason}")
    if found.decided_by:
        say(f"Decided by {found.decided_by}, {moment(found.decided_at)}")
    say(f"Logs in with: {', '.join(found.credentials) or 'nothing yet'}")


@person.command()
@click.argument("name")
@role_option
@title_option
@mail_option
@json_option
@data_option
def add(name: str, role: str | None, title: str | None, mail: str | None, as_json: bool, data: str) -> None:
    """Make the account NAME, and a password for it that is good once. Repeating it takes nobody's password away."""
    given = {"name": name, "role": role, "title": title, "mail": mail}
    wish = NewPerson.model_validate({key: value for key, value in given.items() if value is not None})
    with connect(data) as client:
        found = client.add_person(wish)
    if found.credentials:  # that it was made, and somebody logs in with it, may have been forgotten
        _tell(found, as_json=as_json)
        if not as_json:
            say(f"It was there already, and its password stays; another one: holdfast admin person password {name}")
        return
    _password(name, as_json=as_json, data=data)


@person.command()
@click.argument("name")
@json_option
@data_option
def password(name: str, as_json: bool, data: str) -> None:
    """Make a password for NAME that is good once, within a week, to choose another; the one before and all tokens end."""
    _password(name, as_json=as_json, data=data)


def _password(name: str, *, as_json: bool, data: str) -> None:
    with connect(data) as client:
        made = client.give_password(name)
    if as_json:
        give(made)
    else:
        say(
            f"{made.name} logs in with {made.password} once, within a week, and then chooses a password. It is shown only now."
        )


@person.command()
@click.argument("name")
@json_option
@data_option
def approve(name: str, as_json: bool, data: str) -> None:
    """Take the account NAME into use that was applied for, or say that one that was admitted is whose name it has."""
    with connect(data) as client:
        _tell(client.approve_person(name), as_json=as_json)


@person.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why.")
@json_option
@data_option
def disable(name: str, reason: str, as_json: bool, data: str) -> None:
    """Take the account NAME out of use and revoke its tokens, or decline its application."""
    with connect(data) as client:
        _tell(client.disable_person(name, reason), as_json=as_json)


@person.command()
@click.argument("name")
@json_option
@data_option
def enable(name: str, as_json: bool, data: str) -> None:
    """Take the account NAME into use again."""
    with connect(data) as client:
        _tell(client.enable_person(name), as_json=as_json)


@person.command()
@click.argument("name")
@click.option(
    "--add", nargs=3, metavar="KIND ISSUER SUBJECT", help="One more: oidc, ldap, x509 or jwt, and who it is there."
)
@click.option("--remove", type=int, metavar="ID", help="One less.")
@json_option
@data_option
def credentials(name: str, add: tuple[str, str, str] | None, remove: int | None, as_json: bool, data: str) -> None:
    """List how NAME is recognised elsewhere, or change it: several credentials lead to one person."""
    with connect(data) as client:
        found = client.credentials(name)
        if add:
            wish = NewCredential.model_validate(dict(zip(("kind", "issuer", "subject"), add, strict=True)))
            found = client.add_credential(name, wish)
        if remove is not None:
            found = client.remove_credential(name, remove)
    if as_json:
        give(CredentialPage(items=found))
        return
    rows = [(f"{item.id}", item.kind, item.issuer, item.subject, moment(item.used_at)) for item in found]
    table(("id", "kind", "issuer", "subject", "last used"), rows, right=(0,))


@person.command("set")
@click.argument("name")
@role_option
@title_option
@mail_option
@json_option
@data_option
def change(name: str, role: str | None, title: str | None, mail: str | None, as_json: bool, data: str) -> None:
    """Change role, title or mail address of NAME."""
    wish = PersonChange.model_validate({"role": role, "title": title, "mail": mail})
    with connect(data) as client:
        _tell(client.change_person(name, wish), as_json=as_json)


COMMANDS = (person,)
