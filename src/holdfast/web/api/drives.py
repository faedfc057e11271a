# SPDX-License-Identifier: Apache-2.0
"""/drives and /mounts: what operators do with drives, and what was in them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from holdfast.errors import InvalidInput
from holdfast.services import drives
from holdfast.services.rights import may
from holdfast.web import paging
from holdfast.web.api.datasets import Cursor, Limit
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.drives import Drive, DrivePage, DriveWish, MountPage

router = Router(tags=["drives"])
Only = Annotated[str | None, Query(max_length=64)]


@router.get("/drives", responses=responses())
def drive_list(archive: TheArchive, person: Caller) -> DrivePage:
    """List all drives with their mounts, errors, and why one is out of use."""
    may(archive, person, "operate")
    return DrivePage(items=drives.drive_list(archive))


@router.post("/drives/{drive}/disable", responses=responses(404))
def disable(archive: TheArchive, person: Caller, drive: str, wish: DriveWish) -> Drive:
    """Take a drive out of use; one in use is out when its tape is. Repeating it changes nothing."""
    may(archive, person, "operate")
    return drives.disable(archive, drive, person=person.name, reason=wish.reason)


@router.post("/drives/{drive}/enable", responses=responses(404))
def enable(archive: TheArchive, person: Caller, drive: str) -> Drive:
    """Take a drive into use again. Repeating it changes nothing."""
    may(archive, person, "operate")
    return drives.enable(archive, drive, person=person.name)


@router.get("/mounts", responses=responses())
def mount_list(
    archive: TheArchive, person: Caller, tape: Only = None, drive: Only = None, cursor: Cursor = None, limit: Limit = 50
) -> MountPage:
    """List mounts, the newest first: of one tape, of one drive, or all of the last year."""
    may(archive, person, "operate")
    [before] = paging.take(cursor, 1) or [""]
    if before and not before.isdecimal():
        raise InvalidInput(what="This cursor is not one that this list gave.")
    found = drives.mount_list(archive, tape=tape, drive=drive, before=int(before) if before else None, limit=limit)
    return MountPage(items=found, next=paging.give(str(found[-1].id)) if len(found) == limit else None)
