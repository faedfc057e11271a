# SPDX-License-Identifier: Apache-2.0
"""Drive or tape: who is to blame when a mount failed, told by counting in both directions. Pure.

A failure has two suspects, and mounts with others acquit one of them: a tape that went well in another drive, a drive that
went well with another tape. A failure counts against the drive when its tape is acquitted, and either the tape failed
nowhere else or nothing acquits the drive; and the other way round. Two such failures decide. What is decided is left out,
and the rest is looked at again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_WITNESSES: Final = 2  # one failure blames nobody: chance, or a speck of dust

Pair = tuple[str, str]  # tape, drive


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one mount."""

    tape: str
    drive: str
    failed: bool  # or it went well; what says nothing is no outcome


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is to blame, and which failures are still anybody's."""

    drives: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # with the tapes that bear witness
    tapes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # with the drives that bear witness
    undecided: tuple[Pair, ...] = ()


def judge(outcomes: Iterable[Outcome]) -> Verdict:
    """Return who is to blame for the failures among these mounts."""
    rows = list(outcomes)
    failed = {(row.tape, row.drive) for row in rows if row.failed}
    well = {(row.tape, row.drive) for row in rows if not row.failed} - failed
    drives: dict[str, tuple[str, ...]] = {}
    tapes: dict[str, tuple[str, ...]] = {}
    while True:
        new_drives = _guilty(_turned(failed), _turned(well))
        new_tapes = _guilty(failed, well)
        if not new_drives and not new_tapes:
            return Verdict(drives, tapes, tuple(sorted(failed)))
        drives |= new_drives
        tapes |= new_tapes
        failed, well = (
            {(tape, drive) for tape, drive in pairs if tape not in tapes and drive not in drives}
            for pairs in (failed, well)
        )


def _guilty(failed: Collection[Pair], well: Collection[Pair]) -> dict[str, tuple[str, ...]]:
    """Return the first of the pairs that are to blame, with those second ones that bear witness."""
    failures: dict[str, set[str]] = {}  # of the second ones
    for one, other in failed:
        failures.setdefault(other, set()).add(one)
    acquitted, others_acquitted = ({pair[place] for pair in well} for place in (0, 1))
    witnesses: dict[str, set[str]] = {}
    for one, other in failed:
        if other in others_acquitted and (len(failures[other]) == 1 or one not in acquitted):
            witnesses.setdefault(one, set()).add(other)
    return {one: tuple(sorted(seen)) for one, seen in witnesses.items() if len(seen) >= _WITNESSES}


def _turned(pairs: Iterable[Pair]) -> set[Pair]:
    return {(other, one) for one, other in pairs}
