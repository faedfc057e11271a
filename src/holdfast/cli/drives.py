# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin drive`: look at drives and at what was in them, take them out of use and into use again."""

from __future__ import annotations

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, size, table
from holdfast.wire.drives import Drive, DriveState, Mount


@click.group()
def drive() -> None:
    """Look at drives and at what was in them, take them out of use and into use again."""


def told(state: DriveState) -> str:
    """Return what a drive does, with why it is out of use."""
    if state.reason is None:
        return state.state
    return f"in use, then out of use: {state.reason}" if state.tape else f"{state.state}: {state.reason}"


@drive.command("list")
@json_option
@data_option
def list_drives(as_json: bool, data: str) -> None:
    """List all drives with their mounts, bytes and errors of the last year."""
    with connect(data) as client:
        found = client.drives()
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    head = (
        "drive", "kind", "tape", "mounts", "failed", "read", "written", "corrected", "not corrected", "in use 24 h",
        "last used", "",
    )  # fmt: skip
    table(head, [_row(item) for item in found], right=(3, 4, 5, 6, 7, 8, 9))


def _row(item: Drive) -> tuple[str, ...]:
    notes = [told(item), *item.alerts]
    if item.undecided:
        notes.append(f"it failed with {', '.join(item.undecided)}; nobody knows yet whether tape or drive is to blame")
    return (
        item.drive, item.kind or "any", item.tape or "-", f"{item.mounts}", f"{item.failures}", size(item.bytes_read),
        size(item.bytes_written), f"{item.recovered_errors}", f"{item.permanent_errors}", f"{item.busy:.0%}",
        moment(item.last_used), "; ".join(notes),
    )  # fmt: skip


@drive.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why; it is shown wherever the drive is.")
@json_option
@data_option
def disable(name: str, reason: str, as_json: bool, data: str) -> None:
    """Take the drive NAME out of use: no tape is mounted in it until it is enabled.

    A drive that is in use goes on until its tape is out, and is out of use then.
    """
    with connect(data) as client:
        found = client.disable_drive(name, reason)
    if as_json:
        give(found)
    elif found.tape:
        say(f"Drive {name} is in use with tape {found.tape}; when that is out, the drive is out of use.")
    else:
        say(f"Drive {name} is out of use.")


@drive.command()
@click.argument("name")
@json_option
@data_option
def enable(name: str, as_json: bool, data: str) -> None:
    """Take the drive NAME into use again; what failed in it before is forgiven."""
    with connect(data) as client:
        found = client.enable_drive(name)
    give(found) if as_json else say(f"Drive {name} is {found.state}.")


@click.command()
@click.option("--tape", help="Only those of this tape.")
@click.option("--drive", help="Only those in this drive.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@json_option
@data_option
def mounts(tape: str | None, drive: str | None, limit: int, as_json: bool, data: str) -> None:
    """List which tape was in which drive, the newest first: a year at most."""
    with connect(data) as client:
        found = client.mounts(tape=tape, drive=drive, limit=limit)
    if as_json:
        give(found)
        return
    head = ("began", "ended", "tape", "drive", "for", "read", "written", "corrected", "not corrected", "")
    table(head, [_mount(item) for item in found.items], right=(5, 6, 7, 8))


def _mount(item: Mount) -> tuple[str, ...]:
    return (
        moment(item.began_at), moment(item.ended_at), item.tape, item.drive, item.purpose, size(item.bytes_read),
        size(item.bytes_written), f"{item.recovered_errors}", f"{item.permanent_errors}", item.problem or "",
    )  # fmt: skip


COMMANDS = (drive, mounts)
