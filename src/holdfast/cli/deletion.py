# SPDX-License-Identifier: Apache-2.0
"""`holdfast delete`: plan, print, apply."""

from __future__ import annotations

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, size
from holdfast.wire.deletion import Deletion, DeletionWish


@click.command()
@click.argument("dataset", metavar="ID")
@click.option("--apply", "action", flag_value="apply", help="Delete it; without it the plan is printed.")
@click.option("--confirm", "action", flag_value="confirm", help="Say yes to what another person asked.")
@click.option("--withdraw", "action", flag_value="withdraw", help="Take back what was asked.")
@click.option("--reason", default="", help="Why; needed with --apply, and kept on the tombstone.")
@json_option
@data_option
def delete(dataset: str, action: str | None, reason: str, as_json: bool, data: str) -> None:
    """Plan the deletion of dataset ID; with --apply, do it.

    A tombstone stays: title, dates, who deleted it and why, and the digest of its list of files. Its copies are erased from
    their tapes. Where the profile wants two persons, --apply asks, and another person deletes it with --confirm.
    """
    with connect(data) as client:
        if action is None:
            found = client.deletion(dataset)
        else:
            found = client.delete(dataset, DeletionWish.model_validate({"action": action, "reason": reason}))
    if as_json:
        give(found)
    else:
        _tell(found)


def _tell(found: Deletion) -> None:
    if found.tombstone:
        by = " and ".join(found.tombstone[key] for key in ("person", "confirmed_by") if key in found.tombstone)
        say(f"Dataset {found.dataset} ({found.title}) is deleted, by {by}: {found.tombstone.get('reason', '')}")
        if found.tapes:
            say(f"Its copies are erased from {', '.join(found.tapes)} when these are mounted next.")
        return
    say(
        f"Dataset {found.dataset} ({found.title}): {found.files} files, {size(found.bytes)}, {found.packages} packages."
    )
    if found.tapes:
        say(f"Copies on {', '.join(found.tapes)}.")
    if found.retained_until:
        say(f"To be kept until {moment(found.retained_until)}.")
    for obstacle in found.obstacles:
        say(f"Not now: {obstacle}")
    if found.asked_by:
        say(f"{found.asked_by} asked for it to be deleted: {found.asked_reason}")
        say(f"Another person confirms: holdfast delete {found.dataset} --confirm")
    elif not found.obstacles:
        say(f"Nothing was deleted. To delete it: holdfast delete {found.dataset} --apply --reason TEXT")


COMMANDS = (delete,)
