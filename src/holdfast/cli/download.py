# SPDX-License-Identifier: Apache-2.0
"""Commands that bring files to this machine over the network: download, checksums, and verify --against."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from holdfast.cli.exits import PARTIAL, exit_of_code
from holdfast.cli.get import end, tell, wait_for
from holdfast.cli.options import connect, data_option, json_option
from holdfast.cli.output import Bar, give, progress, say, size
from holdfast.client import Client
from holdfast.client.content import raw_path, raw_target, sha512_of
from holdfast.client.parallel import in_parallel
from holdfast.errors import HoldfastError, InvalidInput, Refused
from holdfast.wire.datasets import File
from holdfast.wire.requests import Request

_NAMED: Final = 20  # files that are named when something is wrong with them


class _Count:
    """What came of many files, counted by several threads."""

    def __init__(self, bar: Bar, what: str) -> None:
        self._bar, self._what, self._lock = bar, what, threading.Lock()
        self.files = self.bytes = self.moved = self.total = self.here = 0
        self.wrong: list[tuple[str, str]] = []

    def came(self, number: int) -> None:
        with self._lock:
            self.moved += number
            self._bar.at(self._what, done=self.moved, total=self.total, note=f"{self.files} files")

    def done(self, number: int = 0) -> None:
        """Count what is right here, with its bytes."""
        with self._lock:
            self.files += 1
            self.bytes += number

    def met(self) -> None:
        """Count a file or link that is here, whatever is in it."""
        with self._lock:
            self.here += 1

    def failed(self, path: str, why: str) -> None:
        with self._lock:
            self.wrong.append((path, why))


def _local(folder: Path, file: File) -> Path:
    """Return where a file of a dataset is, or goes to, below a folder of this machine. Raises InvalidInput."""
    path = raw_path(file)
    if path.startswith(b"/") or any(part in {b"", b".", b".."} for part in path.split(b"/")):
        raise InvalidInput(what=f"{file.path!r} is not a path inside a dataset.")
    return folder / os.fsdecode(path)


def _inside(path: Path, folder: Path) -> bool:
    """Say whether the folder in which `path` is, or will be, is below `folder`, also behind links on the way to it."""
    return Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(folder))


_union_option = click.option(
    "--union", is_flag=True, help="Also of the datasets that it extends; of each path the newest version."
)


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@_union_option
@click.option("--to", "folder", metavar="DIR", required=True, help="A folder of this machine.")
@click.option("--jobs", default=4, show_default=True, type=click.IntRange(1, 32), help="Files at the same time.")
@json_option
@data_option
def download(
    dataset: str, paths: tuple[str, ...], union: bool, folder: str, jobs: int, as_json: bool, data: str
) -> None:
    """Download files and folders of dataset ID to this machine: those named, or all; from tape if need be.

    Each file gets its name only after its checksum matched. What is there already and right is left alone, and a file that
    was cut off goes on where it ended, so the same command goes on where an earlier one did.
    """
    target = Path(folder)
    with connect(data) as client:
        brought = _bring(client, dataset, paths, union=union, as_json=as_json)
        if brought is None:
            return
        with progress(shown=not as_json) as bar:
            count = _Count(bar, "download")
            count.total = brought or (client.dataset(dataset).bytes if not paths and not union else 0)
            files = _files(client, dataset, paths, union=union)
            in_parallel(files, lambda file: _one(client, file.dataset or dataset, file, target, count), jobs)
    proven = ", each with the checksum it was archived with" if count.files else ""
    _told(count, f"{count.files} files ({size(count.bytes)}) are in {folder}{proven}.", as_json=as_json, failed=PARTIAL)


def _bring(client: Client, dataset: str, paths: Sequence[str], *, union: bool, as_json: bool) -> int | None:
    """Have files come from tape where need be, and return the bytes that came; None when they do not."""
    came, waited = 0, set[str]()
    try:
        while (request := client.bring(dataset, paths, union=union)) and request.id not in waited:
            if not _wait(client, request, as_json=as_json):
                return None
            came += request.bytes
            waited.add(request.id)
            if not union:  # all came with one request; of a union, each dataset has one
                break
    except Refused:
        if not waited:
            raise
    return came


def _wait(client: Client, request: Request, *, as_json: bool) -> bool:
    """Follow the request that brings files from tape; say whether they are ready, else leave the program."""
    found = wait_for(client, request, shown=not as_json)
    if found.state == "ready":  # what of it could not be had is said file by file
        return True
    give(found) if as_json else tell(found)
    end(found)
    return False


def _files(client: Client, dataset: str, paths: Sequence[str], *, union: bool) -> Iterator[File]:
    for path in paths or [""]:
        yield from client.files(dataset, prefix=path.strip("/"), union=union)


def _one(client: Client, dataset: str, file: File, folder: Path, count: _Count) -> None:
    """Bring one file, link or empty folder; a link that is there already is left alone."""
    try:
        path = _local(folder, file)
        if not _inside(path, folder):
            count.failed(file.path, f"a link on the way to it leads out of {folder}; it was not written there")
            return
        if file.kind == "directory":
            path.mkdir(parents=True, exist_ok=True)
        elif file.kind == "link":
            if not _link(path, folder, file):
                count.failed(file.path, f"it is a link to {file.target}, which leads out of {folder}, and was not made")
                return
        elif path.is_file() and path.stat().st_size == file.size and sha512_of(path) == file.sha512:
            count.came(file.size)
        elif path.exists():
            count.failed(file.path, "another file is there already, which was left alone")
            return
        elif client.download(dataset, file, path, progress=count.came):
            count.failed(file.path, "it was removed from the buffer meanwhile; repeat the command")
            return
        count.done(file.size if file.kind == "file" else 0)
    except HoldfastError as error:
        count.failed(file.path, error.sentence)
    except OSError as error:
        count.failed(file.path, f"{error.filename}: {error.strerror}")


def _link(path: Path, folder: Path, file: File) -> bool:
    """Make a link, unless it leads out of `folder`; one that is there is left alone."""
    target = os.fsdecode(raw_target(file))
    # From where its folder really is; behind a name, which may be a link, nobody knows to where ".." leads.
    inside = os.path.normpath(os.path.join(os.path.realpath(path.parent), target))
    down = target.lstrip("./")
    if target.startswith("/") or ".." in down.split("/") or not Path(inside).is_relative_to(os.path.realpath(folder)):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.lexists(path):
        path.symlink_to(target)
    return path.is_symlink()


def _told(count: _Count, sentence: str, *, as_json: bool, failed: int) -> None:
    """Say what came of all files, and leave the program if some were not right."""
    if as_json:
        wrong = [{"path": path, "sentence": why} for path, why in count.wrong]
        give({"files": count.files, "bytes": count.bytes, "wrong": wrong})
    else:
        for path, why in count.wrong[:_NAMED]:
            say(f"{path}: {why}")
        if len(count.wrong) > _NAMED:
            say(f"... and {len(count.wrong) - _NAMED} more.")
        say(sentence)
    if count.wrong:
        raise click.exceptions.Exit(failed)


def compare(client: Client, dataset: str, folder: Path, *, as_json: bool) -> None:
    """Compare a folder of this machine with a dataset, file by file, and say what is missing, different or more."""
    if not folder.is_dir():
        raise InvalidInput(what=f"{folder} is not a folder.")

    def look(file: File) -> None:
        try:
            path = _local(folder, file)
            if os.path.lexists(path) and (path.is_symlink() or not path.is_dir()):
                count.met()
            if not os.path.lexists(path):
                count.failed(file.path, "is missing")
            elif file.kind == "link":
                same = path.is_symlink() and os.fsencode(os.readlink(path)) == raw_target(file)
                count.done() if same else count.failed(file.path, "is not the same link")
            elif file.kind == "directory":
                count.done() if path.is_dir() else count.failed(file.path, "is no folder")
            elif path.is_symlink() or path.stat().st_size != file.size or sha512_of(path) != file.sha512:
                count.failed(file.path, "is different")
            else:
                count.came(file.size)
                count.done(file.size)
        except OSError as error:
            count.failed(file.path, f"cannot be read: {error.strerror}")

    with progress(shown=not as_json) as bar:
        count = _Count(bar, "compare")
        count.total = client.dataset(dataset).bytes
        in_parallel(client.files(dataset), look, os.cpu_count() or 1)
        more = -count.here
        for at, folders, names in os.walk(folder):  # which has links to folders among these
            more += len(names) + sum(os.path.islink(os.path.join(at, name)) for name in folders)
    note = f" {more} files in {folder} are not in the dataset." if more > 0 else ""
    _told(count, f"{count.files} of {count.files + len(count.wrong)} files are as they were archived.{note}",
          as_json=as_json, failed=exit_of_code("integrity"))  # fmt: skip


@click.command()
@click.argument("dataset", metavar="ID")
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@_union_option
@data_option
def checksums(dataset: str, paths: tuple[str, ...], union: bool, data: str) -> None:
    """Print the SHA-512 of the files of dataset ID, as `sha512sum -c` reads them."""
    with connect(data) as client:
        for piece in client.checksums(dataset, paths, union=union):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


COMMANDS = (download, checksums)
