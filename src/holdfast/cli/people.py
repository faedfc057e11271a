# SPDX-License-Identifier: Apache-2.0
"""Commands about oneself: log in and out, who am I, another password, apply for an account."""

from __future__ import annotations

import getpass
import os
import platform
import sys
import time

import click

from holdfast.cli.credentials import keep, kept
from holdfast.cli.options import address, client_of, connect, data_option, json_option, on_this_host
from holdfast.cli.output import give, moment, say
from holdfast.client import Client
from holdfast.errors import InvalidInput, Refused, SettingsError
from holdfast.wire.people import Application, MadeToken

stdin_option = click.option(
    "--password-stdin", "from_stdin", is_flag=True, help="Read the password from standard input, for programs."
)


@click.command()
@click.argument("name", required=False)
@stdin_option
@click.option(
    "--device", is_flag=True, help="Sign in with a browser at the provider of the archive, without a password here."
)
@click.option("--certificate", metavar="FILE", help="Sign in with the X.509 certificate in a PEM file instead.")
@click.option("--key", metavar="FILE", help="The PEM file with its key, if that is another one.")
@json_option
@data_option
def login(
    name: str | None, from_stdin: bool, device: bool, certificate: str | None, key: str | None, as_json: bool, data: str
) -> None:
    """Log in as NAME with a password; later commands of yours use the token that is given for it.

    HOLDFAST_CA names a PEM file with the authorities that are believed, of an archive whose certificate is of none that
    the world knows.
    """
    url = _encrypted(address(data))
    if certificate:
        with client_of(url, certificate=certificate, key=key) as client:
            _logged_in(url, client.login_by_certificate(label=f"holdfast login on {platform.node()}"), as_json=as_json)
        return
    if device:
        with client_of(url) as client:
            _logged_in(url, _on_device(client), as_json=as_json)
        return
    name = name or click.prompt("Name", default=getpass.getuser(), err=True)
    password = _ask("Password", from_stdin=from_stdin)
    with client_of(url) as client:
        label = f"holdfast login on {platform.node()}"
        try:
            made = client.login(name, password, label=label)
        except Refused as error:
            if error.of != "password-change-needed" or from_stdin:
                raise
            say("This password is good once, to choose your own.")
            new = _ask_new()
            client.change_password(name, old=password, new=new)
            made = client.login(name, new, label=label)
    _logged_in(url, made, as_json=as_json)


def _on_device(client: Client) -> MadeToken:
    """Have somebody sign in with a browser, anywhere, and wait for it."""
    begun = client.begin_sign_in()
    say(f"Open {begun.address} in a browser, and confirm the code {begun.code}.", err=True)
    while (made := client.sign_in(begun.handle, label=f"holdfast login on {platform.node()}")) is None:
        time.sleep(begun.interval)
    return made


def _logged_in(url: str, made: MadeToken, *, as_json: bool) -> None:
    file = keep(url, made.secret)
    if as_json:
        give({"name": made.person, "token": made.id, "expires_at": made.expires_at and made.expires_at.isoformat()})
    else:
        say(f"You are logged in to {url} as {made.person} until {moment(made.expires_at)}. The token is in {file}.")


@click.command()
@json_option
@data_option
def logout(as_json: bool, data: str) -> None:
    """End the token that `login` was given, and forget it; tokens that were made meanwhile stay good."""
    url = address(data)
    if (token := kept(url)) is None:  # not HOLDFAST_TOKEN, nor that of the data folder: nobody logged in for these
        raise SettingsError(what=f"You did not log in to {url} with holdfast login.")
    with client_of(url, token) as client:
        try:
            client.logout()
        except Refused as error:
            if error.of != "not-signed-in":  # it has ended already
                raise
    keep(url, None)
    give({"url": url}) if as_json else say(f"You are logged out of {url}.")


@click.command()
@json_option
@data_option
def whoami(as_json: bool, data: str) -> None:
    """Tell who you are to the archive, in which groups, and what your token is good for."""
    with connect(data) as client:
        found = client.whoami()
    if as_json:
        give(found)
        return
    say(f"{found.name} ({found.title or 'no title'}), {found.role}")
    for standing in found.groups:
        say(f"{standing.role} in group {standing.group}")
    token = found.token
    if token is None:
        return
    until = f"until {moment(token.expires_at)}" if token.expires_at else "as long as it is there"
    say(f"token {token.id} ({token.label or 'no label'}), good for {', '.join(token.scopes)}, {until}")


@click.command()
@click.argument("name", required=False)
@stdin_option
@data_option
def password(name: str | None, from_stdin: bool, data: str) -> None:
    """Choose another password, which needs the old one; all other tokens of yours are revoked.

    With --password-stdin the first line is the old password, the second line the new one.
    """
    url = _encrypted(address(data))
    name = name or click.prompt("Name", default=getpass.getuser(), err=True)
    old = _ask("Old password", from_stdin=from_stdin)
    new = _ask("New password", from_stdin=True) if from_stdin else _ask_new()
    with client_of(url) as client:
        client.change_password(name, old=old, new=new)
    say("The password is changed, and all tokens of yours are revoked. Log in again with holdfast login.")


@click.command()
@click.argument("name")
@click.option("--title", required=True, help="Your whole name, as people write it.")
@click.option("--mail", required=True, help="Where to reach you.")
@click.option("--reason", default="", help="Why you need an account.")
@stdin_option
@json_option
@data_option
def apply(name: str, title: str, mail: str, reason: str, from_stdin: bool, as_json: bool, data: str) -> None:
    """Ask for an account with the name NAME; an administrator decides."""
    url = _encrypted(address(data))
    new = _ask("Password", from_stdin=True) if from_stdin else _ask_new()
    wish = Application(name=name, title=title, mail=mail, reason=reason, password=new)
    with client_of(url) as client:
        found = client.apply(wish)
    give(found) if as_json else say(f"{found.name} can log in once an administrator has approved it.")


def _ask(prompt: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return typed(prompt)


def _ask_new() -> str:
    return typed("New password", again=True)


def typed(prompt: str, *, again: bool = False) -> str:
    """Have a password be typed, unseen. Raises InvalidInput where there is no terminal for that."""
    try:
        os.close(os.open(os.ctermid(), os.O_RDWR | os.O_NOCTTY))
    except OSError:
        raise InvalidInput(
            what="There is no terminal to ask for a password at. Programs give it with --password-stdin."
        ) from None
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=again, err=True))


def _encrypted(url: str) -> str:
    if not url.lower().startswith("https:") and not on_this_host(url):
        say(f"holdfast: the way to {url} is not encrypted: who listens learns the password.", err=True)
    return url


COMMANDS = (login, logout, whoami, password, apply)
