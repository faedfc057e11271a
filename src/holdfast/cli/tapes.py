# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin tape`: look at tapes, take them out of use and into use again, retire them."""

from __future__ import annotations

from typing import Final

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import duration, give, moment, say, size, table
from holdfast.wire.tapes import Tape, TapeDetail

_NAMED: Final = 20  # packages that are named


@click.group()
def tape() -> None:
    """Look at tapes, take them out of use and into use again, retire them."""


@tape.command("list")
@click.option("--state", help="Only tapes in this state.")
@json_option
@data_option
def list_tapes(state: str | None, as_json: bool, data: str) -> None:
    """List all tapes."""
    with connect(data) as client:
        found = [item for item in client.tapes() if state in {None, item.state}]
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    head = ("tape", "type", "state", "used", "free", "dead", "copies", "twin", "last read back", "")
    table(head, [_row(item) for item in found], right=(3, 4, 5, 6))


def _row(item: Tape) -> tuple[str, ...]:
    return (
        item.serial, item.media_type, item.state, size(item.used), size(item.free), size(item.dead), f"{item.copies}",
        item.twin or "-", moment(item.last_verified) if item.last_verified else "never",
        item.problem.sentence if item.problem else "",
    )  # fmt: skip


@tape.command("show")
@click.argument("serial")
@json_option
@data_option
def show_tape(serial: str, as_json: bool, data: str) -> None:
    """Tell all that is known of tape SERIAL, without mounting it."""
    with connect(data) as client:
        found = client.tape(serial)
    give(found) if as_json else _detail(found)


def _detail(found: TapeDetail) -> None:
    say(f"Tape {found.serial} ({found.media_type}) is {found.state}.")
    if found.problem:
        say(found.problem.sentence)
    say(
        f"{size(found.used)} of {size(found.capacity)} used, {size(found.free)} free, {size(found.dead)} dead; "
        f"index generation {found.generation}, lock state {found.lock_state}"
    )
    last = moment(found.last_verified) if found.last_verified else "never"
    say(f"twin {found.twin or 'none'}; last read back {last}\n")
    table(("copies", "number", "bytes"), [(c.state, f"{c.count}", size(c.bytes)) for c in found.held], right=(1, 2))
    if found.health:
        say("")
        table(("counter", "value"), [(name, f"{value}") for name, value in sorted(found.health.items())], right=(1,))


@tape.command()
@click.argument("serial")
@click.option("--reason", required=True, help="Why; everybody who waits for the tape sees it.")
@json_option
@data_option
def disable(serial: str, reason: str, as_json: bool, data: str) -> None:
    """Take tape SERIAL out of use: it is neither written nor read until it is enabled."""
    with connect(data) as client:
        found = client.disable_tape(serial, reason)
    give(found) if as_json else say(f"Tape {serial} is {found.state}.")


@tape.command()
@click.argument("serial")
@json_option
@data_option
def enable(serial: str, as_json: bool, data: str) -> None:
    """Take tape SERIAL into use again, if its volume is sound."""
    with connect(data) as client:
        found = client.enable_tape(serial)
    give(found) if as_json else say(f"Tape {serial} is {found.state}.")


@tape.command()
@click.argument("serial")
@click.option("--apply", is_flag=True, help="Do it; without, only the plan is printed.")
@json_option
@data_option
def retire(serial: str, apply: bool, as_json: bool, data: str) -> None:
    """Have tape SERIAL leave for good, when all that is on it has its proven copies elsewhere."""
    with connect(data) as client:
        found = client.retire_tape(serial, apply=apply)
    if as_json:
        give(found)
    elif found.applied:
        say(f"Tape {serial} is retired. It can be taken out of the library.")
    elif found.short:
        say(f"Tape {serial} cannot be retired: {len(found.short)} packages have too few verified copies without it:")
        for package in found.short[:_NAMED]:
            say(f"  {package}")
    else:
        say(f"Tape {serial} can be retired: its {found.copies} copies are not needed. Repeat with --apply.")


@tape.command()
@click.argument("serials", nargs=-1, metavar="[SERIAL]...")
@click.option("--media", default="", help="All tapes in use of this media type, as M8: to leave a generation behind.")
@click.option("--apply", is_flag=True, help="Begin; without, only the plan is printed.")
@json_option
@data_option
def repack(serials: tuple[str, ...], media: str, apply: bool, as_json: bool, data: str) -> None:
    """Empty tapes: write what counts on them to others, prove it there, then let the old copies go.

    It goes on in the background, whatever is interrupted; `tape list` shows how far it is. `tape enable` ends it early.
    """
    if not serials and not media:
        raise click.UsageError("Name tapes, or a media type with --media.")
    with connect(data) as client:
        found = client.repack_tapes(serials, media=media, apply=apply)
    if as_json:
        give(found)
        return
    rows = [(item.serial, item.state, f"{item.copies}", size(item.bytes)) for item in found.tapes]
    table(("tape", "state", "copies", "bytes"), rows, right=(2, 3))
    say(f"\n{size(found.bytes)} go to other tapes, which have room for {size(found.room)}.")
    if found.applied:
        say("It has begun. The old copies count until the new ones are proven.")
    elif found.bytes > found.room:
        say("That is too little: add tapes first.")
    else:
        say(f"It takes about {duration(found.seconds)} of all drives. Repeat with --apply.")


COMMANDS = (tape,)
