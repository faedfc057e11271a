# SPDX-License-Identifier: Apache-2.0
"""Commands for the archive's buffer: stage, keep, unstage."""

from __future__ import annotations

import click

from holdfast.cli.get import end, tell, wait_for
from holdfast.cli.options import Time, connect, data_option, json_option, wait_option
from holdfast.cli.output import give, say, size
from holdfast.wire.requests import Request


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option(
    "--keep", type=Time(), metavar="TIME", help="How long they are kept, as 36h or 2d.  [default: the archive's]"
)
@wait_option
@json_option
@data_option
def stage(dataset: str, paths: tuple[str, ...], keep: float | None, wait: bool, as_json: bool, data: str) -> None:
    """Bring files and folders of dataset ID to the archive's own disk and keep them there: those named, or all.

    If the buffer has no room below its mark, the request waits until other files leave it.
    """
    with connect(data) as client:
        found = client.stage(dataset, paths=paths, keep=keep)
        if wait:
            found = wait_for(client, found, shown=not as_json)
    _say(found, as_json=as_json)
    if wait:
        end(found)


@click.command()
@click.argument("request", metavar="ID")
@click.argument("time", metavar="TIME", type=Time())
@json_option
@data_option
def keep(request: str, time: float, as_json: bool, data: str) -> None:
    """Keep what request ID staged for TIME from now, as 36h or 2d; it is never shortened."""
    with connect(data) as client:
        found = client.keep(request, time)
    _say(found, as_json=as_json)


@click.command()
@click.argument("request", metavar="ID")
@json_option
@data_option
def unstage(request: str, as_json: bool, data: str) -> None:
    """Have what request ID staged removed from the buffer now; it stays in the archive."""
    with connect(data) as client:
        found = client.unstage(request)
    give(found) if as_json else say(f"What request {request} staged leaves the buffer. It stays in the archive.")


def _say(found: Request, *, as_json: bool) -> None:
    if as_json:
        give(found)
        return
    say(
        f"Request {found.id} is {found.state}: {found.files} files, {size(found.bytes)}. Follow it with: "
        f"holdfast requests {found.id}"
    )
    tell(found)


COMMANDS = (stage, keep, unstage)
