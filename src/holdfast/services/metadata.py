# SPDX-License-Identifier: Apache-2.0
"""What is known of a dataset: set, removed, and every change kept with who and when, also after it is closed (P1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, metadata
from holdfast.errors import Conflict, HoldfastError, InvalidInput, NotFound
from holdfast.model.metadata import RESERVED, canonical, checked_all, checked_key, digest, missing
from holdfast.model.profile import Profile
from holdfast.services.archive import Archive, contract, dataset_row
from holdfast.services.index import index
from holdfast.wire.metadata import Change, ChangePage, Metadata, MetadataWish, Origin

_NAMED: Final = 100  # keys in an event; a reader asks for the rest


def by_hand(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that a person gives in canonical form. Raises InvalidInput."""
    found = checked_all(given)
    for key in found:
        if key.startswith(RESERVED):
            raise InvalidInput(
                what=f"{key}: keys that begin with {' or '.join(RESERVED)} are kept for what comes from the files themselves."
            )
    return found


def current(archive: Archive, dataset: str) -> Metadata:
    """Return all metadata of a dataset, with who set each key last. Raises NotFound."""
    with archive.database.reading() as conn:
        row = metadata.first(conn, "current", dataset=dataset)
        if row is None:
            raise NotFound(kind="dataset", name=dataset)
        origins = metadata.all(conn, "origins", dataset=dataset)
    values = row["metadata"]
    return Metadata(
        dataset=dataset, version=row["version"], sha256=row["digest"] or digest(values),
        values=dict(sorted(values.items())),
        origins={item["key"]: Origin(person=item["person"], at=item["at"]) for item in origins if item["key"] in values},
        extraction=row["extraction"],
    )  # fmt: skip


def change(archive: Archive, dataset: str, wish: MetadataWish, *, person: str) -> None:
    """Set and remove keys of a dataset, all or none. Idempotent.

    Raises NotFound, InvalidInput, Conflict when `wish.version` is not the version any more.
    """
    given, removed = by_hand(wish.set), {checked_key(key) for key in wish.remove}
    by_hand(dict.fromkeys(removed, ""))
    with archive.database.transaction() as conn:
        write(archive, conn, dataset, given, removed, person=person, version=wish.version)


def change_many(
    archive: Archive, wishes: Mapping[str, MetadataWish], *, person: str
) -> dict[str, HoldfastError | None]:
    """Change several datasets, each on its own, and say for each what went wrong, if anything did (P10)."""
    found: dict[str, HoldfastError | None] = {}
    for dataset, wish in wishes.items():
        try:
            change(archive, dataset, wish, person=person)
            found[dataset] = None
        except (InvalidInput, NotFound, Conflict) as error:
            found[dataset] = error
    return found


def write(
    archive: Archive, conn: Connection, dataset: str, given: Mapping[str, Any], removed: Sequence[str] | set[str], *,
    person: str, version: int | None = None,
) -> None:  # fmt: skip
    """Change metadata in the caller's transaction: the values, the history, the event and what the dataset is found by.

    Raises NotFound, Conflict (another version), InvalidInput (what a closed dataset must have would be gone).
    """
    row = metadata.first(conn, "lock", dataset=dataset)
    if row is None:
        raise NotFound(kind="dataset", name=dataset)
    if version is not None and version != row["version"]:
        raise Conflict(
            what=f"The metadata of {dataset} are at version {row['version']} by now, not at {version}. Look at them again."
        )
    old: dict[str, Any] = row["metadata"]
    new = checked_all({**{key: value for key, value in old.items() if key not in removed}, **given})
    changed = sorted(key for key in {*given, *removed} if _differs(old, new, key))
    if not changed:
        return
    if row["complete"]:
        _still_enough(contract(dataset_row(conn, dataset)), old, new)
    number = row["version"] + 1
    metadata.run(conn, "write", dataset=dataset, metadata=Jsonb(new), version=number, digest=digest(new))
    metadata.run(
        conn, "note_changes", dataset=dataset, version=number, person=person, keys=changed,
        olds=[_stored(old, key) for key in changed], news=[_stored(new, key) for key in changed],
    )  # fmt: skip
    events.add(
        conn, archive.site, "dataset.metadata-changed", dataset=dataset, person=person, version=number,
        keys=changed[:_NAMED], count=len(changed),
    )  # fmt: skip
    index(conn, dataset=dataset)


def _still_enough(profile: Profile, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuse to take what a dataset had to have when it was closed. Raises InvalidInput."""
    rules = profile.requirements
    before = {lack.key for lack in missing(rules, old)}  # it was closed under another profile
    taken = [lack for lack in missing(rules, new) if lack.severity == "reject" and lack.key not in before]
    if taken:
        raise InvalidInput(
            what=f"The dataset is closed, and its profile {profile.name} wants these metadata. "
            + " ".join(lack.sentence for lack in taken)
        )


def _differs(old: Mapping[str, Any], new: Mapping[str, Any], key: str) -> bool:
    return (key in old) != (key in new) or (key in old and canonical(old[key]) != canonical(new[key]))


def _stored(values: Mapping[str, Any], key: str) -> str | None:
    return json.dumps(values[key]) if key in values else None


def history(
    archive: Archive, dataset: str, *, key: str | None, before: tuple[int, str] | None, limit: int
) -> ChangePage:
    """Return changes of a dataset's metadata, or of one key, the newest first. Raises NotFound."""
    version, at_key = before or (None, None)
    with archive.database.reading() as conn:
        if datasets.first(conn, "by_id", id=dataset) is None:
            raise NotFound(kind="dataset", name=dataset)
        rows = metadata.all(conn, "history", dataset=dataset, key=key, before=version, before_key=at_key, limit=limit)
    return ChangePage(items=[_change(row) for row in rows])


def _change(row: Row) -> Change:
    return Change(**{name: row[name] for name in Change.model_fields})
