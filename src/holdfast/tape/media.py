# SPDX-License-Identifier: Apache-2.0
"""Cartridges and drives: what a bar code says, how much a medium takes under LTFS, and which drives take it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from holdfast.errors import InvalidInput
from holdfast.scheduling.geometry import ANY, DRIVES, MEDIA, breadth, can
from holdfast.tape.library import Mode

_BAR_CODE: Final = re.compile(r"[A-Z0-9]{6}([LM]\d)")


def parse_kinds(text: str) -> list[tuple[str, int]]:
    """Return the (kind, count) pairs of a list such as `LTO-8 x4, LTO-9 x2`; the kind of a number alone is ANY."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    pairs = [part.rpartition("x") for part in parts]
    return [(kind.strip().upper(), int(count)) for kind, _, count in pairs]


def media_type(serial: str) -> str | None:
    """Return the media type that a bar code ends with, as `L8`; None when it is not that of an LTO cartridge."""
    match = _BAR_CODE.fullmatch(serial)
    return match[1] if match else None


def drive_names(kinds: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Name the drives of a list of (kind, count): `LTO-8-1`, or `D1` for one of no kind; the value is the kind.

    Raises InvalidInput for a kind that is not known.
    """
    names: dict[str, str] = {}
    for kind, count in kinds:
        if kind != ANY and kind not in DRIVES:
            raise InvalidInput(what=f"There is no kind of drive {kind}; known are {', '.join(DRIVES)}.")
        before = sum(known == kind for known in names.values())
        for number in range(before + 1, before + count + 1):
            names[f"{kind or 'D'}{'-' if kind else ''}{number}"] = kind
    return names


def tape_types(kinds: Iterable[tuple[str, int]]) -> list[str]:
    """Return the media type of each tape of a list of (type, count). Raises InvalidInput for one that is not known."""
    types: list[str] = []
    for kind, count in kinds:
        if kind not in MEDIA:
            raise InvalidInput(what=f"There is no media type {kind or 'without a name'}; known are {', '.join(MEDIA)}.")
        types += [kind] * count
    return types


def candidates(drives: Mapping[str, str], tapes: Mapping[str, str], mode: Mode) -> list[Sequence[str]]:
    """Return for each tape (serial: media type) the drives (name: kind) that take it, the most limited ones first.

    Raises InvalidInput when no drive takes a tape, or there are never enough drives for all of them.
    """
    ordered = sorted(drives, key=lambda name: breadth(drives[name]))
    found: list[Sequence[str]] = []
    for serial, medium in tapes.items():
        fitting = [name for name in ordered if can(drives[name], medium, mode)]
        if not fitting:
            kinds = ", ".join(sorted({kind for kind in drives.values() if kind})) or "none"
            verb = "writes" if mode == "write" else "reads"
            raise InvalidInput(what=f"No drive {verb} tape {serial}: it is of type {medium}, the drives are {kinds}.")
        found.append(fitting)
    if assign(found, drives) is None:
        raise InvalidInput(what=f"{len(drives)} drives cannot take {', '.join(tapes)} at once.")
    return found


def assign(wanted: Sequence[Sequence[str]], free: Iterable[str]) -> list[str] | None:
    """Give each tape one of the drives that it wants, each drive once; None when that cannot be done."""
    left, taken = set(free), dict[str, int]()

    def place(tape: int, tried: set[str]) -> bool:
        for drive in wanted[tape]:
            if drive not in left or drive in tried:
                continue
            tried.add(drive)
            # A tape that has this drive may move to another one.
            if drive not in taken or place(taken[drive], tried):
                taken[drive] = tape
                return True
        return False

    if not all(place(tape, set()) for tape in range(len(wanted))):
        return None
    by_tape = {tape: drive for drive, tape in taken.items()}
    return [by_tape[tape] for tape in range(len(wanted))]
