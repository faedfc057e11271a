# SPDX-License-Identifier: Apache-2.0
"""/tapes: what operators do with the library."""

from __future__ import annotations

from fastapi import APIRouter

from holdfast.identity.person import may
from holdfast.services import repack, tapes
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.wire.tapes import Repack, RepackWish, Retirement, RetireWish, TapeDetail, TapePage, TapeWish

router = APIRouter(prefix="/tapes", tags=["tapes"])


@router.get("", responses=responses())
def tape_list(archive: TheArchive, person: Caller) -> TapePage:
    """List all tapes."""
    may(person, "operate")
    return TapePage(items=tapes.tape_list(archive))


@router.get("/{serial}", responses=responses(404))
def tape(archive: TheArchive, person: Caller, serial: str) -> TapeDetail:
    """Tell all that is known of a tape, without mounting it."""
    may(person, "operate")
    return tapes.tape(archive, serial)


@router.post("/{serial}/disable", responses=responses(404, 409))
def disable(archive: TheArchive, person: Caller, serial: str, wish: TapeWish) -> TapeDetail:
    """Take a tape out of use: it is neither written nor read. Repeating it changes nothing."""
    may(person, "operate")
    return tapes.disable(archive, serial, person=person.name, reason=wish.reason)


@router.post("/{serial}/enable", responses=responses(404, 409))
def enable(archive: TheArchive, person: Caller, serial: str) -> TapeDetail:
    """Take a tape into use again, if its volume is sound. Repeating it changes nothing."""
    may(person, "operate")
    return tapes.enable(archive, serial, person=person.name)


@router.post("/{serial}/retire", responses=responses(404, 409))
def retire(archive: TheArchive, person: Caller, serial: str, wish: RetireWish) -> Retirement:
    """Plan that a tape leaves for good and, with `apply`, record it. Repeating it changes nothing."""
    may(person, "operate")
    return tapes.retire(archive, serial, person=person.name, apply=wish.apply)


@router.post("/repack", responses=responses(404, 409))
def begin_repack(archive: TheArchive, person: Caller, wish: RepackWish) -> Repack:
    """Plan that tapes are emptied onto others and, with `apply`, begin. Repeating it changes nothing."""
    may(person, "operate")
    return repack.repack(archive, wish.tapes, media=wish.media, person=person.name, apply=wish.apply)
