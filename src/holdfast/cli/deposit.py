# SPDX-License-Identifier: Apache-2.0
"""Commands that make datasets by hand: create, add, remove, close."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Final

import click

from holdfast.cli.exits import PARTIAL
from holdfast.cli.make import POLL, end, wait_safe
from holdfast.cli.options import connect, data_option, json_option, patiently, wait_option
from holdfast.cli.output import give, progress, say, size
from holdfast.cli.values import pair
from holdfast.client import Client
from holdfast.client.adding import Adding, Progress, found
from holdfast.client.content import raw_path
from holdfast.errors import Refused

_NAMED: Final = 20  # files that are told one by one


@click.command()
@click.option("--title", required=True, help="What the dataset is called.")
@click.option("--profile", help="The contract that it is kept under.  [default: twin-tape, or that of --extends]")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Metadata; may be given several times.")
@click.option("--group", help="The group or proposal whose members have their roles to it.")
@click.option("--keep-days", type=int, help="How long it must be kept after closing.  [default: the profile's]")
@click.option("--extends", metavar="ID", help="A closed dataset to which this one adds files.")
@json_option
@data_option
def create(
    title: str, profile: str | None, meta: tuple[str, ...], group: str | None, keep_days: int | None, extends: str | None,
    as_json: bool, data: str,
) -> None:  # fmt: skip
    """Make an open dataset: add files to it with `holdfast add`, from several places if you like, and close it."""
    metadata = dict(pair(item) for item in meta)
    with connect(data) as client:
        made = client.create(
            title=title, profile=profile, metadata=metadata, group=group, keep_days=keep_days, extends=extends
        )
    give(made) if as_json else say(f"Dataset {made.id} is open. Add files to it with: holdfast add {made.id} FILE...")


def _there(_context: click.Context, _parameter: click.Parameter, sources: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse what is not there; of a link, where it leads does not matter."""
    for source in sources:
        if not os.path.lexists(source):
            raise click.BadParameter(f"{source!r} is not there.")
    return sources


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("sources", metavar="FILE|FOLDER...", nargs=-1, required=True, callback=_there)
@click.option("--into", default="", metavar="PATH", help="A folder of the dataset to put them into.")
@click.option(
    "--parallel", type=click.IntRange(1, 20), default=4, show_default=True, help="Files sent at the same time."
)
@json_option
@data_option
def add(dataset: str, sources: tuple[str, ...], into: str, parallel: int, as_json: bool, data: str) -> None:
    """Add files of this computer, and all in folders, to the open dataset ID.

    A folder is added with its name; with a slash behind it, only what is in it. What is there already, unchanged, is not sent
    again, and large files go on where they were: repeat the command after whatever went wrong.
    """
    files, odd = found(sources, into)
    with connect(data) as client, progress(shown=not as_json) as bar:

        def tell(now: Progress) -> None:
            bar.at("add", done=now.bytes, total=now.all_bytes, note=f"{now.files} of {now.all_files} files")

        added = Adding(client, dataset, parallel=parallel, progress=tell).run(files)
    refused = [*odd, *added.refused]
    if as_json:
        left_out = [{"path": path, "sentence": sentence} for path, sentence in refused]
        give({"id": dataset, "files": added.files, "bytes": added.bytes, "there": added.there, "refused": left_out})
    else:
        for path, sentence in refused[:_NAMED]:
            say(f"not added  {path}: {sentence}")
        say(
            f"{added.files} files ({size(added.bytes)}) were added, {added.there} were there, {len(refused)} were not added."
        )
    if refused:
        raise click.exceptions.Exit(PARTIAL)


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("origin", metavar="PATH|URL")
@click.option("--into", default="", metavar="PATH", help="A folder of the dataset; of a URL, the path of the file.")
@wait_option
@json_option
@data_option
def fetch(dataset: str, origin: str, into: str, wait: bool, as_json: bool, data: str) -> None:
    """Have the archive bring files into the open dataset ID: of its own server (PATH), or of another host (URL)."""
    is_url = "://" in origin
    with connect(data) as client:
        asked = client.fetch(
            dataset, path=None if is_url else os.path.abspath(origin), url=origin if is_url else None, into=into
        )
        with progress(shown=not as_json) as bar:
            ask = partial(client.uploads, dataset)
            while wait and (left := [item for item in patiently(ask, shown=not as_json).items if item.origin]):
                if problem := next((item.problem for item in left if item.problem), None):
                    raise Refused(detail=problem.sentence, code=problem.code)
                bar.at("fetch", done=sum(item.received for item in left), total=sum(item.length for item in left))
                time.sleep(POLL)
    if as_json:
        give(asked)
    else:
        say(
            f"{asked.files} files, links and empty folders {'were brought' if wait else 'are on their way'} into dataset {dataset}."
        )


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@json_option
@data_option
def remove(dataset: str, paths: tuple[str, ...], as_json: bool, data: str) -> None:
    """Take files, and folders with all in them, out of the open dataset ID; what is closed does not change any more.

    A file that is on its way into it comes no more; what has its path already stays then, and goes when you repeat this.
    """
    removed: list[str] = []
    missing: list[str] = []
    with connect(data) as client:
        client.dataset(dataset)  # if there is none, it is not that paths are missing
        for path in paths:
            gone = _removed(client, dataset, path.rstrip("/"))
            removed += gone
            missing += [] if gone else [path]
    if as_json:
        give({"id": dataset, "removed": removed, "missing": missing})
    else:
        for path in missing[:_NAMED]:
            say(f"not there  {path}")
        say(f"{len(removed)} files were removed, {len(missing)} of the paths were not there.")
    if missing:
        raise click.exceptions.Exit(PARTIAL)


def _removed(client: Client, dataset: str, path: str) -> list[str]:
    """Take a file, or all in a folder, out of a dataset, or end its upload; return what was taken out."""
    coming = [item for item in client.uploads(dataset).items if item.path == path]
    for upload in coming:
        client.end_upload(upload.id)
    if coming:  # the file that is there, if any, is not the one that was meant
        return [path]
    try:
        client.remove_file(dataset, path)
    except Refused as error:
        if error.of != "not-found":
            raise
    else:
        return [path]
    below = list(client.files(dataset, prefix=path)) if path else []
    for file in below:
        client.remove_file(dataset, raw_path(file))
    return [file.path for file in below]


@click.command()
@click.argument("dataset", metavar="ID")
@wait_option
@json_option
@data_option
def close(dataset: str, wait: bool, as_json: bool, data: str) -> None:
    """Close dataset ID: nothing is added from now on, and its files go onto their tapes."""
    with connect(data) as client:
        made = client.close_dataset(dataset)
        if wait:
            made = wait_safe(client, dataset, shown=not as_json)
    if as_json:
        give(made)
    elif made.safe_at:
        say(f"Dataset {dataset} is safe: {made.files} files, {size(made.bytes)}.")
    else:
        say(f"Dataset {dataset} is being closed. Follow it with: holdfast show {dataset}")
    end(made)


COMMANDS = (create, add, fetch, remove, close)
