# SPDX-License-Identifier: Apache-2.0
"""What the counters of a tape say: how worn it is, and whether it is about to fail. Pure.

The counters are those of LTFS (`mediaLoads` and so on), for the whole life of a cartridge; a drive that does not know
one says -1 or leaves it out. TapeAlert flags have the names of SSC (SCSI stream commands), annex A.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

Counters = Mapping[str, int]

ALERT: Final = "mediaStorageAlert"
PERMANENT: Final = ("mediaPermanentWriteErrors", "mediaPermanentReadErrors")
RECOVERED: Final = ("mediaRecoveredWriteErrors", "mediaRecoveredReadErrors")
_MOVED: Final = ("mediaMBWritten", "mediaMBRead")
_MB_PER_GB: Final = 1000
# Fewer are no rate: one bad spot met in a short mount would be hundreds per GB.
_FEWEST: Final = 10  # errors

# Flags that speak of the tape, by their number; in the mask, flag n is bit n - 1.
_OF_TAPES: Final[Mapping[int, str]] = {
    1: "read warning",
    2: "write warning",
    3: "hard error",
    4: "media",
    5: "read failure",
    6: "write failure",
    7: "media life",
    8: "not data grade",
    13: "mechanical cartridge failure",
    14: "unrecoverable mechanical cartridge failure",
    15: "memory chip in cartridge failure",
    18: "tape directory corrupted on load",
    19: "nearing media life",
    51: "tape directory invalid at unload",
    52: "tape system area write failure",
    53: "tape system area read failure",
    54: "no start of data",
    59: "WORM medium integrity check failed",
}
# Flags that speak of the drive: the tape in it is not to blame.
_OF_DRIVES: Final[Mapping[int, str]] = {
    20: "clean now",
    21: "clean periodic",
    26: "cooling fan failure",
    27: "power supply failure",
    30: "hardware A",
    31: "hardware B",
    32: "interface",
    35: "drive humidity",
    36: "drive temperature",
    37: "drive voltage",
    38: "predictive failure",
    39: "diagnostics required",
    55: "loading failure",
    56: "unrecoverable unload failure",
    58: "firmware failure",
}


@dataclass(frozen=True, slots=True)
class Wear:
    """How worn a tape is, over its whole life; None where no drive told."""

    loads: int | None
    recovered_write_errors: int | None
    permanent_write_errors: int | None
    recovered_read_errors: int | None
    permanent_read_errors: int | None
    mb_written: int | None
    mb_read: int | None
    recovered_per_gb: float | None
    alerts: tuple[str, ...]


def wear(counters: Counters) -> Wear:
    """Return what the counters of a tape say in all."""
    return Wear(
        loads=_known(counters, "mediaLoads"),
        recovered_write_errors=_known(counters, "mediaRecoveredWriteErrors"),
        permanent_write_errors=_known(counters, "mediaPermanentWriteErrors"),
        recovered_read_errors=_known(counters, "mediaRecoveredReadErrors"),
        permanent_read_errors=_known(counters, "mediaPermanentReadErrors"),
        mb_written=_known(counters, "mediaMBWritten"),
        mb_read=_known(counters, "mediaMBRead"),
        recovered_per_gb=_rate({}, counters),
        alerts=(*tape_alerts(counters), *drive_alerts(counters)),
    )


def grown(before: Counters, after: Counters, names: Iterable[str]) -> int:
    """Return by how much some counters grew, together; 0 for those that nobody knows."""
    pairs = [(_known(before, name), _known(after, name)) for name in names]
    return sum(max(b - a, 0) for a, b in pairs if a is not None and b is not None)


def tape_alerts(counters: Counters) -> list[str]:
    """Return the TapeAlert flags that speak of the tape, in words."""
    return _words(counters, _OF_TAPES)


def drive_alerts(counters: Counters) -> list[str]:
    """Return the TapeAlert flags that speak of the drive, in words."""
    return _words(counters, _OF_DRIVES)


def troubles(known: Counters | None, since: Counters, now: Counters, *, limit: float) -> list[str]:
    """Return why a tape should not be written any more, as parts of a sentence; nothing when it is well.

    `known` is what was known before (None: nothing), `since` what the counters were when it was last taken into use,
    `limit` the recovered errors in a GB from which on it counts as failing.
    """
    found = []
    if known is not None:
        for name, what in zip(PERMANENT, ("writing", "reading"), strict=True):
            more = (_known(now, name) or 0) - (_known(known, name) or 0)
            if more > 0:
                found.append(f"errors while {what} that could not be corrected: {more}")
    if new := [alert for alert in tape_alerts(now) if alert not in tape_alerts(known or {})]:
        found.append(f"the drive says: {', '.join(new)}")
    rate = _rate(since, now)
    if rate is not None and rate > limit:
        found.append(
            f"{rate:.0f} errors were corrected in each GB, more than the {limit:g} that library.warn_errors allows"
        )
    return found


def _known(counters: Counters, name: str) -> int | None:
    value = counters.get(name, -1)
    return value if value >= 0 else None


def _rate(since: Counters, now: Counters) -> float | None:
    """Return the recovered errors in each GB that was moved; None when nobody knows or there are too few to say."""
    if any(_known(now, name) is None for name in (*RECOVERED, *_MOVED)):
        return None
    errors, moved = (
        sum((_known(now, name) or 0) - (_known(since, name) or 0) for name in names) for names in (RECOVERED, _MOVED)
    )
    if errors < _FEWEST:
        return 0.0 if moved > 0 else None
    return errors * _MB_PER_GB / max(moved, 1)


def _words(counters: Counters, names: Mapping[int, str]) -> list[str]:
    mask = _known(counters, ALERT) or 0
    return [name for number, name in names.items() if mask >> (number - 1) & 1]
