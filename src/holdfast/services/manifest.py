# SPDX-License-Identifier: Apache-2.0
"""The manifest of a tape: written at the end of a session, read first when the catalogue is made again (P5).

It says what the session wrote, so that a rebuild reads one file and not the begin and the end of each package. Nothing
depends on it: what no manifest covers is opened itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import BinaryIO, Final

from blake3 import blake3

from holdfast.catalog import listings
from holdfast.catalog.database import Row
from holdfast.catalog.queries import copies, packages
from holdfast.errors import DigestMismatch, NoSpace, NotFound
from holdfast.model.entry import Packed
from holdfast.packaging.tapemanifest import Head, Listed, Manifest, manifest_bytes, manifest_name
from holdfast.services import documents
from holdfast.services.archive import Archive, dataset_row
from holdfast.services.proof import DIGEST_ATTRIBUTE
from holdfast.tape.library import FileOnTape, TapeSession

_BLOCK: Final = 1 << 20  # bytes


def write_manifest(archive: Archive, session: TapeSession, packages: Sequence[str]) -> None:
    """Write what this tape says of those packages that have a copy on it; the caller syncs the session.

    Nothing is written when there are none. Raises TapeFull, MediumFailed, DatabaseUnavailable; then nothing is lost but
    the time to open each of these packages in a rebuild.
    """
    with archive.database.transaction() as conn:
        rows = copies.all(conn, "of_manifest", tape=session.serial, packages=list(packages))
    if not rows:
        return
    now = datetime.now(UTC)
    head = Head(session.serial, archive.site, now, archive.library.stat(session.serial).generation)
    number = 1
    while session.find(name := manifest_name(now, number)):
        number += 1
    hasher = blake3()

    def hashed() -> Iterator[bytes]:
        for piece in manifest_bytes(head, _listed(archive, rows)):
            hasher.update(piece)
            yield piece

    session.write(name, hashed(), {})
    session.set_attributes(name, {DIGEST_ATTRIBUTE: hasher.hexdigest()})


def _listed(archive: Archive, rows: Sequence[Row]) -> Iterator[tuple[Listed, Sequence[Packed]]]:
    """Yield what is told of each package, one at a time, with its members."""
    about: tuple[str, dict[str, bytes]] = ("", {})  # the documents of one dataset, whose packages lie together
    for row in rows:
        # A transaction for each: none stays open while the tape writes.
        with archive.database.transaction() as conn:
            package = packages.first(conn, "by_id", id=row["package"])
            if package is None:
                raise NotFound(kind="package", name=row["package"])
            dataset = dataset_row(conn, package["dataset"])
            members: list[Packed] = []
            if package["sidecar"] is None:
                members = listings.of_segment(conn, package["dataset"], package["segment"])
                if about[0] != dataset["id"]:
                    about = dataset["id"], documents.of_dataset(conn, dataset)
        place = (package["name"], package["size"], row["start_block"], package["digest"])
        said = {key: row[key].isoformat() for key in ("written_at", "verified_at") if row[key]}
        if package["sidecar"] is None:
            identity = documents.identity(dataset, package, [packed.entry for packed in members])
            yield Listed(*place, identity, about[1], evidence=said, members=len(members)), members
        else:
            yield Listed(*place, sidecar=package["sidecar"], evidence=said), members


@contextmanager
def opened_manifest(archive: Archive, session: TapeSession, file: FileOnTape) -> Iterator[Manifest]:
    """Copy a manifest from its tape, compare its digest and yield it for reading.

    Raises DigestMismatch, NotAPackage, Damaged, NoSpace, MediumFailed.
    """
    with tempfile.TemporaryFile(dir=archive.settings.staging_path) as copied:
        hasher = blake3()
        try:
            for chunk in session.read(file.name):
                hasher.update(chunk)
                copied.write(chunk)
            copied.seek(0)
        except OSError as error:
            raise NoSpace(area=archive.settings.staging_path, needed=file.size, free=0) from error
        if hasher.hexdigest() != file.attributes.get(DIGEST_ATTRIBUTE):
            raise DigestMismatch(name=file.name)
        yield Manifest(_chunks(copied), file.name)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_BLOCK):
        yield chunk
