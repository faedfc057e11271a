# SPDX-License-Identifier: Apache-2.0
"""Removing the source of a safe dataset: plan -> print -> apply (P3).

A file goes only if its bytes, read again now, have the digest that was archived. Commit point of a file: its unlink,
after the evidence of the whole dataset was recorded.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
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
from holdfast.services.archive import Archive, contract, dataset_row, described
from holdfast.services.proof import evidence

_LOG = logging.getLogger(__name__)
_BLOCK: Final = 4 << 20  # bytes
_NAMED: Final = 1000  # differing files that are listed
_PROGRESS_EVERY: Final = 0.5  # seconds
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
    if contract(row).release == "never" and not row["landing"]:
        raise Conflict(what=f"The source of dataset {dataset} stays: its profile {row['profile']} says so.")
    releases.run(
        conn, "insert", id=ident, site=archive.site, dataset=dataset, person=person, apply=apply, evidence=Jsonb(proof)
    )
    jobs.defer(conn, "release", ident)
    return ident


def _proof(conn: Connection, row: Row) -> list[dict[str, Any]]:
    """Return the evidence that every package has its proven copies. Raises Conflict when one has not."""
    wanted = contract(row).copies
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
        for packed, arrived in self._files():
            if why := _difference(self.root, packed, _digest_of(packed), arrived):
                if why != "is not there any more":
                    kept += 1
                if len(differing) < _NAMED:
                    differing.append({"path": printable(packed.entry.path), "why": why})
            else:
                files, size = files + 1, size + _size(packed)
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
            proof = _proof(conn, self.dataset)  # again: a copy may have been lost since the plan
            if not releases.move(conn, "applying", to="applying", **self.key) and self.row["state"] != "applying":
                raise LostClaim(what="this release")
            if self.row["state"] != "applying":
                events.add(
                    conn, self.archive.site, "source.releasing", dataset=self.dataset["id"], person=self.row["person"],
                    release=self.row["id"], files=self.row["files"], evidence=proof,
                )  # fmt: skip
        for packed, arrived in self._files():
            if removed >= self.row["files"]:  # the ceiling
                break
            if _difference(self.root, packed, _digest_of(packed), arrived) is None:
                _unlink(self.root, packed.entry.path)
                removed += 1
                crash_point("release.source")
                self._note(removed)
        _remove_empty_folders(self.root)
        mine = self.dataset["landing"] and not self.row["kept"]
        if mine:  # what is left has no row: killed calls left it
            shutil.rmtree(self.root, ignore_errors=True)
        with self.archive.database.transaction() as conn:
            if releases.move(conn, "done", to="done", **self.key, removed=removed):
                if mine:
                    landed.run(conn, "forget", dataset=self.dataset["id"])
                datasets.run(conn, "source_released", id=self.dataset["id"])
                events.add(
                    conn, self.archive.site, "source.released", dataset=self.dataset["id"], person=self.row["person"],
                    release=self.row["id"], removed=removed, kept=self.row["kept"],
                )  # fmt: skip

    def _files(self) -> Iterator[tuple[Packed, bytes]]:
        """Yield the files and links, files in parts once, by their last part, each with the BLAKE3 that it came with."""
        ident = self.dataset["id"]
        with self.archive.database.transaction() as conn:
            for _, packed in listings.walk(conn, ident):
                if packed.entry.kind != "directory" and listings.is_last(packed):
                    rows = (
                        landed.all(conn, "those", dataset=ident, paths=[packed.entry.path])
                        if self.dataset["landing"]
                        else []
                    )
                    yield packed, bytes(rows[0]["blake3"]) if rows else b""

    def _note(self, removed: int) -> None:
        if time.monotonic() - self._noted < _PROGRESS_EVERY:
            return
        self._noted = time.monotonic()
        with suppress(HoldfastError), self.archive.database.transaction() as conn:
            releases.run(conn, "progress", **self.key, removed=removed)


def _digest_of(packed: Packed) -> bytes:
    return packed.whole_digest if packed.entry.part else packed.location.digest


def _size(packed: Packed) -> int:
    return packed.entry.whole_size if packed.entry.part else packed.entry.size


def _difference(root: bytes, packed: Packed, digest: bytes, arrived: bytes) -> str | None:
    """Return why the source's file is not what was archived, None when it is byte-identical.

    `arrived` is the BLAKE3 that it had when it was added, empty for one that was not: so what is on tape is what came.
    """
    full = os.path.join(root, packed.entry.path)
    try:
        if packed.entry.kind == "link":
            return None if os.readlink(full) == packed.entry.target else "leads elsewhere"
        descriptor = os.open(full, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return "is not there any more"
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0)}"
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != _size(packed):
            return "has another size"
        try:
            hasher, as_it_came = hashlib.sha512(), blake3()
            while block := file.read(_BLOCK):
                hasher.update(block)
                if arrived:
                    as_it_came.update(block)
        except OSError as error:
            return f"cannot be read: {os.strerror(error.errno or 0)}"
        if arrived and as_it_came.digest() != arrived:
            return "is not what was added"
        return None if hasher.digest() == digest else "has other content"


def _unlink(root: bytes, path: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(os.path.join(root, path))


def _remove_empty_folders(root: bytes) -> None:
    """Remove folders that hold nothing any more, the source folder itself excepted."""
    for folder, _, _ in os.walk(root, topdown=False):
        if folder != root:
            with suppress(OSError):
                os.rmdir(folder)
