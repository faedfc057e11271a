# SPDX-License-Identifier: Apache-2.0
"""Identifiers: 26 lower-case Crockford base-32 characters, sortable by time (ULID)."""

from __future__ import annotations

import os
import re
import time
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH: Final = 26  # 128 bits in base 32
ID_PATTERN: Final = re.compile(rf"[{_ALPHABET}]{{{_LENGTH}}}")


def new_id() -> str:
    """Return a new identifier: 48 bits of milliseconds since 1970, then 80 random bits (ULID specification)."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(5 * (_LENGTH - 1), -1, -5))


def package_id(dataset: str, segment: int) -> str:
    """Return the identifier of a dataset's package: dataset and segment number, counted from 1."""
    return f"{dataset}.{segment}"
