# SPDX-License-Identifier: Apache-2.0
"""Packing: the files of one segment become one package in staging, a bag or a file as it is.

Commit point: the transaction that moves the package to `staged`, with the digests and places of its files; the sidecar
of a plain package is kept there too, and written with each copy. Staging is
not made durable: the source is still there, and whoever writes the copies checks the digest of what was staged.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from holdfast.catalog import events, jobs, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, datasets, packages
from holdfast.crashpoint import crash_point
from holdfast.errors import HoldfastError, IntegrityError, LostClaim, UsageError
from holdfast.model.entry import Packed
from holdfast.model.policy import CopyFact, copies_owed
from holdfast.packaging.plain import write_plain
from holdfast.packaging.writer import PackOptions, Written, write_package
from holdfast.services import documents
from holdfast.services.archive import Archive, contract, dataset_row, described, staged_file
from holdfast.services.reserve import reserve_staging

_LOG = logging.getLogger(__name__)
_PROGRESS_EVERY: Final = 0.5  # seconds between two notes of progress
# Tar headers, manifests and incompressible data make a package at most this much larger than its files.
_OVERHEAD: Final = 1.02
# Smaller packages stay in the page cache until they are on their tapes; larger ones would push everything else out.
_CACHED: Final = 2_000_000_000  # bytes
_PER_FILE: Final = 2048  # bytes, likewise


def pack(archive: Archive, package: str) -> None:
    """Pack one package, if nobody else does. A source that changed or cannot be read ends its dataset."""
    with archive.database.claim(f"package:{package}") as held:
        if not held:
            return
        with archive.database.transaction() as conn:
            row = packages.move(conn, "claim", to="packing", id=package)
            if row is None:
                return
            dataset = dataset_row(conn, row["dataset"])
            planned = listings.of_segment(conn, row["dataset"], row["segment"])
            history = documents.of_dataset(conn, dataset)
        crash_point("pack.begun")
        _sweep(archive, row)
        try:
            written = _write(archive, row, dataset, planned, history)
            crash_point("pack.written")
            _commit(archive, row, dataset, written)
        except (IntegrityError, UsageError) as error:
            if dataset["landing"]:  # what people added is kept, whatever is wrong with the folder
                _again(archive, row, error)
                return
            staged_file(archive, row).unlink(missing_ok=True)
            fail_dataset(archive, row["dataset"], error)
        except LostClaim:
            staged_file(archive, row).unlink(missing_ok=True)
        except HoldfastError as error:
            _again(archive, row, error)


def _sweep(archive: Archive, row: Row) -> None:
    """Remove what earlier attempts left; we hold the claim, so nobody needs it."""
    for file in archive.settings.staging_path.glob(f"{row['id']}.*.package"):
        file.unlink(missing_ok=True)


def _write(archive: Archive, row: Row, dataset: Row, planned: list[Packed], history: dict[str, bytes]) -> Written:
    profile = contract(dataset)
    entries = [packed.entry for packed in planned]
    needed = int(row["payload"] * _OVERHEAD) + _PER_FILE * len(planned)
    write = write_plain if row["packaging"] == "plain" else write_package
    with reserve_staging(archive, f"pack:{row['id']}", needed):
        return write(
            documents.identity(dataset, row, entries),
            entries,
            root=bytes(dataset["source"]),
            documents=history,
            sinks=[staged_file(archive, row)],
            options=PackOptions(level=profile.compression_level, direct=row["payload"] > _CACHED, durable=False),
            progress=_progress(archive, row),
            cancelled=archive.stopping.is_set,
        )


def _progress(archive: Archive, row: Row) -> Callable[[int, int], None]:
    last = time.monotonic()

    def note(files: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last < _PROGRESS_EVERY:
            return
        last = time.monotonic()
        # Progress is a courtesy: a database that is away for a moment must not end the packing.
        with suppress(HoldfastError), archive.database.transaction() as conn:
            packages.run(conn, "progress", id=row["id"], attempt=row["attempt"], files=files, bytes=size)

    return note


def _commit(archive: Archive, row: Row, dataset: Row, written: Written) -> None:
    with archive.database.transaction() as conn:
        staged = packages.move(
            conn, "staged", to="staged", id=row["id"], attempt=row["attempt"], size=written.size, digest=written.digest,
            sidecar=written.sidecar.decode() if written.sidecar is not None else None,
        )  # fmt: skip
        if staged is None:
            raise LostClaim(what=f"package {row['id']}")
        listings.replace(conn, row["dataset"], row["segment"], written.members)
        plan_copies(conn, row["id"], contract(dataset).copies)
        events.add(
            conn, archive.site, "package.staged", dataset=row["dataset"], package=row["id"], size=written.size,
            payload=row["payload"], files=row["files"], blake3=written.digest,
        )  # fmt: skip
        close_if_packed(archive, conn, row["dataset"])
        jobs.defer(conn, "write", "next")
    crash_point("pack.committed")


def close_if_packed(archive: Archive, conn: Connection, dataset: str) -> None:
    """Close the dataset when its last package is packed (P1)."""
    # Two packages that end together must see each other: the second waits here for the first.
    conn.execute("select from dataset where id = %s for update", [dataset])
    if datasets.move(conn, "close_if_packed", to="closed", id=dataset):
        events.add(conn, archive.site, "dataset.closed", dataset=dataset)


def plan_copies(conn: Connection, package: str, wanted: int) -> None:
    """Add the copies that the profile wants and nobody planned; those on tapes that are to be emptied do not count."""
    rows = copies.all(conn, "of_package", package=package)
    staying = [CopyFact(row["state"], row["tape"]) for row in rows if row["tape_state"] != "repacking"]
    taken = {row["number"] for row in rows if row["state"] not in {"lost", "retired"}}
    free = (number for number in itertools.count(1) if number not in taken)
    for number in itertools.islice(free, copies_owed(wanted, staying)):
        copies.run(conn, "insert", package=package, number=number)


def _again(archive: Archive, row: Row, error: HoldfastError) -> None:
    _LOG.warning("package %s: %s", row["id"], error.sentence)
    staged_file(archive, row).unlink(missing_ok=True)
    with archive.database.transaction() as conn:
        waiting = described(error, row["problem"])
        if packages.move(conn, "again", to="planned", id=row["id"], attempt=row["attempt"], **waiting):
            found = waiting["problem"].obj
            if found["tries"] == 1:
                events.add(conn, archive.site, "package.problem", dataset=row["dataset"], package=row["id"], **found)


def fail_dataset(archive: Archive, dataset: str, error: HoldfastError) -> None:
    """End a dataset whose source cannot be archived: nothing of it stays but a tombstone with the reason."""
    found = described(error)["problem"]
    with archive.database.transaction() as conn:
        if not datasets.move(conn, "fail", to="deleted", id=dataset, problem=found):
            return
        packages.move(conn, "retire_all", to="retired", dataset=dataset)
        copies.move(conn, "retire_all", to="retired", dataset=dataset)
        listings.delete(conn, dataset)
        events.add(conn, archive.site, "dataset.failed", dataset=dataset, **found.obj)
    sweep_staging(archive)


def sweep_staging(archive: Archive) -> None:
    """Remove files from staging that no package needs: of ended attempts, ended repairs, released and retired packages."""
    folder: Path = archive.settings.staging_path
    # List first: a file made after the question is not in the list, so it cannot be removed by mistake.
    files = {file.name: file for file in folder.glob("*.package")}
    if not files:
        return
    with archive.database.transaction() as conn:
        needed = {staged_file(archive, row).name for row in packages.all(conn, "in_staging")}
        needed |= {staged_file(archive, row).name for row in packages.all(conn, "in_repair")}
    for name in files.keys() - needed:
        files[name].unlink(missing_ok=True)
