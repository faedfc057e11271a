# SPDX-License-Identifier: Apache-2.0
"""Taking tapes and drives for a set of sessions, all or none, and giving them back: the same for every library."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from holdfast.errors import HoldfastError, InvalidInput
from holdfast.tape.library import Mode, TapeSession
from holdfast.tape.locks import Deadline, Lock, release, take_drives, take_tapes
from holdfast.tape.media import candidates

Session = TypeVar("Session", bound=TapeSession)


@contextlib.contextmanager
def drive_sessions(
    locks: Path,
    drives: Mapping[str, str],
    tapes: Sequence[tuple[str, str]],
    mode: Mode,
    timeout: float | None,
    mount: Callable[[str, Lock, Lock], Session],
    avoid: Collection[tuple[str, str]] = (),
) -> Iterator[Sequence[Session]]:
    """Take a drive (name: kind) for each tape (serial, media type), mount each, and close all at the end.

    `mount` gets serial, tape and drive; from then on the session gives both back. `timeout` is in seconds; pairs
    of tape and drive to `avoid` come together when no other drive is free. Raises Busy, MediumFailed (its details have tape and drive), InvalidInput
    (a tape twice, no drive that takes it, or more tapes than drives).
    """
    serials = [serial for serial, _ in tapes]
    if len(set(serials)) < len(serials):
        raise InvalidInput(what=f"{', '.join(serials)}: a tape can be in one drive only.")
    wanted = candidates(drives, dict(tapes), mode)
    liked = [
        [name for name in each if (serial, name) not in avoid] for serial, each in zip(serials, wanted, strict=True)
    ]
    deadline = Deadline(timeout)
    held = take_tapes(locks, serials, deadline)
    try:
        taken = take_drives(locks, wanted, deadline, liked)
    except BaseException:
        release(held.values())
        raise
    opened: list[Session] = []
    waiting = dict(zip(serials, taken, strict=True))  # not mounted yet
    try:
        for serial in serials:
            waiting[serial].note(serial)
            opened.append(_mounted(mount, serial, held[serial], waiting[serial]))
            del waiting[serial]
        yield tuple(opened)
    finally:
        for serial, drive in waiting.items():
            release([held[serial], drive])
        close_all(opened)


def _mounted(mount: Callable[[str, Lock, Lock], Session], serial: str, tape: Lock, drive: Lock) -> Session:
    try:
        return mount(serial, tape, drive)
    except HoldfastError as error:
        error.details |= {"tape": serial, "drive": drive.thing}
        raise


def close_all(sessions: Sequence[TapeSession]) -> None:
    """Close every session, also when closing another one fails; raises the first error."""
    errors: list[HoldfastError] = []
    for session in sessions:
        try:
            session.close()
        except HoldfastError as error:
            errors.append(error)
    if errors:
        raise errors[0]
