# SPDX-License-Identifier: Apache-2.0
"""Putting one package of a tape back into the catalogue: who it is, its files, and the copy that the tape has (P5).

Commit point: one transaction for each package on a tape. Twins may be read at the same time: whoever comes second adds
the copy only (P11).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from blake3 import blake3
from psycopg.types.json import Jsonb

from holdfast.catalog import listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, datasets, packages, profiles
from holdfast.errors import Conflict, Damaged, DigestMismatch, NotAPackage
from holdfast.model.entry import Packed
from holdfast.model.ids import ID_PATTERN, package_id
from holdfast.model.names import SIDECAR, SUFFIX, sidecar_name
from holdfast.model.profile import Profile
from holdfast.packaging.identity import Identity
from holdfast.packaging.plain import Sidecar, parse_sidecar, read_sidecar
from holdfast.packaging.reader import Source, open_package
from holdfast.packaging.tapemanifest import Listed, Manifest
from holdfast.services.archive import Archive
from holdfast.services.documents import RELATIONS, of_document
from holdfast.services.proof import DIGEST_ATTRIBUTE, EVIDENCE_ATTRIBUTE
from holdfast.services.twins import files_of
from holdfast.tape.library import FileOnTape

_NAME: Final = re.compile(rf"({ID_PATTERN.pattern})\.(\d+)of\d+\..+")
_HALF: Final = "it is a sidecar, and the file that it describes is not on this tape"


@dataclass(frozen=True, slots=True)
class OnTape:
    """One package as the index of a tape has it: a file, and the sidecar beside it if it is plain."""

    serial: str
    file: FileOnTape
    beside: FileOnTape | None

    @property
    def dataset(self) -> str:
        """The dataset that its name tells."""
        return _named(self.file.name)[1]

    @property
    def package(self) -> str:
        """The package that its name tells."""
        match = _named(self.file.name)
        return package_id(match[1], int(match[2]))


@dataclass(frozen=True, slots=True)
class Opened:
    """What a tape says of a package."""

    identity: Identity
    members: Iterable[Packed]
    documents: Mapping[str, bytes]
    digest: str | None
    sidecar: str | None = None


def is_ours(name: str) -> bool:
    """Say whether a file is called as packages and sidecars are."""
    return _NAME.fullmatch(name) is not None


def _named(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise NotAPackage(name=name, why="it is not called as packages are")
    return match


def open_on_tape(there: OnTape, source: Callable[[FileOnTape], Source]) -> Opened:
    """Read what a package says of itself; of a bag its begin and end, of a plain one its sidecar.

    Raises NotAPackage, Damaged, DigestMismatch, MediumFailed.
    """
    file, beside = there.file, there.beside
    digest = file.attributes.get(DIGEST_ATTRIBUTE)
    if beside is not None:
        sidecar = read_sidecar(source(beside))
        if beside.attributes.get(DIGEST_ATTRIBUTE) not in {None, blake3(sidecar.text.encode()).hexdigest()}:
            raise DigestMismatch(name=beside.name)
        if file.size != sidecar.size or digest not in {None, sidecar.digest}:
            raise Damaged(name=file.name, why="it is not the file that its sidecar describes")
        return _of_sidecar(sidecar)
    if file.name.endswith(SIDECAR):
        raise NotAPackage(name=file.name, why=_HALF)
    if not file.name.endswith(SUFFIX):
        raise NotAPackage(name=file.name, why="it is no bag and has no sidecar")
    package = open_package(source(file))
    return Opened(package.identity, list(package.listing()), package.documents(), digest)


def listed_on_tape(listed: Listed, manifest: Manifest) -> Opened:
    """Return what a manifest says of a package. Raises Damaged, NotAPackage."""
    if listed.sidecar is not None:
        return _of_sidecar(parse_sidecar(listed.sidecar.encode(), sidecar_name(listed.name)))
    if listed.identity is None:
        raise NotAPackage(name=listed.name, why="its manifest does not say who it is")
    return Opened(listed.identity, manifest.members(), listed.documents, listed.digest)


def _of_sidecar(sidecar: Sidecar) -> Opened:
    return Opened(sidecar.identity, sidecar.members, sidecar.documents, sidecar.digest, sidecar.text)


def fits(listed: Listed, there: OnTape) -> bool:
    """Say whether the tape's index has just what a manifest says: names, sizes, place and digests."""
    file, beside = there.file, there.beside
    if (listed.size, listed.start_block, listed.digest) != (
        file.size, file.start_block, file.attributes.get(DIGEST_ATTRIBUTE),
    ):  # fmt: skip
        return False
    if listed.sidecar is None or beside is None:
        return listed.sidecar is None and beside is None
    text = listed.sidecar.encode()
    return (beside.size, beside.attributes.get(DIGEST_ATTRIBUTE)) == (len(text), blake3(text).hexdigest())


def take(archive: Archive, there: OnTape, opened: Callable[[], Opened]) -> tuple[bool, bool]:
    """Put a package and its copy on a tape into the catalogue; say whether the package was new, and the copy.

    `opened` is called when nothing is known of the package, while no transaction is open. Raises Conflict (it is not
    what the other tape has), NotAPackage, and what `opened` raises.
    """
    dataset, package = there.dataset, there.package
    told: Opened | None = None
    while True:
        with archive.database.transaction() as conn:
            # Twins are read at the same time, and so are packages of one dataset.
            conn.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"rebuild:{dataset}"])
            row = packages.first(conn, "by_id", id=package)
            if row is not None and not _same(row, there):
                raise Conflict(what="It differs from the other copy of this package.")
            if row is None and told is not None:
                _restore(conn, there.file, package, told)
            if row is not None or told is not None:
                return row is None, _restore_copy(conn, package, there)
        told = opened()


def _same(row: Row, there: OnTape) -> bool:
    """Say whether a package on another tape is the one that was restored, as far as its index and attributes tell."""
    files = [there.file] if there.beside is None else [there.beside, there.file]
    said = {f.name: (f.attributes.get(DIGEST_ATTRIBUTE), f.size) for f in files}
    known = files_of(row)
    return said.keys() == known.keys() and all(
        size == known[name][1] and digest in {None, known[name][0]} for name, (digest, size) in said.items()
    )


def _restore(conn: Connection, file: FileOnTape, package: str, opened: Opened) -> None:
    identity = opened.identity
    if package_id(identity.dataset, identity.segment) != package:
        raise NotAPackage(name=file.name, why="its name says that it is another one")
    entries = sorted(opened.members, key=lambda p: (p.entry.path, p.entry.part.number if p.entry.part else 0))
    try:
        about: dict[str, Any] = json.loads(opened.documents["metadata/dataset.json"])
        contract = Profile.from_json(about["profile"])
        metadata = of_document(about["metadata"])
        relations = {key: about[key] for key, kind in RELATIONS.items() if isinstance(about.get(key), kind)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAPackage(name=file.name, why="its metadata cannot be read") from error
    profiles.run(
        conn,
        "insert",
        name=contract.name,
        version=contract.version,
        body=Jsonb({**contract.to_json(), **about["profile"]}),
    )
    payload = sum(packed.entry.size for packed in entries)
    files = sum(p.entry.kind == "file" and (p.entry.part is None or p.entry.part.number == 1) for p in entries)
    datasets.run(
        conn, "restore", id=identity.dataset, site=identity.site, title=identity.title, owner=identity.owner,
        profile=contract.name, profile_version=contract.version, server=identity.server, source=identity.source_path,
        metadata=Jsonb(metadata), segments=identity.segments, created_at=identity.created,
        **{"group": None, "extends": None, "keep_days": None, "landing": False, **relations},
    )  # fmt: skip
    packages.run(
        conn, "restore", id=package, dataset=identity.dataset, segment=identity.segment, name=file.name, files=files,
        packaging="bag" if opened.sidecar is None else "plain", payload=payload, size=file.size, digest=opened.digest,
        sidecar=opened.sidecar, created_at=identity.created,
    )  # fmt: skip
    datasets.run(conn, "add_totals", id=identity.dataset, files=files, bytes=payload)
    listings.write(conn, identity.dataset, identity.segment, entries, packed=True)


def _restore_copy(conn: Connection, package: str, there: OnTape) -> bool:
    """Add the copy on this tape: verified when the medium says that it was read back, else to be read by the planner."""
    existing = copies.all(conn, "of_package", package=package)
    if any(row["tape"] == there.serial for row in existing):
        return False
    file = there.file
    proof = _proof(file)
    verified_at = _time(proof.get("verified_at"))
    return bool(copies.run(
        conn, "restore", package=package, number=len(existing) + 1, state="verified" if verified_at else "written",
        tape=there.serial, size=file.size, start_block=file.start_block, generation=proof.get("generation"),
        drive=proof.get("drive"), rate=proof.get("rate"), written_at=_time(proof.get("written_at")),
        verified_at=verified_at, digest=file.attributes.get(DIGEST_ATTRIBUTE) if verified_at else None,
    ))  # fmt: skip


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
