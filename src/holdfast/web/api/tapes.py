# SPDX-License-Identifier: Apache-2.0
"""/tapes: what operators do with the library."""

from __future__ import annotations

from holdfast.services import repack, tapes
from holdfast.services.rights import may
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.tapes import (
    NewTape,
    Repack,
    RepackWish,
    Retirement,
    RetireWish,
    TapeDetail,
    TapePage,
    TapeWish,
)

router = Router(prefix="/tapes", tags=["tapes"])


@router.get("", responses=responses())
def tape_list(archive: TheArchive, person: Caller) -> TapePage:
    """List all tapes."""
    may(archive, person, "operate")
    return TapePage(items=tapes.tape_list(archive))


@router.get("/{serial}", responses=responses(404))
def tape(archive: TheArchive, person: Caller, serial: str) -> TapeDetail:
    """Tell all that is known of a tape, without mounting it."""
    may(archive, person, "operate")
    return tapes.tape(archive, serial)


@router.post("", responses=responses(409))
def add(archive: TheArchive, person: Caller, wish: NewTape) -> TapeDetail:
    """Take a new tape into use and record what it is; a simulated one is made. Repeating it changes nothing."""
    may(archive, person, "operate")
    return tapes.add(archive, wish, person=person.name)


@router.post("/{serial}/export", responses=responses(404, 409))
def export(archive: TheArchive, person: Caller, serial: str, wish: TapeWish) -> TapeDetail:
    """Note that a tape is taken out of the library on purpose. Repeating it changes nothing."""
    may(archive, person, "operate")
    return tapes.export(archive, serial, person=person.name, reason=wish.reason)


@router.post("/{serial}/disable", responses=responses(404, 409))
def disable(archive: TheArchive, person: Caller, serial: str, wish: TapeWish) -> TapeDetail:
    """Take a tape out of use: it is neither written nor read. Repeating it changes nothing."""
    may(archive, person, "operate")
    return tapes.disable(archive, serial, person=person.name, reason=wish.reason)


@router.post("/{serial}/enable", responses=responses(404, 409))
def enable(archive: TheArchive, person: Caller, serial: str) -> TapeDetail:
    """Take a tape into use again, if its volume is sound. Repeating it changes nothing."""
    may(archive, person, "operate")
    return tapes.enable(archive, serial, person=person.name)


@router.post("/{serial}/retire", responses=responses(404, 409))
def retire(archive: TheArchive, person: Caller, serial: str, wish: RetireWish) -> Retirement:
    """Plan that a tape leaves for good and, with `apply`, record it. Repeating it changes nothing."""
    may(archive, person, "operate")
    return tapes.retire(archive, serial, person=person.name, apply=wish.apply)


@router.post("/repack", responses=responses(404, 409))
def begin_repack(archive: TheArchive, person: Caller, wish: RepackWish) -> Repack:
    """Plan that tapes are emptied onto others and, with `apply`, begin. Repeating it changes nothing."""
    may(archive, person, "operate")
    return repack.repack(archive, wish.tapes, media=wish.media, person=person.name, apply=wish.apply)
