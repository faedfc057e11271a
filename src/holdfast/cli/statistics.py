# SPDX-License-Identifier: Apache-2.0
"""`holdfast admin statistics` and `holdfast admin packages`: the archive in numbers, and the table of its packages."""

from __future__ import annotations

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, say, size, table
from holdfast.wire.statistics import Statistics


@click.command()
@json_option
@data_option
def statistics(as_json: bool, data: str) -> None:
    """Tell the whole archive in numbers."""
    with connect(data) as client:
        found = client.statistics()
    give(found) if as_json else _statistics(found)


def _statistics(found: Statistics) -> None:
    shrunk = f", packed into {size(found.bytes_packed)}" if found.bytes_packed else ""
    rows = [
        ("datasets secured", f"{found.datasets_secured} of {found.datasets}"),
        ("packages secured", f"{found.packages_secured} of {found.packages}"),
        ("archived", f"{found.files} files, {size(found.bytes_archived)}{shrunk}"),
        ("on tape", f"{size(found.bytes_on_tape)} in {found.copies_verified} verified copies"),
        ("sources on disk", size(found.bytes_on_disk)),
        ("primary storage recovered", size(found.bytes_recovered)),
        ("occupancy", f"{found.occupancy:.1%} of {size(found.capacity)} on {found.tapes} tapes"),
        ("filling", f"{found.filling:.1%} of the tapes that hold anything"),
        ("faulty tapes", f"{found.tapes_faulty}"),
        ("success", f"{found.success:.4%} ({found.copies_lost} copies lost)"),
        ("written in 24 hours", f"{size(found.bytes_last_day)}, {size(found.write_rate)}/s for each drive"),
    ]
    table(("", ""), rows)


@click.command()
@click.option("--search", default="", help="Part of a name, or the whole of a dataset's ID or a tape's serial.")
@click.option("--csv", "as_csv", is_flag=True, help="The whole table as CSV.")
@json_option
@data_option
def packages(search: str, as_csv: bool, as_json: bool, data: str) -> None:
    """List packages with their tapes, digests and sizes."""
    with connect(data) as client:
        if as_csv:
            for piece in client.packages_csv(search=search):
                click.echo(piece, nl=False)
            return
        page = client.packages(search=search)
    if as_json:
        give(page)
        return
    head = ("package", "tape 1", "tape 2", "blake3", "raw", "stored")
    rows = [
        (p.id, p.tape1 or "-", p.tape2 or "-", (p.blake3 or "-")[:16], size(p.payload), size(p.size))
        for p in page.items
    ]
    table(head, rows, right=(4, 5))
    if page.next:
        say("\nThere are more; --csv gives all.")


COMMANDS = (statistics, packages)
