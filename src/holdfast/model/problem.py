# SPDX-License-Identifier: Apache-2.0
"""Why something waits (P9): code, sentence, since when, tries, next try, who can act."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from holdfast.errors import HoldfastError, IntegrityError, OperatorNeeded, TransientError, UsageError

_FIRST_DELAY: Final = 1.0  # seconds
_LONGEST_DELAY: Final = 600.0  # seconds: a mended cause is noticed within ten minutes


def who(error: Exception) -> str:
    """Return who can act: "nobody" (it mends itself), "you" or "operator"."""
    if isinstance(error, TransientError):
        return "nobody"
    if isinstance(error, UsageError):
        return "you"
    if isinstance(error, (IntegrityError, OperatorNeeded)):
        return "operator"
    return "operator"


def problem(error: Exception, now: datetime, previous: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe `error`; counts on from `previous` and keeps the time of its first failure."""
    tries = (previous or {}).get("tries", 0) + 1
    delay = min(_FIRST_DELAY * 2 ** min(tries - 1, 20), _LONGEST_DELAY)
    known = isinstance(error, HoldfastError)
    return {
        "code": error.code if isinstance(error, HoldfastError) else "unexpected",
        "sentence": error.sentence
        if isinstance(error, HoldfastError)
        else f"An unexpected error: {type(error).__name__}.",
        "since": (previous or {}).get("since") or now.isoformat(),
        "tries": tries,
        "next_try": (now + timedelta(seconds=delay)).isoformat(),
        "who": who(error) if known else "operator",
    }


def told(code: str, sentence: str) -> dict[str, Any]:
    """Describe what waits for an operator and is no failure."""
    return {"code": code, "sentence": sentence, "since": datetime.now(UTC).isoformat(), "who": "operator"}
