# SPDX-License-Identifier: Apache-2.0
"""Profiles: named, versioned contracts between a facility and its users."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

GB: Final = 1_000_000_000
Packaging = Literal["bag", "plain"]  # many files in one BagIt bag; one file as it is, with a sidecar


@dataclass(frozen=True, slots=True)
class Profile:
    """What is promised for a dataset; the dataset keeps the version it was made with.

    `segment_bytes` is the target size of a package's payload and `segment_files` the most members it may have,
    which bounds the memory of whoever packs or reads it.
    """

    name: str
    version: int = 1
    description: str = ""
    copies: int = 2  # on distinct tapes
    segment_bytes: int = 64 * GB  # 213 s of LTO writing; one sync per segment costs 3 % (CTA flushes at 32 GB)
    segment_files: int = 50_000
    compression_level: int = 1  # zstd; level 3 costs up to 3 x the time for 1 % on FITS data
    packaging: Packaging = "bag"

    def to_json(self) -> dict[str, Any]:
        """Return the contract as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Profile:
        """Return the profile that `to_json` gave; unknown keys of later versions are left out."""
        return cls(**{key: value for key, value in body.items() if key in cls.__dataclass_fields__})


SHIPPED: Final[tuple[Profile, ...]] = (
    Profile("twin-tape", description="Raw data: two copies on two tapes, read back before anything is freed."),
    Profile("single-tape", copies=1, description="Data that can be made again: one copy on one tape, read back."),
    Profile(
        "plain-twin-tape",
        packaging="plain",
        description="Finished files that other systems read in place: each stored as it is on two tapes, read back "
        "before anything is freed.",
    ),
)
DEFAULT: Final = "twin-tape"
