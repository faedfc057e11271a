# SPDX-License-Identifier: Apache-2.0
"""Filling an empty catalogue from the tapes alone (P5).

No payload is read, but the first frame, the index and the metadata of a bag, and the sidecar of a plain package.
A tape that cannot be read is reported and the others go on (P10). Running it again adds only what is missing (P11).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from blake3 import blake3
from psycopg.types.json import Jsonb

from holdfast.catalog import events, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, datasets, packages, profiles, tapes
from holdfast.errors import Conflict, Damaged, DigestMismatch, HoldfastError, NotAPackage
from holdfast.model.entry import Packed
from holdfast.model.ids import package_id
from holdfast.model.names import SIDECAR, SUFFIX, sidecar_name
from holdfast.model.profile import Profile
from holdfast.packaging.identity import Identity
from holdfast.packaging.plain import read_sidecar
from holdfast.packaging.reader import open_package
from holdfast.services.archive import Archive
from holdfast.services.deliver import TapeSource
from holdfast.services.mounts import mounted
from holdfast.services.proof import DIGEST_ATTRIBUTE, EVIDENCE_ATTRIBUTE, report_safe
from holdfast.services.twins import files_of
from holdfast.tape.library import FileOnTape, TapeSession

_DRIVE_WAIT: Final = 600.0  # seconds: somebody else may read a whole tape


@dataclass(slots=True)
class Rebuilt:
    """What was found: counts, and what could not be used with the reason."""

    tapes: int = 0
    packages: int = 0
    copies: int = 0
    datasets: set[str] = field(default_factory=set)
    problems: list[tuple[str, str]] = field(default_factory=list)


def rebuild(archive: Archive, *, progress: Callable[[str, int, int], None]) -> Rebuilt:
    """Read all tapes into the catalogue; `progress` gets the serial, the tape's number and the number of tapes.

    Raises Conflict when the catalogue holds datasets that the tapes do not know.
    """
    found = Rebuilt()
    with archive.database.transaction() as conn:
        rows = datasets.all(conn, "page", before=None, before_id=None, limit=1, deleted=True)
        if rows and not events.first_of_kind(conn, "catalogue.rebuilding"):
            raise Conflict(what="The catalogue is not empty. Rebuild into a new data folder.")
        if not rows:
            events.add(conn, archive.site, "catalogue.rebuilding")
    serials = [tape.serial for tape in archive.library.inventory() if tape.state != "missing"]
    for number, serial in enumerate(serials, 1):
        progress(serial, number, len(serials))
        try:
            with mounted(archive, [serial], "read", "rebuild", patience=_DRIVE_WAIT) as (session,):
                _tape(archive, session, found)
            found.tapes += 1
        except HoldfastError as error:
            found.problems.append((serial, error.sentence))
    with archive.database.transaction() as conn:
        # Also those that an earlier run, which was killed, restored.
        for row in datasets.all(conn, "incomplete"):
            _complete(archive, conn, row["id"], found)
        tapes.run(conn, "relate")
    return found


def _tape(archive: Archive, session: TapeSession, found: Rebuilt) -> None:
    # In the order in which they lie on the tape: a sidecar is read just before its file is passed.
    files = {file.name: file for file in sorted(session.list(), key=lambda file: file.start_block)}
    for name, file in files.items():
        if name.endswith(SIDECAR) and name.removesuffix(SIDECAR) in files:
            continue
        try:
            _file(archive, session, file, files.get(sidecar_name(name)), found)
        except HoldfastError as error:
            found.problems.append((f"{session.serial}/{name}", error.sentence))


def _file(archive: Archive, session: TapeSession, file: FileOnTape, beside: FileOnTape | None, found: Rebuilt) -> None:
    dataset, _, rest = file.name.partition(".")
    segment = rest.partition("of")[0]
    package = package_id(dataset, int(segment)) if segment.isdecimal() else ""
    with archive.database.transaction() as conn:
        row = packages.first(conn, "by_id", id=package)
        if row is None:
            opened = _open_bag(session, file) if beside is None else _open_plain(session, file, beside)
            if package_id(opened.identity.dataset, opened.identity.segment) != package:
                raise NotAPackage(name=file.name, why="its name says that it is another one")
            _restore(conn, file, opened)
            found.packages += 1
            found.datasets.add(opened.identity.dataset)
        elif not _same(row, file, beside):
            found.problems.append((f"{session.serial}/{file.name}", "It differs from the other copy of this package."))
            return
        found.copies += _restore_copy(conn, package, session.serial, file)


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a tape says of a package."""

    identity: Identity
    members: Iterable[Packed]
    documents: dict[str, bytes]
    digest: str | None
    sidecar: str | None = None


def _open_bag(session: TapeSession, file: FileOnTape) -> _Opened:
    if file.name.endswith(SIDECAR):
        raise NotAPackage(name=file.name, why="it is a sidecar, and the file that it describes is not on this tape")
    if not file.name.endswith(SUFFIX):
        raise NotAPackage(name=file.name, why="it is no bag and has no sidecar")
    package = open_package(TapeSource(session, file.name, file.size))
    digest = file.attributes.get(DIGEST_ATTRIBUTE)
    return _Opened(package.identity, package.listing(), package.documents(), digest)


def _open_plain(session: TapeSession, file: FileOnTape, beside: FileOnTape) -> _Opened:
    sidecar = read_sidecar(TapeSource(session, beside.name, beside.size))
    text = sidecar.text.encode()
    if beside.attributes.get(DIGEST_ATTRIBUTE) not in {None, blake3(text).hexdigest()}:
        raise DigestMismatch(name=beside.name)
    if file.size != sidecar.size or file.attributes.get(DIGEST_ATTRIBUTE) not in {None, sidecar.digest}:
        raise Damaged(name=file.name, why="it is not the file that its sidecar describes")
    return _Opened(sidecar.identity, sidecar.members, sidecar.documents, sidecar.digest, sidecar.text)


def _same(row: Row, file: FileOnTape, beside: FileOnTape | None) -> bool:
    """Say whether a package on another tape is the one that was restored, as far as its index and attributes tell."""
    there = [file] if beside is None else [beside, file]
    said = {f.name: (f.attributes.get(DIGEST_ATTRIBUTE), f.size) for f in there}
    known = files_of(row)
    return said.keys() == known.keys() and all(
        size == known[name][1] and digest in {None, known[name][0]} for name, (digest, size) in said.items()
    )


def _restore(conn: Connection, file: FileOnTape, opened: _Opened) -> None:
    identity = opened.identity
    entries = sorted(opened.members, key=lambda p: (p.entry.path, p.entry.part.number if p.entry.part else 0))
    try:
        about: dict[str, Any] = json.loads(opened.documents["metadata/dataset.json"])
        contract = Profile.from_json(about["profile"])
        metadata = {key: item["value"] for key, item in about["metadata"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAPackage(name=file.name, why="its metadata cannot be read") from error
    profiles.run(conn, "insert", name=contract.name, version=contract.version, body=Jsonb(about["profile"]))
    payload = sum(packed.entry.size for packed in entries)
    files = sum(p.entry.kind == "file" and (p.entry.part is None or p.entry.part.number == 1) for p in entries)
    datasets.run(
        conn, "restore", id=identity.dataset, site=identity.site, title=identity.title, owner=identity.owner,
        profile=contract.name, profile_version=contract.version, server=identity.server, source=identity.source_path,
        metadata=Jsonb(metadata), segments=identity.segments,
        created_at=identity.created, source_released_at=_passed_on(conn, identity),
    )  # fmt: skip
    package = package_id(identity.dataset, identity.segment)
    packages.run(
        conn, "restore", id=package, dataset=identity.dataset, segment=identity.segment, name=file.name, files=files,
        packaging="bag" if opened.sidecar is None else "plain", payload=payload, size=file.size, digest=opened.digest,
        sidecar=opened.sidecar, created_at=identity.created,
    )  # fmt: skip
    datasets.run(conn, "add_totals", id=identity.dataset, files=files, bytes=payload)
    listings.write(conn, identity.dataset, identity.segment, entries, packed=True)


def _passed_on(conn: Connection, identity: Identity) -> datetime | None:
    """Return when the folder of a dataset passed on to a newer one, None when it is the newest.

    A folder is archived again only when its content had been removed, so all but its newest dataset are without source.
    """
    args = {"site": identity.site, "server": identity.server, "source": identity.source_path}
    other = datasets.first(conn, "by_source", **args)
    if other is None or other["id"] == identity.dataset:
        return None
    if other["created_at"] > identity.created:
        newer: datetime = other["created_at"]
        return newer
    datasets.run(conn, "source_passed_on", **args, id=identity.dataset, at=identity.created)
    return None


def _restore_copy(conn: Connection, package: str, serial: str, file: FileOnTape) -> int:
    """Add the copy on this tape: verified when the medium says that it was read back, else to be read by the planner."""
    existing = copies.all(conn, "of_package", package=package)
    if any(row["tape"] == serial for row in existing):
        return 0
    proof = _proof(file)
    verified_at = _time(proof.get("verified_at"))
    return copies.run(
        conn, "restore", package=package, number=len(existing) + 1, state="verified" if verified_at else "written",
        tape=serial, size=file.size, start_block=file.start_block, generation=proof.get("generation"),
        drive=proof.get("drive"), rate=proof.get("rate"), written_at=_time(proof.get("written_at")),
        verified_at=verified_at, digest=file.attributes.get(DIGEST_ATTRIBUTE) if verified_at else None,
    )  # fmt: skip


def _proof(file: FileOnTape) -> dict[str, Any]:
    """Return what the medium says of the write; what makes no sense proves nothing."""
    try:
        proof: dict[str, Any] = json.loads(file.attributes.get(EVIDENCE_ATTRIBUTE, "{}"))
        times = _time(proof.get("written_at")), _time(proof.get("verified_at"))
    except (ValueError, TypeError, AttributeError):
        return {}
    return proof if any(times) else {}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _complete(archive: Archive, conn: Connection, dataset: str, found: Rebuilt) -> None:
    row = datasets.first(conn, "by_id", id=dataset)
    if row is None:
        return
    there = {package["segment"] for package in packages.all(conn, "of_dataset", dataset=dataset)}
    missing = sorted(set(range(1, row["segments"] + 1)) - there)
    events.add(conn, archive.site, "dataset.rebuilt", dataset=dataset, packages=len(there), missing=missing)
    if missing:
        numbers = ", ".join(map(str, missing))
        text = f"Packages {numbers} of {row['segments']} are on none of the tapes that were read."
        problem = {"code": "packages-missing", "sentence": text, "who": "operator"}
        datasets.run(conn, "problem", id=dataset, problem=Jsonb(problem))
        found.problems.append((dataset, text))
    else:
        report_safe(archive, conn, dataset, Profile.from_json(row["contract"]).copies)
