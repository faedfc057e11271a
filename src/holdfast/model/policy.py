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
