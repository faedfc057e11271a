# SPDX-License-Identifier: Apache-2.0
"""The bytes of a package for whoever writes copies: from staging, or recalled from a proven copy for repair."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from blake3 import blake3

from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies
from holdfast.crashpoint import crash_point
from holdfast.errors import Busy, DigestMismatch, HoldfastError, NotFound, OperatorNeeded
from holdfast.model.lifecycle import OUT_OF_USE
from holdfast.services.archive import Archive, recalled_file, staged_file
from holdfast.services.doubt import suspect
from holdfast.services.mounts import mounted
from holdfast.services.reserve import reserve_staging
from holdfast.tape.library import TapeSession

_CHUNK: Final = 4 << 20  # bytes read from staging at once


@contextmanager
def package_file(archive: Archive, row: Row) -> Iterator[Path]:
    """Yield the file with the package: the staged one, or one recalled from a verified copy for repair."""
    if row["state"] == "staged":
        yield staged_file(archive, row)
        return
    recalled = recalled_file(archive, row)
    with reserve_staging(archive, f"repair:{row['id']}", row["size"]):
        try:
            _recall(archive, row, recalled)
            yield recalled
            crash_point("recall.used")
        finally:
            recalled.unlink(missing_ok=True)


def _recall(archive: Archive, row: Row, target: Path) -> None:
    with archive.database.transaction() as conn:
        there = copies.all(conn, "readable", package=row["id"])
    if not there:
        raise OperatorNeeded(what=f"Every copy of {row['name']} is lost: no tape has it as it was archived.")
    failure: HoldfastError = NotFound(kind="verified copy of", name=row["name"])
    for copy in [c for c in there if c["state"] == "verified" and c["tape_state"] not in OUT_OF_USE]:
        try:
            with mounted(archive, [copy["tape"]], "read", "repair") as (session,):
                _copy_out(session, row, target)
        except Busy:
            raise
        except HoldfastError as error:
            failure = error
            suspect(archive, row, copy, error)
        else:
            return
    raise Busy(what=f"{row['name']} cannot be read from any tape now: {failure.sentence}")


def _copy_out(session: TapeSession, row: Row, target: Path) -> None:
    """Copy a package from a tape; a copy that is bad is found here, where it is known which one it is."""
    done, hasher = 0, blake3()
    with target.open("wb") as file:
        for chunk in session.read(row["name"]):
            file.write(chunk)
            hasher.update(chunk)
            done += len(chunk)
            if done * 2 >= row["size"]:
                crash_point("recall.half")
    if (hasher.hexdigest(), done) != (row["digest"], row["size"]):
        raise DigestMismatch(name=f"{row['name']} on {session.serial}")


def chunks(path: Path) -> Iterator[memoryview]:
    """Yield the content of a file in blocks that the drives can take as they are."""
    with path.open("rb", buffering=0) as file:
        while True:
            # Page-aligned memory goes to the drives as it is, without a copy; it is freed with its last reader.
            block = memoryview(mmap.mmap(-1, _CHUNK))
            length = file.readinto(block)
            if not length:
                return
            yield block[:length]
