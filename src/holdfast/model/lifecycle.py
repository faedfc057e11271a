# SPDX-License-Identifier: Apache-2.0
"""Which states things have and which moves between them are legal; nothing else decides that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Moves = Mapping[str, frozenset[str]]


def _moves(**moves: str) -> Moves:
    return {state: frozenset(targets.split()) for state, targets in moves.items()}


MOVES: Final[Mapping[str, Moves]] = {
    "dataset": _moves(
        open="closing deleted",
        closing="closed deleted",  # deleted: the source could not be packed; the tombstone says why
        closed="deleted",
        deleted="",
    ),
    "package": _moves(
        planned="packing retired",
        packing="packing staged planned retired",  # packing again: another worker took over, with a new attempt
        staged="released planned retired",  # planned: the staged file was lost or damaged before a copy was verified
        released="staged retired",  # staged: read from a proven copy, because another one is owed
        retired="",
    ),
    "copy": _moves(
        planned="writing retired",
        writing="writing written planned lost retired",
        written="verified suspect planned retired",
        verified="suspect retired",
        suspect="verified lost retired",
        lost="retired",
        retired="",
    ),
    "tape": _moves(
        new="active full disabled retired",  # not written before an operator has added it
        active="full suspect disabled repacking exported broken retired",
        full="active suspect disabled repacking exported broken retired",
        suspect="active full disabled repacking exported broken retired",
        disabled="active full repacking exported retired",
        repacking="active full disabled exported broken retired",  # disabled: it is empty
        exported="active full retired",
        broken="active full disabled repacking exported retired",
        missing="exported retired",  # into and out of it a tape comes by what the library says
        retired="",
    ),
    "request": _moves(
        asked="waiting failed cancelled",
        waiting="recalling delivered failed cancelled",
        recalling="ready delivered waiting failed cancelled",
        ready="expired",  # staged: it is in the buffer, and expires with its pin
        delivered="",
        failed="",
        cancelled="",
        expired="",
    ),
    "release": _moves(
        asked="planned failed",
        planned="applying failed",
        applying="done failed",
        done="",
        failed="",
    ),
    "person": _moves(
        applied="active disabled",
        active="disabled",
        disabled="active",
    ),
}


# Tapes that an operator took out of use are not mounted; what is on them waits, or is read from a twin.
OUT_OF_USE: Final = frozenset({"disabled", "exported", "retired"})


def sources(thing: str, target: str) -> list[str]:
    """Return the states from which `thing` may move to `target`."""
    return sorted(state for state, targets in MOVES[thing].items() if target in targets)


def states(thing: str) -> frozenset[str]:
    """Return all states of `thing`."""
    return frozenset(MOVES[thing])
