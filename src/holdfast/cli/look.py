# SPDX-License-Identifier: Apache-2.0
"""Commands that look: ls, show, find, events, status."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

import click

from holdfast.cli.drives import told
from holdfast.cli.options import connect, data_option, json_option, patiently
from holdfast.cli.output import give, moment, say, size, table
from holdfast.cli.values import shown
from holdfast.client import Client
from holdfast.errors import NotFound
from holdfast.model.metadata import RESERVED
from holdfast.wire.datasets import DatasetDetail, File
from holdfast.wire.status import Event, Status

_POLL: Final = 0.5  # seconds between two looks at the feed
_FOUND: Final = 1000  # files that one call finds at most


@click.command()
@click.argument("dataset", metavar="[ID]", required=False)
@click.argument("path", metavar="[PATH]", required=False)
@click.option("--all", "everything", is_flag=True, help="Also datasets that could not be archived.")
@json_option
@data_option
def ls(dataset: str | None, path: str | None, everything: bool, as_json: bool, data: str) -> None:
    """List datasets; with ID, what is in the dataset or, with PATH, in one of its folders."""
    with connect(data) as client:
        if dataset:
            _contents(client, dataset, (path or "").strip("/"), as_json=as_json)
            return
        items = list(client.datasets(deleted=everything))
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in items]})
        return
    rows = [
        (i.id, i.state, i.level, i.availability, f"{i.files}", size(i.bytes), moment(i.created_at), i.title)
        for i in items
    ]
    table(("dataset", "state", "level", "where", "files", "size", "registered", "title"), rows, right=(4, 5))


def _contents(client: Client, dataset: str, path: str, *, as_json: bool) -> None:
    """Tell what is in a folder of a dataset, or what is at a path that is no folder. Raises NotFound."""
    found = list(client.folder(dataset, path))
    gone = not found and client.dataset(dataset).state == "deleted"
    if path and not found and not gone:
        there = list(client.files(dataset, prefix=path))
        if not there:
            raise NotFound(kind="file or folder", name=f"{path} in dataset {dataset}")
        found = [item for item in there if item.kind != "directory"]
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
    elif found:
        _files(found)
    else:
        say(f"Dataset {dataset} is deleted." if gone else f"There is nothing in {path or f'dataset {dataset}'}.")


def _files(found: list[File]) -> None:
    mark = {"directory": "/", "link": " -> "}
    rows = [
        (
            size(item.size) if item.kind == "file" else "-",
            moment(item.mtime),
            item.path + mark.get(item.kind, "") + (item.target or ""),
        )
        for item in found
    ]
    table(("size", "changed", "path"), rows, right=(0,))


@click.command()
@click.argument("dataset", metavar="ID")
@click.option("--files", "with_files", is_flag=True, help="Also every file with its SHA-512.")
@json_option
@data_option
def show(dataset: str, with_files: bool, as_json: bool, data: str) -> None:
    """Show dataset ID: packages, copies with tape serials and digests, level, availability, what is pending and why."""
    with connect(data) as client:
        found = client.dataset(dataset)
        files = list(client.files(dataset)) if with_files or as_json else []
    if as_json:
        give({**found.model_dump(mode="json"), "file_list": [item.model_dump(mode="json") for item in files]})
        return
    _dataset(found)
    for item in files:
        say(f"{item.sha512 or '-':128}  {item.path}")


def _dataset(found: DatasetDetail) -> None:
    say(f"{found.title}\n")
    lines = {
        "dataset": found.id,
        "owner": found.owner + (f", in group {found.group}" if found.group else ""),
        "state": found.state,
        "level": f"{found.level} (profile {found.profile}, version {found.profile_version})",
        "availability": found.availability,
        "source": f"{found.server}:{found.source}" + (" (removed)" if found.source_released_at else ""),
        "content": f"{found.files} files, {size(found.bytes)}",
        "registered": moment(found.created_at),
        "closed": moment(found.closed_at),
        "safe since": moment(found.safe_at),
        **({"extends": found.extends} if found.extends else {}),
        **({"deleted": _gone(found)} if found.deleted_at else {}),
        **{f"meta {key}": shown(value) for key, value in found.metadata.items() if not key.startswith(RESERVED)},
    }
    for key, value in lines.items():
        say(f"{key + ':':<14}{value}")
    if read := sum(key.startswith(RESERVED) for key in found.metadata):
        say(f"Its files say {read} keys more: holdfast meta {found.id}")
    if found.problem:
        say(f"\n{found.problem.sentence}")
    for package in found.packages:
        say(f"\npackage {package.segment}: {package.name}")
        say(
            f"  {package.state}, {package.packaging}, {package.files} files, {size(package.payload)} stored as {size(package.size)}"
        )
        say(f"  BLAKE3 {package.blake3 or '-'}")
        for copy in package.copies:
            proof = f"read back {moment(copy.verified_at)}" if copy.verified_at else "not read back yet"
            rate = f", written at {size(copy.rate)}/s" if copy.rate else ""
            say(f"  copy {copy.number} on tape {copy.tape or '-'}: {copy.state}, {proof}{rate}")
    if found.pending:
        say("\npending:")
    for item in found.pending:
        say(f"  {item.what}" + (f": {item.problem.sentence}" if item.problem else ""))


def _gone(found: DatasetDetail) -> str:
    """Return when a dataset was deleted and, if somebody did it, who and why."""
    stone = found.tombstone or {}
    by = " and ".join(stone[key] for key in ("person", "confirmed_by") if key in stone)
    return moment(found.deleted_at) + (f", by {by}: {stone.get('reason', '')}" if by else "")


@click.command()
@click.argument("name")
@json_option
@data_option
def find(name: str, as_json: bool, data: str) -> None:
    """Find files called NAME in all datasets."""
    with connect(data) as client:
        found = client.find(name, limit=_FOUND)
    if as_json:
        give({"items": [item.model_dump(mode="json") for item in found]})
        return
    table(
        ("dataset", "size", "path"),
        [(item.dataset, size(item.file.size), item.file.path) for item in found],
        right=(1,),
    )
    if len(found) == _FOUND:
        say(f"\nThese are the first {_FOUND}; there may be more.")


@click.command()
@click.option("--follow", is_flag=True, help="Go on until interrupted.")
@click.option("--after", default="", metavar="CURSOR", help="Only what happened after this cursor.")
@json_option
@data_option
def events(follow: bool, after: str, as_json: bool, data: str) -> None:
    """Print what happened, in order, each line with its cursor; none is left out."""
    with connect(data) as client:
        while True:
            ask = partial(client.events, after=after, limit=1000)
            page = patiently(ask, shown=not as_json) if follow else ask()
            for event in page.items:
                give(event) if as_json else _event(event)
            after = page.next
            if not page.items and not follow:
                return
            if not page.items:
                time.sleep(_POLL)


def _event(event: Event) -> None:
    told = {
        key: value for key, value in event.body.items() if value is not None and not isinstance(value, (list, dict))
    }
    detail = " ".join(f"{key}={value}" for key, value in told.items())
    say(f"{event.cursor:<14} {moment(event.at)}  {event.kind:<20} {event.dataset or '-'}  {detail}")


@click.command()
@json_option
@data_option
def status(as_json: bool, data: str) -> None:
    """Show queues, drives, tapes, disk areas and the last errors."""
    with connect(data) as client:
        found = client.status()
    if as_json:
        give(found)
    else:
        _status(found)


def _status(found: Status) -> None:
    say(f"Site {found.site}, Holdfast {found.version}")
    say(f"{found.datasets} datasets ({found.safe} safe), {found.files} files, {size(found.bytes)}\n")
    if found.queues:
        table(
            ("queue", "waiting", "running"),
            [(q.queue, f"{q.waiting}", f"{q.running}") for q in found.queues],
            right=(1, 2),
        )
        say("")
    drives = [(d.drive, d.tape or "-", f"{d.mounts_last_day}", f"{d.busy:.0%}", told(d)) for d in found.drives]
    table(("drive", "tape", "mounts 24 h", "in use 24 h", ""), drives, right=(2, 3))
    out = sum(d.reason is not None for d in found.drives)
    warned = [t.serial for t in found.tapes if t.warned]
    say(
        f"{found.mounts_last_day} mounts in 24 hours; {out} of {len(found.drives)} drives out of use; "
        f"tapes that may be about to fail: {', '.join(warned) or 'none'}\n"
    )
    rows = [
        (
            t.serial,
            t.media_type,
            t.state,
            size(t.capacity),
            size(t.free),
            f"{t.copies}",
            t.problem.sentence if t.problem else "",
        )
        for t in found.tapes
    ]
    table(("tape", "type", "state", "capacity", "free", "copies", ""), rows, right=(3, 4, 5))
    say("")
    areas = [
        (a.name, a.path, size(a.total), size(a.free), size(a.reserved), size(a.used), size(a.mark)) for a in found.areas
    ]
    table(("area", "path", "disk", "free", "reserved", "used", "mark"), areas, right=(2, 3, 4, 5, 6))
    if found.errors:
        say("\nlast errors:")
    for error in found.errors:
        say(f"  {moment(error.at)}  {error.kind}  {error.dataset or '-'}  {error.sentence}")


COMMANDS = (ls, show, find, events, status)
