# SPDX-License-Identifier: Apache-2.0
"""Exit codes: one small table from families of errors; tests walk the whole tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holdfast.errors import (
    Conflict,
    HoldfastError,
    IntegrityError,
    NotAllowed,
    NotFound,
    OperatorNeeded,
    Refused,
    TransientError,
    UsageError,
)

UNEXPECTED: Final = 1
PARTIAL: Final = 9  # some of what was asked for could not be done
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say it

EXITS: Final[tuple[tuple[type[HoldfastError], int], ...]] = (
    (NotFound, 4),
    (Conflict, 5),
    (UsageError, 2),
    (NotAllowed, 3),
    (TransientError, 6),
    (IntegrityError, 7),
    (OperatorNeeded, 8),
)


def _tree(root: type[HoldfastError] = HoldfastError) -> Iterator[type[HoldfastError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def exit_code(error: HoldfastError) -> int:
    """Return the exit code for an error, also for one that a server met."""
    kind: type[HoldfastError] = type(error)
    if isinstance(error, Refused):
        kind = next((found for found in _tree() if found.code == error.of), HoldfastError)
        if error.of in {"http-401", "http-403"}:
            kind = NotAllowed
    return next((code for family, code in EXITS if issubclass(kind, family)), UNEXPECTED)


def exit_of_code(code: str) -> int:
    """Return the exit code for the code of an error that a dataset or request carries."""
    kind = next((found for found in _tree() if found.code == code), HoldfastError)
    return next((number for family, number in EXITS if issubclass(kind, family)), UNEXPECTED)
