# SPDX-License-Identifier: Apache-2.0
"""What every use case works with: settings, catalogue and tape library."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from psycopg.types.json import Jsonb

from holdfast.catalog.database import Connection, Database, Row
from holdfast.catalog.queries import datasets
from holdfast.errors import NotFound
from holdfast.model.problem import problem
from holdfast.model.profile import Profile
from holdfast.settings import Settings
from holdfast.tape.library import TapeLibrary


@dataclass(frozen=True, slots=True)
class Archive:
    """One site's archive, as `holdfast.app` put it together."""

    settings: Settings
    database: Database
    library: TapeLibrary
    stopping: threading.Event  # set when this process is asked to end: long work stops at the next chance

    @property
    def site(self) -> str:
        """The name of this site."""
        return self.settings.site.name


def staged_file(archive: Archive, package: Row) -> Path:
    """Return where a package lies in staging; each attempt has a file of its own, so that a late worker harms none."""
    return archive.settings.staging_path / f"{package['id']}.{package['attempt']}.package"


def dataset_row(conn: Connection, dataset: str) -> Row:
    """Return the dataset. Raises NotFound."""
    row = datasets.first(conn, "by_id", id=dataset)
    if row is None:
        raise NotFound(kind="dataset", name=dataset)
    return row


def contract(row: Row) -> Profile:
    """Return the profile version that a dataset row was made with."""
    return Profile.from_json(row["contract"])


def described(error: Exception, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the arguments `problem` and `next_try` for a row that has to wait because of `error`."""
    found = problem(error, datetime.now(UTC), previous)
    return {"problem": Jsonb(found), "next_try": found["next_try"]}
