# SPDX-License-Identifier: Apache-2.0
"""Commands for what is known of datasets: meta, search."""

from __future__ import annotations

import re
from typing import Final

import click

from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import give, moment, say, size, table
from holdfast.cli.values import HELP, pair, read_file, shown
from holdfast.client import Client
from holdfast.wire.datasets import DatasetPage
from holdfast.wire.metadata import Extraction, Metadata

# A number without a unit that something is compared with.
_NUMBER: Final = re.compile(r"([<>=]|\bbetween\b)\s*[-+]?[\d.]+(e[-+]?\d+)?\s*($|\)|and\b|or\b)", re.IGNORECASE)


@click.command(epilog=HELP)
@click.argument("dataset", metavar="ID")
@click.argument("pairs", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--file", "files", multiple=True, metavar="FILE", help="Set what is in a JSON or TOML file.")
@click.option("--remove", multiple=True, metavar="KEY", help="Remove a key; may be given several times.")
@click.option("--version", type=int, metavar="N", help="Only if this is the version now: nobody else changed it.")
@click.option("--history", is_flag=True, help="Show every change: who, when, old and new.")
@json_option
@data_option
def meta(
    dataset: str, pairs: tuple[str, ...], files: tuple[str, ...], remove: tuple[str, ...], version: int | None,
    history: bool, as_json: bool, data: str,
) -> None:  # fmt: skip
    """Show the metadata of dataset ID, or set and remove keys, all or none.

    That works for closed datasets, too: every change is kept.
    """
    if history and (pairs or files or remove):
        raise click.UsageError("--history shows what was changed: it cannot go with changes.")
    given = {key: value for name in files for key, value in read_file(name).items()} | dict(map(pair, pairs))
    with connect(data) as client:
        if history:
            _history(client, dataset, as_json=as_json)
            return
        if given or remove:
            found = client.change_metadata(dataset, given, remove=remove, version=version)
        else:
            found = client.metadata(dataset)
    if as_json:
        give(found)
    else:
        _metadata(found)


def _metadata(found: Metadata) -> None:
    rows = []
    for key, value in found.values.items():
        origin = found.origins.get(key)
        rows.append((key, shown(value), origin.person if origin else "", moment(origin.at) if origin else ""))
    table(("key", "value", "changed by", "at"), rows)
    say(f"\nversion {found.version}, SHA-256 {found.sha256}")
    if found.extraction and (found.extraction.read or found.extraction.failed):
        _extraction(found.extraction)


def _extraction(found: Extraction) -> None:
    say(f"headers of {found.read} files were read, of {found.looked} that were looked at. {found.note}".rstrip())
    for item in found.unread:
        say(f"{item.path}: {item.reason}")
    if found.failed > len(found.unread):
        say(f"and {found.failed - len(found.unread)} more")


def _history(client: Client, dataset: str, *, as_json: bool) -> None:
    found = list(client.metadata_history(dataset))
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    rows = [
        (
            f"{item.version}",
            moment(item.at),
            item.person,
            item.key,
            "-" if item.old is None else shown(item.old),
            "-" if item.new is None else shown(item.new),
        )
        for item in found
    ]
    table(("version", "at", "person", "key", "old", "new"), rows, right=(0,))


@click.command()
@click.argument("words", metavar="[QUERY]...", nargs=-1)
@click.option("--sort", default="", metavar="KEY", help="By a key, -KEY for the largest first; -created if not given.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@click.option(
    "--facets", multiple=True, metavar="KEY", help="Also count the values of a key; may be given several times."
)
@click.option("--save", metavar="NAME", help="Keep this search under a name.")
@click.option("--saved", metavar="NAME", help="Search as it was kept under a name.")
@click.option("--list", "list_saved", is_flag=True, help="List the searches that you keep.")
@click.option("--forget", metavar="NAME", help="Keep a search no longer.")
@json_option
@data_option
def search(
    words: tuple[str, ...], sort: str, limit: int, facets: tuple[str, ...], save: str | None, saved: str | None,
    list_saved: bool, forget: str | None, as_json: bool, data: str,
) -> None:  # fmt: skip
    """Search datasets by what is known of them.

    QUERY is a condition in CQL2-text, such as "instrument = 'P06' AND energy BETWEEN 12 AND 13 keV", or words that
    are in the title or in texts of the metadata.
    """
    query = " ".join(words)
    with connect(data) as client:
        if forget:
            client.forget_search(forget)
            give({"forgotten": forget}) if as_json else say(f"The search {forget} is kept no longer.")
            return
        if list_saved:
            _saved(client, as_json=as_json)
            return
        if saved:
            kept = client.saved_search(saved)
            query, sort = kept.query, sort or kept.sort
        if save:
            client.save_search(save, query, sort=sort)
        found = client.search_page(query, sort=sort, limit=limit, facets=facets)
    if as_json:
        give(found)
    else:
        _hits(found, query)


def _saved(client: Client, *, as_json: bool) -> None:
    found = client.searches()
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
    else:
        table(("name", "query", "sort"), [(item.name, item.query, item.sort) for item in found])


def _hits(found: DatasetPage, query: str) -> None:
    rows = [(i.id, i.owner, moment(i.created_at), f"{i.files}", size(i.bytes), i.title) for i in found.items]
    table(("dataset", "owner", "registered", "files", "size", "title"), rows, right=(3, 4))
    about = "" if found.count_exact else "about "
    count = f"{about}{found.count} datasets" if found.count is not None else "many datasets"
    say(f"\n{count}" + (f", {len(found.items)} shown" if found.next else ""))
    if found.count == 0 and _NUMBER.search(query):
        say("Numbers that have a unit are found with a unit only: energy > 12 keV.")
    for key, values in found.facets.items():
        say(f"\n{key}" + ("" if found.facets_complete else " (of the newest 10,000)"))
        table(("datasets", "value"), [(f"{item.count}", item.value) for item in values], right=(0,))


COMMANDS = (meta, search)
