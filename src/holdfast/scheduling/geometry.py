# SPDX-License-Identifier: Apache-2.0
"""Where on a tape a byte lies: LTO is serpentine, so that neighbours in the file list may be a whole tape apart.

A tape is written in wraps, forth and back. The logical position of a file says little about where its bytes are along
the tape; the table of the positions at which the wraps end says it all. Positions are bytes from the start of the data
partition (LTFS tells them as startblock, in blocks of 524,288 bytes); x is the place along the tape, from 0 at its
beginning to 1 at its far end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import InvalidInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Access = Literal["read", "write"]

BANDS: Final = 4  # data bands of every LTO tape; the wraps of one band are written before those of the next
# LTFS keeps two wraps for its index partition and leaves two as a guard; the data partition starts after them.
RESERVED_WRAPS: Final = 4


@dataclass(frozen=True, slots=True)
class MediaType:
    """What is known of a kind of tape: sizes in bytes, rates in bytes per second.

    Sources: IBM TS4500 "Performance specifications for LTO" (rates), LTFS (usable share), CTA and Versity (wraps).
    """

    name: str
    native: int  # bytes of all wraps
    capacity: int  # bytes that LTFS gives to files: native x (wraps - 4) / wraps, less half an index partition
    wraps: int
    rate: float
    slowest: float  # below this the drive stops, goes back and starts again

    @property
    def wrap(self) -> float:
        """Bytes of one wrap."""
        return self.native / self.wraps


_TB: Final = 10**12
_MB: Final = 10**6

MEDIA: Final = {
    media.name: media
    for media in (
        MediaType("L5", 1_500_000 * _MB, 1_406_000 * _MB, 80, 140.0 * _MB, 40.0 * _MB),
        MediaType("L6", 2_500_000 * _MB, 2_408_000 * _MB, 136, 160.0 * _MB, 40.0 * _MB),
        MediaType("L7", 6 * _TB, 5_730_000 * _MB, 112, 300.0 * _MB, 101.0 * _MB),
        MediaType("M8", 9 * _TB, 8_730_000 * _MB, 168, 300.0 * _MB, 112.0 * _MB),
        MediaType("L8", 12 * _TB, 11_710_000 * _MB, 208, 360.0 * _MB, 112.0 * _MB),
        MediaType("L9", 18 * _TB, 17_500_000 * _MB, 280, 400.0 * _MB, 177.0 * _MB),
    )
}

ANY: Final = ""  # the kind of a drive that takes every tape, as plain simulated ones do
_LIKE: Final = MEDIA["M8"]  # what a medium of no known type is wound like: the one that the locate model was fitted on
_FULL_SIZE: Final = 0.9  # of what its type holds; a tape that says it holds less is a small one
_BOTH: Final[frozenset[Access]] = frozenset({"read", "write"})
# Drive -> medium -> what it may do. From the table of LTFS (ibm_tape.c): LTO-7 Type M media (M8) work in LTO-8 drives only.
DRIVES: Final[dict[str, dict[str, frozenset[Access]]]] = {
    "LTO-7": {"L7": _BOTH, "L6": _BOTH, "L5": frozenset({"read"})},
    "LTO-8": {"L8": _BOTH, "M8": _BOTH, "L7": _BOTH},
    "LTO-9": {"L9": _BOTH, "L8": _BOTH},
}


def media_type(name: str) -> MediaType:
    """Return the facts of a medium. Raises InvalidInput for a name that is not known."""
    if name not in MEDIA:
        raise InvalidInput(what=f"There is no medium {name}. Known are {', '.join(MEDIA)}.")
    return MEDIA[name]


def medium_of(name: str, capacity: int) -> MediaType:
    """Return the medium of a tape that holds `capacity` bytes.

    A small one, as simulated tapes are, is as long as others and takes as long to read: with less in each wrap, and at
    a rate that is lower by as much.
    """
    known = MEDIA.get(name, _LIKE)
    share = (capacity or known.capacity) / known.capacity
    if share >= _FULL_SIZE and name in MEDIA:
        return known
    slower = min(share, 1.0)
    return MediaType(
        name, round(known.native * share), round(known.capacity * share), known.wraps, known.rate * slower,
        known.slowest * slower,
    )  # fmt: skip


def can(drive: str, medium: str, access: Access = "read") -> bool:
    """Return whether a drive of this type may read or write this medium; one of no known type goes wherever it is put."""
    return drive == ANY or medium not in MEDIA or access in DRIVES.get(drive, {}).get(medium, frozenset())


def breadth(drive: str) -> int:
    """Return how many media a drive of this type takes."""
    return len(MEDIA) if drive == ANY else len(DRIVES[drive])


@dataclass(frozen=True, slots=True)
class Places:
    """Positions with their physical place; arrays of one shape."""

    position: Floats  # bytes
    wrap: Ints
    x: Floats  # 0..1 along the tape


@dataclass(frozen=True, slots=True, eq=False)
class WrapMap:
    """The end-of-wrap table of a tape: bytes of the data partition at which each of its wraps ends, ascending."""

    ends: Floats
    first: int = RESERVED_WRAPS  # number of the wrap in which the data partition begins

    @classmethod
    def nominal(cls, medium: MediaType) -> WrapMap:
        """Return the table of a tape that nobody has measured: all wraps are equally long."""
        return cls(medium.wrap * np.arange(1, medium.wraps - RESERVED_WRAPS + 1, dtype=np.float64))

    @classmethod
    def drawn(cls, medium: MediaType, bias: float, jitter: float, chance: np.random.Generator) -> WrapMap:
        """Return a table as real tapes have: wraps longer by `bias`, single ones by +-`jitter`; shares of a wrap."""
        wraps = medium.wraps - RESERVED_WRAPS
        spread = chance.normal(0.0, jitter, wraps) if jitter else 0.0
        return cls(np.cumsum(medium.wrap * (1 + bias) * (1 + spread) * np.ones(wraps)))

    @property
    def band(self) -> int:
        """Wraps of one band."""
        return (len(self.ends) + self.first) // BANDS

    def coordinate(self, positions: Floats) -> Floats:
        """Return positions as wraps passed, counted from the start of the data partition (2.5: middle of the third)."""
        places = np.asarray(positions, dtype=np.float64)
        index = np.minimum(np.searchsorted(self.ends, places, side="right"), len(self.ends) - 1)
        begins = np.where(index > 0, self.ends[index - 1], 0.0)
        inside = (places - begins) / (self.ends[index] - begins)
        coordinate: Floats = index + np.clip(inside, 0.0, 1.0)
        return coordinate

    def places(self, positions: Floats) -> Places:
        """Return where positions (bytes) are: their wrap, and x; odd wraps run backwards."""
        coordinate = self.coordinate(positions)
        index = np.minimum(coordinate.astype(np.int64), len(self.ends) - 1)
        inside = coordinate - index
        wrap = index + self.first
        return Places(np.asarray(positions, dtype=np.float64), wrap, np.where(wrap % 2 == 0, inside, 1.0 - inside))
