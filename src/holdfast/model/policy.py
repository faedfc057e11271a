# SPDX-License-Identifier: Apache-2.0
"""What is owed: a profile compared with the copies there are. Pure; the planner turns the answers into jobs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["none", "ingested", "archived", "preserved"]
Availability = Literal["online", "nearline", "unavailable"]


@dataclass(frozen=True, slots=True)
class CopyFact:
    """What a policy needs to know of a copy."""

    state: str
    medium: str | None


def live(copies: Iterable[CopyFact]) -> list[CopyFact]:
    """Return the copies that still count towards the profile: all but lost and retired ones."""
    return [copy for copy in copies if copy.state not in {"lost", "retired"}]


def proven(copies: Iterable[CopyFact]) -> int:
    """Return the number of distinct media that hold a verified copy (P2, P3)."""
    return len({copy.medium for copy in copies if copy.state == "verified"})


def copies_owed(wanted: int, copies: Iterable[CopyFact]) -> int:
    """Return how many copies must be added so that `wanted` can become verified."""
    return max(wanted - len(live(copies)), 0)


def level(wanted: int, packages: Sequence[Sequence[CopyFact]]) -> Level:
    """Return the preservation level of a dataset from the copies of each of its packages: the weakest counts."""
    if not packages:
        return "none"
    weakest = min(proven(copies) for copies in packages)
    if weakest == 0:
        return "none"
    if weakest >= wanted:
        return "preserved"
    return "archived" if weakest > 1 else "ingested"


def availability(packages: Sequence[Sequence[CopyFact]], *, source_there: bool) -> Availability:
    """Return how the bytes can be had: at once, after a recall, or not (some package has no readable copy)."""
    if source_there:
        return "online"
    readable = {"written", "verified", "suspect"}
    if packages and all(any(copy.state in readable for copy in copies) for copies in packages):
        return "nearline"
    return "unavailable"


@dataclass(frozen=True, slots=True)
class Room:
    """A tape as the allocation sees it; bytes."""

    serial: str
    media_type: str
    free: int  # after the reserve and after what is being written to it now


def choose_tapes(tapes: Sequence[Room], size: int, count: int, *, avoid: frozenset[str] = frozenset()) -> list[str]:
    """Return `count` serials of one media type that can take `size` bytes, the fullest first; [] when there are none.

    Twins stay twins without being told: tapes written together are equally full, so they are chosen together again.
    """
    fitting = [tape for tape in tapes if tape.free >= size and tape.serial not in avoid]
    best: list[Room] = []
    for media_type in sorted({tape.media_type for tape in fitting}):
        same = sorted((t for t in fitting if t.media_type == media_type), key=lambda t: (t.free, t.serial))[:count]
        if len(same) == count and (not best or sum(t.free for t in same) < sum(t.free for t in best)):
            best = same
    return [tape.serial for tape in best]
