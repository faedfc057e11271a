# SPDX-License-Identifier: Apache-2.0
"""Commands that bring files back: get, requests, cancel; and `holdfast admin request`."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Final

import click

from holdfast.cli.exits import PARTIAL, exit_of_code
from holdfast.cli.options import PRIORITY, connect, data_option, json_option, patiently, wait_option
from holdfast.cli.output import give, moment, progress, say, size, table
from holdfast.client import Client
from holdfast.wire.requests import Request

_POLL: Final = 0.2  # seconds between two looks
_ENDED: Final = frozenset({"ready", "delivered", "failed", "cancelled", "expired"})
_NAMED: Final = 20  # files that are named when they could not be delivered


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--to", "destination", metavar="DIR", required=True, help="The folder of the server to deliver to.")
@click.option(
    "--priority", type=PRIORITY, default=0, show_default=True, help="Each step doubles its weight in the queue."
)
@wait_option
@json_option
@data_option
def get(
    dataset: str, paths: tuple[str, ...], destination: str, priority: int, wait: bool, as_json: bool, data: str
) -> None:
    """Bring files and folders of dataset ID back from tape: those named, or all.

    Each file gets its name only after its checksum matched. A file that is there already and right is left alone, so
    the same command goes on where an earlier one ended.
    """
    with connect(data) as client:
        found = client.ask(dataset, destination=os.path.abspath(destination), paths=paths, priority=priority)
        if wait:
            found = wait_for(client, found, shown=not as_json)
    if as_json:
        give(found)
    elif not wait:
        say(
            f"Request {found.id}: {found.files} files, {size(found.bytes)}. Follow it with: holdfast requests {found.id}"
        )
    else:
        tell(found)
    if wait:
        end(found)


def wait_for(client: Client, found: Request, *, shown: bool) -> Request:
    """Follow a request until nothing more is done for it, with progress and why it waits; return it."""
    told = ""
    with progress(shown=shown) as bar:
        while True:
            bar.at("get", done=found.done_bytes, total=found.bytes, note=f"{found.done_files} of {found.files} files")
            if found.state in _ENDED:
                return found
            problems = [found.problem, *(part.problem for part in found.parts)]
            reason = next((problem.sentence for problem in problems if problem), "")
            if shown and reason and reason != told:
                say(f"waiting: {reason}", err=True)
                told = reason
            time.sleep(_POLL)
            found = patiently(partial(client.request, found.id), shown=shown)


def tell(found: Request) -> None:
    """Say what of a request is where, what could not be delivered, and why it waits."""
    for item in found.undelivered[:_NAMED]:
        say(f"not delivered: {item.path}: {item.sentence}", err=True)
    if found.failed_files > _NAMED:
        say(f"... and {found.failed_files - _NAMED} more.", err=True)
    if found.state == "expired":
        say("Its time is over: its files were removed from the buffer. They are in the archive; stage them again.")
        return
    proven = ", each with the checksum it was archived with" if found.done_files else ""
    say(f"{found.done_files} of {found.files} files ({size(found.done_bytes)}) are in {found.destination}{proven}.")
    if found.state == "ready":
        say(f"They stay until {moment(found.expires_at)}. Longer: holdfast keep {found.id} TIME")
    if found.state == "asked" and found.problem:
        say(f"It waits: {found.problem.sentence}")


def foretell(found: Request) -> None:
    """Say when the files of a request are expected, and why they wait."""
    if found.expected:
        say(
            f"Expected at {moment(found.expected)}, between {moment(found.earliest)} and {moment(found.latest)} in nine "
            "of ten cases."
        )
    if found.reason and found.state != "asked":  # `tell` says why that one waits
        say(found.reason)


def end(found: Request) -> None:
    """Leave the program with a code that says how a request ended, if it did not end well."""
    if found.state in {"delivered", "ready"} and not found.failed_files:
        return
    if found.state == "failed" and found.problem:
        raise click.exceptions.Exit(exit_of_code(found.problem.code))
    raise click.exceptions.Exit(PARTIAL)


@click.command()
@click.argument("request", metavar="[ID]", required=False)
@json_option
@data_option
def requests(request: str | None, as_json: bool, data: str) -> None:
    """List requests, or show how far request ID is: its place, when it is expected, and why it waits."""
    with connect(data) as client:
        if request:
            found = client.request(request)
            if as_json:
                give(found)
            else:
                say(
                    f"Request {found.id} for dataset {found.dataset} is {found.state}; it was made {moment(found.created_at)}"
                    f"{f', ended {moment(found.ended_at)}' if found.ended_at else ''}."
                )
                foretell(found)
                tell(found)
            return
        page = client.requests()
    if as_json:
        give(page)
        return
    rows = [
        (
            item.id,
            item.state,
            f"{item.done_files}/{item.files}",
            size(item.done_bytes),
            moment(item.created_at),
            item.place or "-",
            moment(item.expected),
            item.destination,
        )
        for item in page.items
    ]
    table(("request", "state", "files", "delivered", "asked", "place", "expected", "to"), rows, right=(2, 3))


@click.command()
@click.argument("request", metavar="ID")
@json_option
@data_option
def cancel(request: str, as_json: bool, data: str) -> None:
    """End request ID; what was delivered stays."""
    with connect(data) as client:
        found = client.cancel(request)
    if as_json:
        give(found)
    else:
        say(f"Request {found.id} is {found.state}.")


@click.group()
def request() -> None:
    """Work on what people asked for."""


@request.command("priority")
@click.argument("ident", metavar="ID")
@click.argument("number", metavar="N", type=PRIORITY)
@data_option
@json_option
def change_priority(ident: str, number: int, data: str, as_json: bool) -> None:
    """Change how soon request ID is served: N from -10 to 10, 0 is usual, and each step doubles its weight.

    Put `--` before a number below 0.
    """
    with connect(data) as client:
        found = client.prioritise(ident, number)
    if as_json:
        give(found)
    else:
        say(f"Request {found.id} has priority {found.priority}.{f' {found.reason}' if found.reason else ''}")


COMMANDS = (get, requests, cancel, request)
