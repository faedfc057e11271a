# SPDX-License-Identifier: Apache-2.0
"""What travels in each package beside the files, so that the media speak for themselves (P5)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.model.entry import Entry
from holdfast.model.metadata import kind_of
from holdfast.packaging.identity import Identity
from holdfast.services.archive import contract

# Our events in the words of PREMIS (preservation event types of the Library of Congress).
_PREMIS = {
    "dataset.registered": "ingestion start",
    "dataset.closing": "information package creation",
}

# Whose members have rights to it, what it extends, days that it is kept at least (if there are such), and whether it was made by hand.
RELATIONS: Final = {"group": str, "extends": str, "keep_days": int, "landing": bool}


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no blanks, so that equal values have equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape"
    )


def identity(dataset: Row, package: Row, entries: Iterable[Entry]) -> Identity:
    """Return who a package is, which holds these entries."""
    profile = contract(dataset)
    return Identity(
        dataset=dataset["id"], segment=package["segment"], segments=dataset["segments"], site=dataset["site"],
        server=dataset["server"], source_path=bytes(dataset["source"]), title=dataset["title"], owner=dataset["owner"],
        profile=profile.name, profile_version=profile.version, created=dataset["created_at"],
        members=sum(entry.kind == "file" for entry in entries), payload_bytes=package["payload"],
    )  # fmt: skip


def _typed(value: Any, owner: str) -> dict[str, Any]:
    """Return a value of the metadata as it travels: in one form for all types."""
    kind = kind_of(value)
    plain = {"value": value} if not isinstance(value, dict) else {"value": value[kind]} if kind in value else value
    return {"type": kind, **plain, "source": owner}


def of_document(typed: dict[str, Any]) -> dict[str, Any]:
    """Return metadata as the catalogue keeps them, from those of a package. Raises KeyError, TypeError."""
    return {
        key: {item["type"]: item["value"]} if item["type"] in {"date", "binary"}
        else {"value": item["value"], "unit": item["unit"]} if "unit" in item
        else item["value"]
        for key, item in typed.items()
    }  # fmt: skip


def of_dataset(conn: Connection, dataset: Row) -> dict[str, bytes]:
    """Return the documents of a dataset by their names in the bag."""
    created = dataset["created_at"].isoformat()
    about = {
        "id": dataset["id"],
        "site": dataset["site"],
        "title": dataset["title"],
        "owner": dataset["owner"],
        "created_at": created,
        "segments": dataset["segments"],
        "profile": dataset["contract"],
        "metadata": {key: _typed(value, dataset["owner"]) for key, value in dataset["metadata"].items()},
        **{key: dataset[key] for key in RELATIONS if dataset[key] is not None},
    }
    datacite = {
        "schemaVersion": "http://datacite.org/schema/kernel-4",
        "titles": [{"title": dataset["title"]}],
        "creators": [{"name": dataset["owner"]}],
        "publisher": {"name": dataset["site"]},
        "publicationYear": str(dataset["created_at"].year),
        "types": {"resourceTypeGeneral": "Dataset"},
        "alternateIdentifiers": [{"alternateIdentifier": dataset["id"], "alternateIdentifierType": "Holdfast"}],
    }
    # What happened to one package is not known to its neighbours at the same moment: leave it out of the bag,
    # so that packing again gives the same bytes.
    happened = [row for row in events.of_dataset(conn, dataset["id"]) if row["kind"] in _PREMIS]
    lines = [
        canonical(
            {
                "eventDateTime": row["at"].isoformat(),
                "eventType": _PREMIS[row["kind"]],
                "kind": row["kind"],
                "agent": row["person"],
                "detail": row["body"],
            }
        )
        for row in happened
    ]
    return {
        "metadata/dataset.json": canonical(about),
        "metadata/datacite.json": canonical(datacite),
        "metadata/events.jsonl": b"".join(line + b"\n" for line in lines),
    }
