# SPDX-License-Identifier: Apache-2.0
"""`holdfast inspect`: what is this file or this tape, asked without any archive."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from holdfast.cli.exits import exit_code
from holdfast.cli.options import json_option
from holdfast.cli.output import give, moment, say, size
from holdfast.errors import Damaged, NotAPackage, NotFound
from holdfast.packaging.inspect import Inspected, inspect
from holdfast.packaging.tapemanifest import Head

_SHOWN = 20  # findings that are named; more are counted


@click.command("inspect")
@click.argument("path", metavar="PATH")
@click.option("--deep", is_flag=True, help="Read everything and compare every checksum.")
@json_option
def inspect_path(path: str, deep: bool, as_json: bool) -> None:
    """Tell what the package file PATH is, or what is in the folder PATH: a tape, or what was recovered of one.

    Needs no server and no catalogue. A package of which only the beginning is left still says who it is; the nameless
    pieces in _ltfs_lostandfound are put together. The manifest of a tape says what it names. Nothing is changed.
    """
    if not Path(path).exists():
        raise NotFound(kind="file or folder", name=path)
    found = []
    for item in inspect(Path(path), deep=deep):
        found.append(item)
        if not as_json:
            _tell(item)
    if as_json:
        give({"items": [_plain(item) for item in found]})
    elif Path(path).is_dir():
        _sum(found)
    ours = [item for item in found if item.identity or item.manifest]
    if any(item.findings or not item.whole for item in ours):
        raise click.exceptions.Exit(exit_code(Damaged(name="", why="")))
    if not ours:
        raise click.exceptions.Exit(exit_code(NotAPackage(name="", why="")))


def _tell(item: Inspected) -> None:
    of = f"{item.pieces} pieces, " if item.pieces > 1 else ""
    say(f"{item.name}  ({of}{size(item.size)})")
    who = item.identity
    if item.manifest:
        _tell_manifest(item, item.manifest)
        return
    if who is None:
        say(f"  not a package of Holdfast: {item.why}\n")
        return
    lines = {
        "dataset": f"{who.dataset}, {who.title}",
        "package": f"segment {who.segment} of {who.segments}",
        "from": f"{who.server}:{who.source_path.decode('utf-8', 'replace')}, site {who.site}",
        "owner": who.owner,
        "profile": f"{who.profile}, version {who.profile_version}",
        "made": moment(who.created),
        "content": _content(item),
        "state": _state(item),
    }
    for key, value in lines.items():
        say(f"  {key + ':':<10}{value}")
    for finding in item.findings[:_SHOWN]:
        say(f"    {finding.name}: {finding.what}")
    if len(item.findings) > _SHOWN:
        say(f"    and {len(item.findings) - _SHOWN} more")
    say("")


def _tell_manifest(item: Inspected, head: Head) -> None:
    say(f"  manifest of tape {head.serial}, site {head.site}, {moment(head.time)}")
    say(f"  it names {item.packages} packages with {item.files} files")
    say("" if item.whole else f"  not whole: {item.why}\n")


def _content(item: Inspected) -> str:
    if item.whole:
        return f"{item.files} files, {item.links} links, {item.folders} empty folders, {size(item.payload)}"
    planned = item.identity
    return f"was to hold {planned.members} entries, {size(planned.payload_bytes)}" if planned else ""


def _state(item: Inspected) -> str:
    if not item.whole:
        return f"not whole, only its beginning can be read: {item.why}"
    if not item.checked:
        return "whole; its checksums were not compared (--deep does)"
    return f"whole, but {len(item.findings)} things are wrong" if item.findings else "whole, every checksum is right"


def _sum(found: Iterable[Inspected]) -> None:
    """Say what the folder holds of which dataset."""
    segments: dict[str, set[int]] = {}
    wanted: dict[str, int] = {}
    for item in found:
        if item.identity and item.whole:
            segments.setdefault(item.identity.dataset, set()).add(item.identity.segment)
            wanted[item.identity.dataset] = item.identity.segments
    for dataset, there in sorted(segments.items()):
        lost = sorted(set(range(1, wanted[dataset] + 1)) - there)
        missing = f", without {', '.join(map(str, lost))}" if lost else ", all of it"
        say(f"dataset {dataset}: {len(there)} of {wanted[dataset]} packages are here{missing}")


def _plain(item: Inspected) -> dict[str, Any]:
    """Return the item as JSON has it."""
    who = item.identity
    identity = who and {
        **asdict(who),
        "source_path": who.source_path.decode("utf-8", "replace"),
        "created": who.created.isoformat(),
    }
    manifest = item.manifest and {**asdict(item.manifest), "time": item.manifest.time.isoformat()}
    return {**asdict(item), "identity": identity, "manifest": manifest}


COMMANDS = (inspect_path,)
