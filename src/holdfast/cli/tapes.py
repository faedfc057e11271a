# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin tape`: look at tapes, add them, take them out of use and into use again, export and retire them."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import duration, give, moment, say, size, table
from holdfast.model.lifecycle import MOVES
from holdfast.settings.values import Size, parse
from holdfast.wire.tapes import NewTape, Tape, TapeDetail, Wear

_NAMED: Final = 20  # packages that are named


@click.group()
def tape() -> None:
    """Look at tapes, add them, take them out of use and into use again, export and retire them."""


@tape.command("list")
@click.option("--state", type=click.Choice(list(MOVES["tape"])), help="Only tapes in this state.")
@json_option
@data_option
def list_tapes(state: str | None, as_json: bool, data: str) -> None:
    """List all tapes."""
    with connect(data) as client:
        found = [item for item in client.tapes() if state in {None, item.state}]
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    head = (
        "tape", "type", "state", "batch", "used", "free", "dead", "copies", "twin", "loads", "corrected/GB", "not corrected",
        "last mounted", "last read back", "",
    )  # fmt: skip
    table(head, [_row(item) for item in found], right=(4, 5, 6, 7, 9, 10, 11))


def _row(item: Tape) -> tuple[str, ...]:
    wear = item.wear
    permanent = [wear.permanent_write_errors, wear.permanent_read_errors] if wear else [None]
    return (
        item.serial, item.media_type, item.state, item.batch or "-", size(item.used), size(item.free), size(item.dead),
        f"{item.copies}", item.twin or "-", _number(wear.loads if wear else None), _number(wear.recovered_per_gb if wear else None),
        "-" if None in permanent else f"{sum(filter(None, permanent))}", _when(item.last_mounted),
        _when(item.last_verified), item.problem.sentence if item.problem else "",
    )  # fmt: skip


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _when(at: datetime | None) -> str:
    return moment(at) if at else "never"


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
    say(
        f"twin {found.twin or 'none'}; last mounted {_when(found.last_mounted)}, last read back {_when(found.last_verified)}"
    )
    say(f"batch {found.batch or 'not known'}; for {', '.join(found.families) or 'anybody'}")
    if found.undecided:
        say(f"it failed in drive {', '.join(found.undecided)}; nobody knows yet whether tape or drive is to blame")
    if found.wear:
        _worn(found.wear)
    say("")
    table(("copies", "number", "bytes"), [(c.state, f"{c.count}", size(c.bytes)) for c in found.held], right=(1, 2))
    if found.health:
        say("")
        table(("counter", "value"), [(name, f"{value}") for name, value in sorted(found.health.items())], right=(1,))


def _worn(wear: Wear) -> None:
    say(
        f"loaded {_number(wear.loads)} times; {_number(wear.mb_written)} MB written, {_number(wear.mb_read)} MB read; "
        f"{_number(wear.recovered_per_gb)} errors corrected in each GB"
    )
    rows = [
        ("writing", _number(wear.recovered_write_errors), _number(wear.permanent_write_errors)),
        ("reading", _number(wear.recovered_read_errors), _number(wear.permanent_read_errors)),
    ]
    table(("errors", "corrected", "not corrected"), rows, right=(1, 2))
    if wear.alerts:
        say(f"the drive says: {', '.join(wear.alerts)}")


def _bytes(text: str) -> int:
    try:
        return int(str(parse(text, Size, is_text=True)))
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="--capacity") from error


@tape.command()
@click.argument("serial")
@click.option("--batch", help="Who made it, and when; twins should be of different batches.")
@click.option("--family", "families", multiple=True, help="Whose data it is meant for; may be repeated.")
@click.option("--capacity", help="Of a simulated tape that is made, as 2 GB.  [default: library.capacity]")
@click.option("--media", help="The media type of a simulated tape that is made, as L8.")
@json_option
@data_option
def add(
    serial: str,
    batch: str | None,
    families: tuple[str, ...],
    capacity: str | None,
    media: str | None,
    as_json: bool,
    data: str,
) -> None:
    """Take the new tape SERIAL into use, and record what it is; a simulated library makes it.

    For a tape that is in use already, only what is given is recorded.
    """
    wanted = NewTape(
        serial=serial, batch=batch, families=list(families) or None, media_type=media,
        capacity=_bytes(capacity) if capacity else None,
    )  # fmt: skip
    with connect(data) as client:
        found = client.add_tape(wanted)
    give(found) if as_json else say(f"Tape {serial} is {found.state}.")


@tape.command()
@click.argument("serial")
@click.option("--reason", required=True, help="Why, and where it is.")
@json_option
@data_option
def export(serial: str, reason: str, as_json: bool, data: str) -> None:
    """Note that tape SERIAL is taken out of the library on purpose; enable it when it is back."""
    with connect(data) as client:
        found = client.export_tape(serial, reason)
    give(found) if as_json else say(f"Tape {serial} is {found.state}. It can be taken out of the library.")


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
        why = f"its {found.copies} copies are not needed" if found.copies else "nothing on it counts"
        say(f"Tape {serial} can be retired: {why}. Repeat with --apply.")


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
        say(f"All drives together are busy with it for {duration(found.seconds)}. Repeat with --apply.")


COMMANDS = (tape,)
