# SPDX-License-Identifier: Apache-2.0
"""Removing the source of a safe dataset: plan -> print -> apply (P3).

A file goes only if its bytes, read again now, have the digest that was archived. Commit point of a file: its unlink,
after the evidence of the whole dataset was recorded.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

from blake3 import blake3
from psycopg.types.json import Jsonb

from holdfast.catalog import events, jobs, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, landed, packages, releases
from holdfast.crashpoint import crash_point
from holdfast.errors import Conflict, HoldfastError, LostClaim, TransientError
from holdfast.model.entry import Packed
from holdfast.model.ids import new_id
from holdfast.model.names import printable
from holdfast.packaging.sources import FILE, SourceFolder, is_changed, opened_root
from holdfast.services import landing
from holdfast.services.archive import Archive, contract, dataset_row, described
from holdfast.services.proof import evidence

_LOG = logging.getLogger(__name__)
_BLOCK: Final = 4 << 20  # bytes
_NAMED: Final = 1000  # differing files that are listed
_PROGRESS_EVERY: Final = 0.5  # seconds
_GONE: Final = "is not there any more"
ITSELF: Final = "holdfast"  # who asks for what the archive does by itself


def want_release(archive: Archive, dataset: str, *, person: str, apply: bool, ident: str | None = None) -> str:
    """Ask for the source of a dataset to be compared with the archive and, with `apply`, removed where identical.

    `ident`, the id of the release, makes it repeatable.

    Raises NotFound, Conflict (not every package has its proven copies, or there is no source).
    """
    with archive.database.transaction() as conn:
        if ident and releases.first(conn, "by_id", id=ident):
            return ident
        return _want(archive, conn, dataset, person=person, apply=apply, ident=ident or new_id())


def release_landing(archive: Archive, conn: Connection, dataset: str) -> bool:
    """Have the folder in landing of a safe dataset removed, on the evidence of any other release (P3)."""
    try:
        _want(archive, conn, dataset, person=ITSELF, apply=True, ident=new_id())
    except Conflict:
        return False  # a copy was lost since; it is asked again
    return True


def _want(archive: Archive, conn: Connection, dataset: str, *, person: str, apply: bool, ident: str) -> str:
    row = dataset_row(conn, dataset)
    proof = _proof(conn, row)
    if row["source"] is None:
        raise Conflict(what=f"Dataset {dataset} has no source folder on this server.")
    releases.run(
        conn, "insert", id=ident, site=archive.site, dataset=dataset, person=person, apply=apply, evidence=Jsonb(proof)
    )
    jobs.defer(conn, "release", ident)
    return ident


def _proof(conn: Connection, row: Row) -> list[dict[str, Any]]:
    """Return the evidence that every package has its proven copies. Raises Conflict when one has not, or the source stays."""
    wanted = contract(row).copies
    if contract(row).release == "never" and not row["landing"]:
        raise Conflict(what=f"The source of dataset {row['id']} stays: its profile {row['profile']} says so.")
    proof = evidence(conn, dataset=row["id"])
    tapes_of: dict[str, set[str]] = {}
    for item in proof:
        tapes_of.setdefault(item["package"], set()).add(item["tape"])
    rows = packages.all(conn, "of_dataset", dataset=row["id"])
    short = [package["id"] for package in rows if len(tapes_of.get(package["id"], ())) < wanted]
    if row["state"] != "closed" or short or not rows:
        raise Conflict(
            what=f"Dataset {row['id']} is not safe yet: its source stays until every package has {wanted} verified "
            f"copies ({len(short)} of {len(rows)} packages have not)."
        )
    return proof


def free(archive: Archive, release: str) -> None:
    """Compare the source with the archive and remove what is identical, if that was asked and nobody else does it."""
    with archive.database.claim(f"release:{release}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            row = releases.first(conn, "claim", id=release)
            if row is None:
                return
            dataset = dataset_row(conn, row["dataset"])
        work = _Release(archive, row, dataset)
        try:
            if row["state"] == "asked":
                work.plan()
            if row["apply"]:
                work.apply()
        except LostClaim:
            return
        except TransientError as error:
            with archive.database.transaction() as conn:
                problem = described(error, row["problem"])["problem"]
                releases.run(conn, "problem", id=release, attempt=row["attempt"], problem=problem)
        except HoldfastError as error:
            with archive.database.transaction() as conn:
                problem = described(error, row["problem"])["problem"]
                releases.move(conn, "failed", to="failed", id=release, attempt=row["attempt"], problem=problem)


class _Release:
    """One attempt at one release."""

    def __init__(self, archive: Archive, row: Row, dataset: Row) -> None:
        self.archive, self.row, self.dataset = archive, row, dataset
        self.root = bytes(dataset["source"])
        self.key = {"id": row["id"], "attempt": row["attempt"]}
        self._noted = time.monotonic()

    def plan(self) -> None:
        """Read the source and record what is identical to the archive and what is not."""
        files = size = kept = 0
        differing: list[dict[str, str]] = []
        with _source(self.root) as source:
            for packed, arrived in self._files():
                why, _ = _difference(source, packed, arrived)
                if why:
                    kept += why != _GONE
                    if len(differing) < _NAMED:
                        differing.append({"path": printable(packed.entry.path), "why": why})
                else:
                    files, size = files + 1, size + packed.entry.file_size
        with self.archive.database.transaction() as conn:
            moved = releases.move(
                conn,
                "planned",
                to="planned",
                **self.key,
                files=files,
                bytes=size,
                kept=kept,
                differing=Jsonb(differing),
            )
            if not moved:
                raise LostClaim(what="this release")
            self.row = moved

    def apply(self) -> None:
        """Remove the identical files, never more than were planned."""
        removed = self.row["removed"]
        with self.archive.database.transaction() as conn:
            # Again: a copy may have been lost since the plan, or the dataset been put under another profile.
            conn.execute("select from dataset where id = %s for share", [self.dataset["id"]])
            proof = _proof(conn, dataset_row(conn, self.dataset["id"]))
            if not releases.move(conn, "applying", to="applying", **self.key) and self.row["state"] != "applying":
                raise LostClaim(what="this release")
            if self.row["state"] != "applying":
                events.add(
                    conn, self.archive.site, "source.releasing", dataset=self.dataset["id"], person=self.row["person"],
                    release=self.row["id"], files=self.row["files"], evidence=proof,
                )  # fmt: skip
        left = 0
        with _source(self.root) as source:
            for packed, arrived in self._files():
                why, known = _difference(source, packed, arrived)
                within = removed < self.row["files"]  # the ceiling
                if source and known and within and source.unlink(packed.entry.path, known):
                    removed += 1
                    crash_point("release.source")
                    self._note(removed)
                else:
                    left += why != _GONE
            if source:
                source.remove_empty_folders()
        mine = self.dataset["landing"] and not left
        if mine:  # what is there still has no row: killed calls left it
            shutil.rmtree(self.root, ignore_errors=True)
        with self.archive.database.transaction() as conn:
            if releases.move(conn, "done", to="done", **self.key, removed=removed, kept=left):
                if mine:
                    landed.run(conn, "forget", dataset=self.dataset["id"])
                datasets.run(conn, "source_released", id=self.dataset["id"])
                events.add(
                    conn, self.archive.site, "source.released", dataset=self.dataset["id"], person=self.row["person"],
                    release=self.row["id"], removed=removed, kept=left,
                )  # fmt: skip

    def _files(self) -> Iterator[tuple[Packed, bytes]]:
        """Yield the files and links, files in parts once, by their last part, each with the BLAKE3 that it came with."""
        ident = self.dataset["id"]
        with self.archive.database.transaction() as conn:
            came = landing.files(conn, ident) if self.dataset["landing"] else iter(())
            row = next(came, None)
            for _, packed in listings.walk(conn, ident):
                if packed.entry.kind == "directory" or not listings.is_last(packed):
                    continue
                while row is not None and bytes(row["path"]) < packed.entry.path:  # both are in path order
                    row = next(came, None)
                with_it = row is not None and bytes(row["path"]) == packed.entry.path
                yield packed, bytes(row["blake3"]) if row is not None and with_it else b""

    def _note(self, removed: int) -> None:
        if time.monotonic() - self._noted < _PROGRESS_EVERY:
            return
        self._noted = time.monotonic()
        with suppress(HoldfastError), self.archive.database.transaction() as conn:
            releases.run(conn, "progress", **self.key, removed=removed)


@contextmanager
def _source(root: bytes) -> Iterator[SourceFolder | None]:
    """Give the source folder, None when it is not there any more. Raises SourceUnreadable."""
    if not os.path.lexists(root):
        yield None
        return
    with opened_root(root) as descriptor, closing(SourceFolder(descriptor)) as folder:
        yield folder


def _difference(
    source: SourceFolder | None, packed: Packed, arrived: bytes
) -> tuple[str, None] | tuple[None, os.stat_result]:
    """Return why the source's file is not what was archived or, when it is byte-identical, which file that is.

    `arrived` is the BLAKE3 that it had when it was added, empty for one that was not: so what is on tape is what came.
    """
    if source is None:
        return _GONE, None
    folder, _, name = packed.entry.path.rpartition(b"/")
    try:
        if packed.entry.kind == "link":
            at = source.folder(folder)
            known = os.stat(name, dir_fd=at, follow_symlinks=False)
            same = os.readlink(name, dir_fd=at) == packed.entry.target
            return (None, known) if same else ("leads elsewhere", None)
        descriptor = os.open(name, FILE, dir_fd=source.folder(folder))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            known = os.fstat(descriptor)
            why = _difference_of(file, packed, arrived)
            if why is None and is_changed(known, os.fstat(descriptor)):
                why = "is being written to"
            return (why, None) if why else (None, known)
    except FileNotFoundError:
        return _GONE, None
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0)}", None


def _difference_of(file: io.FileIO, packed: Packed, arrived: bytes) -> str | None:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        return "is no file any more"
    if found.st_size != packed.entry.file_size:
        return "has another size"
    hasher, as_it_came = hashlib.sha512(), blake3()
    while block := file.read(_BLOCK):
        hasher.update(block)
        if arrived:
            as_it_came.update(block)
    if arrived and as_it_came.digest() != arrived:
        return "is not what was added"
    return None if hasher.digest() == packed.file_digest else "has other content"
