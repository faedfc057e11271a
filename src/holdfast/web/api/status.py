# SPDX-License-Identifier: Apache-2.0
"""/status and /events: the whole archive now, and all that happened."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from holdfast.services import show
from holdfast.services.overview import overview
from holdfast.services.rights import may
from holdfast.web.api.datasets import Limit
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.model import Model
from holdfast.wire.status import EventPage, Status

router = Router(tags=["status"])


class Health(Model):
    """The server answers and its catalogue can be reached."""

    status: str


@router.get("/health", responses=responses())
def health(archive: TheArchive) -> Health:
    """Say whether the server can work; needs no token."""
    archive.database.rows("select 1 as one")
    return Health(status="ok")


@router.get("/status", responses=responses())
def status(archive: TheArchive, person: Caller) -> Status:
    """Tell queues, drives, tapes, areas, counts and the last errors."""
    may(archive, person, "operate")
    return overview(archive)


@router.get("/events", responses=responses(404))
def events(
    archive: TheArchive,
    person: Caller,
    after: Annotated[str, Query(max_length=50)] = "",
    dataset: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 100,
) -> EventPage:
    """List events after a cursor, in order, none left out (P4)."""
    if dataset is not None:
        may(archive, person, "see", dataset)
    items, cursor = show.event_list(archive, after=after, limit=limit, dataset=dataset, person=person)
    return EventPage(items=items, next=cursor)
