# SPDX-License-Identifier: Apache-2.0
"""Commands that change something: archive, verify, release."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from holdfast.cli.download import compare
from holdfast.cli.exits import PARTIAL, exit_of_code
from holdfast.cli.options import connect, data_option, json_option, patiently, wait_option
from holdfast.cli.output import Bar, give, progress, say, size
from holdfast.cli.values import HELP, pair
from holdfast.client import Client
from holdfast.errors import Refused
from holdfast.wire.datasets import Copy, DatasetDetail
from holdfast.wire.requests import Release

POLL: Final = 0.3  # seconds between two looks at long work


@click.command(epilog=HELP)
@click.argument("directory", metavar="DIR")
@click.option("--title", required=True, help="What the dataset is called.")
@click.option(
    "--profile",
    default="twin-tape",
    show_default=True,
    help="The contract that it is kept under: twin-tape, single-tape, plain-twin-tape, or one of your site.",
)
@click.option("--group", help="Whose members have their roles to it.  [default: the one whose folder DIR is in]")
@click.option("--meta", multiple=True, metavar="KEY=VALUE", help="Metadata; may be given several times.")
@wait_option
@json_option
@data_option
def archive(
    directory: str,
    title: str,
    profile: str,
    group: str | None,
    meta: tuple[str, ...],
    wait: bool,
    as_json: bool,
    data: str,
) -> None:
    """Archive the folder DIR of the server in place.

    Its file list is recorded, its files are packed, written to two tapes and read back. The folder itself stays as it
    is; `holdfast release` removes it when the copies are proven.
    """
    metadata = dict(map(pair, meta))
    with connect(data) as client:
        try:
            ident = client.archive(
                os.path.abspath(directory), title=title, profile=profile, metadata=metadata, group=group
            ).id
            if not as_json and not wait:
                say(f"Registered as dataset {ident}. Follow it with: holdfast show {ident}")
        except Refused as error:
            if error.of != "already-archived":
                raise
            ident = str(error.details["dataset"])
            if not as_json:
                say(error.sentence)
        found = wait_safe(client, ident, shown=not as_json) if wait else client.dataset(ident)
    if as_json:
        give(found)
    elif wait and found.safe_at:
        stored = sum(package.size or 0 for package in found.packages)
        tapes = sorted({copy.tape for package in found.packages for copy in package.copies if copy.tape})
        say(
            f"Dataset {ident} is safe: {found.files} files, {size(found.bytes)}, in {len(found.packages)} "
            f"package{'s' if len(found.packages) != 1 else ''} of {size(stored)} on {', '.join(tapes)}."
        )
    end(found)


def end(found: DatasetDetail) -> None:
    """Leave with the code of why a dataset could not be archived, if it could not."""
    if found.problem and (found.state == "deleted" or _reopened(found)):
        say(f"holdfast: {found.problem.sentence}", err=True)
        raise click.exceptions.Exit(exit_of_code(found.problem.code))


def _reopened(found: DatasetDetail) -> bool:
    """Say whether a dataset in landing is open: it was not closed, or could not be."""
    return found.state == "open" and found.landing and not found.closing


def wait_safe(client: Client, ident: str, *, shown: bool) -> DatasetDetail:
    """Wait until a dataset is safe or has ended, with progress and the reason of whatever waits (P9)."""
    told = ""
    with progress(shown=shown) as bar:
        while True:
            found = patiently(partial(client.dataset, ident), shown=shown)
            _show_progress(bar, found)
            if found.safe_at or _reopened(found) or found.state == "deleted":
                return found
            reason = next((item.problem.sentence for item in found.pending if item.problem), "")
            if shown and reason and reason != told:
                say(f"waiting: {reason}", err=True)
                told = reason
            time.sleep(POLL)


def _show_progress(bar: Bar, found: DatasetDetail) -> None:
    packed = sum(package.packed_bytes for package in found.packages)
    files = sum(package.packed_files for package in found.packages)
    stored = sum(package.size or 0 for package in found.packages)
    wanted = {package.id: max(len(package.copies), 1) for package in found.packages}
    total = sum((package.size or 0) * wanted[package.id] for package in found.packages)
    copies = [(package.size or 0, copy) for package in found.packages for copy in package.copies]
    bar.at("pack", done=packed, total=found.bytes, note=f"{files} of {found.files} files")
    if stored:
        bar.at("write", done=sum(_done(c, size, "writing", {"written", "verified"}) for size, c in copies), total=total)
        bar.at("verify", done=sum(_done(c, size, "written", {"verified"}) for size, c in copies), total=total)


def _done(copy: Copy, size: int, under_way: str, ended: set[str]) -> int:
    """Return the bytes of a copy that a step has done."""
    return size if copy.state in ended else min(copy.moved, size) if copy.state == under_way else 0


@click.command()
@click.argument("dataset", metavar="ID|DIR")
@click.option("--against", metavar="ID", help="Compare the folder DIR of this machine with dataset ID instead.")
@json_option
@data_option
def verify(dataset: str, against: str | None, as_json: bool, data: str) -> None:
    """Read all copies of dataset ID again from their tapes and compare them with their checksums.

    With --against, compare a folder of this machine with what was archived.
    """
    with connect(data) as client:
        if against:
            compare(client, against, Path(dataset), as_json=as_json)
            return
        asked = client.check(dataset)
        wanted = set(asked.copies)
        with progress(shown=not as_json) as bar:
            while True:
                found = patiently(partial(client.dataset, dataset), shown=not as_json)
                copies = {copy.id: copy for package in found.packages for copy in package.copies if copy.id in wanted}
                done = [c for c in copies.values() if c.state in {"lost", "retired"} or _fresh(c, asked.asked_at)]
                read = sum((c.size or 0) if c in done else c.moved for c in copies.values())
                bar.at("verify", done=read, total=sum(c.size or 0 for c in copies.values()))
                if len(done) == len(copies):
                    break
                time.sleep(POLL)
    bad = [copy for copy in copies.values() if copy.state != "verified"]
    right, missing = len(copies) - len(bad), unread(found, wanted)
    if as_json:
        told = [c.model_dump(mode="json") for c in bad]
        give({"id": dataset, "verified": right, "bad": told, "unread": missing})
    else:
        for copy in copies.values():
            verdict = "read back and right" if copy.state == "verified" else "LOST: it is being replaced from its twin"
            say(f"{copy.tape}  {size(copy.size)}  {verdict}")
        say(f"{right} of {len(copies) + missing} copies of dataset {dataset} are right.")
        if missing:
            say(f"{missing} were not read: they are not proven on tape yet. holdfast show {dataset} tells why.")
    if bad:
        raise click.exceptions.Exit(exit_of_code("integrity"))
    if missing or not right:
        raise click.exceptions.Exit(PARTIAL)


def unread(found: DatasetDetail, read: set[int]) -> int:
    """Return how many copies there should be beyond those that were read; one that was lost stands for its replacement."""
    count = 0
    for package in found.packages:
        if package.state != "retired":
            there = sum(copy.state not in {"lost", "retired"} for copy in package.copies)
            count += max(there - sum(copy.id in read for copy in package.copies), 0)
    return count


def _fresh(copy: Any, asked_at: Any) -> bool:
    return copy.state == "verified" and copy.verified_at is not None and copy.verified_at >= asked_at


@click.command()
@click.argument("dataset", metavar="ID")
@click.option("--apply", is_flag=True, help="Remove the files; without it the plan is printed.")
@json_option
@data_option
def release(dataset: str, apply: bool, as_json: bool, data: str) -> None:
    """Plan the removal of the source of dataset ID; with --apply, do it.

    Every file is read again and only those go that are byte-identical to what is archived and proven on its tapes.
    """
    with connect(data) as client:
        plan = client.release(dataset, apply=apply)
        with progress(shown=not as_json) as bar:
            while plan.state not in {"done", "failed"} and not (plan.state == "planned" and not apply):
                time.sleep(POLL)
                plan = patiently(partial(client.released, plan.id), shown=not as_json)
                bar.at("release", done=plan.removed, total=plan.files)
    if as_json:
        give(plan)
    else:
        _print_plan(plan)
    if plan.state == "failed" and plan.problem:
        raise click.exceptions.Exit(exit_of_code(plan.problem.code))
    if plan.kept:
        raise click.exceptions.Exit(PARTIAL)


def _print_plan(plan: Release) -> None:
    if plan.problem:
        say(f"holdfast: {plan.problem.sentence}", err=True)
    tapes = sorted({item["tape"] for item in plan.evidence})
    say(f"Evidence: {len(plan.evidence)} verified copies on {', '.join(tapes)}.")
    for item in plan.differing:
        say(f"stays    {item.path}: it {item.why}")
    say(f"{plan.files} files ({size(plan.bytes)}) are identical to what is archived; {plan.kept} stay.")
    if plan.state == "done":
        say(f"{plan.removed} files were removed.")
    elif plan.state == "planned":
        say(f"Nothing was removed. To remove them: holdfast release {plan.dataset} --apply")


COMMANDS = (archive, verify, release)
