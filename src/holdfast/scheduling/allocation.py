# SPDX-License-Identifier: Apache-2.0
"""Where new segments are written: which pair of tapes, and when a mount for writing is worth its drives.

Twins are of one generation, because one day both must be read by the same drives, and of different batches where that
is known, because a batch fails together. The fullest pair that still fits comes first, so that few tapes stay half full.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

_GB: Final = 10**9
RESERVE_LEAST: Final = 1 * _GB  # bytes left free for indexes and the early warning at the end of a tape
_INDEXES: Final = 3  # times the index: the one being written, the one before, the one on the index partition


def reserve(index: int) -> int:
    """Return the bytes to leave free on a tape whose index takes `index` bytes."""
    return max(RESERVE_LEAST, _INDEXES * index)


@dataclass(frozen=True, slots=True)
class Room:
    """A tape that may be written, as the allocation sees it; bytes."""

    serial: str
    medium: str
    capacity: int
    free: int  # after the reserve, and after what is being written to it now
    batch: str = ""  # who made it, and when; empty if nobody knows
    families: frozenset[str] = frozenset()  # whose segments it holds
    twin: str = ""  # the tape that has the same segments; empty for a new tape


@dataclass(frozen=True, slots=True)
class Writing:
    """What the operator may choose about writing; bytes, seconds, files."""

    segment: int = 64 * _GB  # a session syncs after each; small ones cost time, large ones are lost at a crash
    enough: int = 500 * _GB  # this much waiting warrants a mount at any time (CTA)
    enough_files: int = 10_000  # or this many files (CTA)
    age: float = 6 * 3600.0  # or the oldest has waited this long (ENDIT)
    session: int = 1_000 * _GB  # a session ends here when recalls wait
    buffer: int = 100_000 * _GB  # of the disk area in front of the tapes
    pressing: float = 0.7  # share of the buffer from which writing goes before reading (ENDIT, CTA)
    feed: float = 1.25 * _GB  # per second, to each of two drives; 10 Gbit/s Ethernet, read once for both
    open_pairs: int = 2  # pairs with room that a family may spread over


def choose(
    rooms: Iterable[Room],
    size: int,
    count: int = 2,
    *,
    family: str = "",
    open_pairs: int = 2,
    busy: Collection[str] = (),
    avoid: Collection[str] = (),
) -> tuple[str, ...]:
    """Return the serials of `count` tapes to write `size` bytes to, none when they cannot be had now.

    Tapes in `busy` are being written by others; those in `avoid` have the package already, or had it.
    """
    rooms = list(rooms)
    usable = [room for room in rooms if room.serial not in avoid]
    if count == 2:  # noqa: PLR2004 (twins)
        return choose_pair(usable, size, family=family, open_pairs=open_pairs, busy=busy) or ()
    fitting = [room for room in usable if room.free >= size and room.serial not in busy]
    # Single copies go beside others of their kind, rather than make twins unequally full.
    fitting.sort(key=lambda room: (bool(room.twin) == (count == 1), room.free, room.serial))
    alike = {room.medium for room in rooms if room.serial in avoid}  # a new twin is of the generation of the other
    media = sorted({room.medium for room in fitting}, key=lambda m: next(r.free for r in fitting if r.medium == m))
    for medium in sorted(media, key=lambda medium: medium not in alike):
        same = [room.serial for room in fitting if room.medium == medium][:count]
        if len(same) == count:
            return tuple(same)
    return ()


def choose_pair(
    rooms: Iterable[Room], size: int, *, family: str = "", open_pairs: int = 2, busy: Collection[str] = ()
) -> tuple[str, str] | None:
    """Return the serials of the twins to write `size` bytes to, or None when no two tapes can take them now.

    First a pair that holds this family, then any begun pair, the fullest first; then two tapes that are no twins, of
    different batches if possible. A family that has `open_pairs` with room waits for one of them rather than open
    another.
    """
    known = {room.serial: room for room in rooms}
    twins = {room.serial: known[room.twin] for room in known.values() if room.twin in known}
    pairs = [(room, twins[s]) for s, room in known.items() if s in twins and s < room.twin and twins[s].twin == s]
    pairs = [(one, other) for one, other in pairs if one.medium == other.medium]
    fitting = [pair for pair in pairs if min(room.free for room in pair) >= size]
    own = [pair for pair in fitting if family and family in pair[0].families]
    free = [pair for pair in fitting if not any(room.serial in busy for room in pair)]
    for choice in ([pair for pair in own if pair in free], free if len(own) < open_pairs else []):
        if choice:
            best = min(choice, key=lambda pair: (min(room.free for room in pair), pair[0].serial))
            return best[0].serial, best[1].serial
    if len(own) >= open_pairs:
        return None
    # Also the tape whose twin broke or is full, while it has room.
    paired = {room.serial for pair in pairs for room in pair}
    alone = [room for room in known.values() if room.serial not in paired and room.serial not in busy]
    meant = [room for room in alone if family and family in room.families]
    # A pair is a habit and no rule: when no twins have room, any two tapes may become some.
    any_two = [room for room in known.values() if room.serial not in busy]
    return _new_pair(meant, size) or _new_pair(alone, size) or _new_pair(any_two, size)


def _new_pair(rooms: Sequence[Room], size: int) -> tuple[str, str] | None:
    """Return two tapes of one medium, the fullest first; the smallest medium first, so that none is stranded when it is old."""
    best: tuple[bool, int, str, str] | None = None
    for medium in sorted({room.medium for room in rooms}):
        same = sorted((r for r in rooms if r.medium == medium and r.free >= size), key=lambda r: (r.free, r.serial))
        if len(same) < 2:  # noqa: PLR2004 (a pair)
            continue
        first = same[0]
        second = next((room for room in same[1:] if room.batch != first.batch), same[1])
        alike = bool(first.batch) and first.batch == second.batch
        found = (alike, first.capacity, first.serial, second.serial)
        best = min(best, found) if best else found
    return best[2:] if best else None


def efficiency(rooms: Iterable[Room]) -> float:
    """Return which share of the capacity of the tapes in use is filled; 1 when none is in use."""
    used = [room for room in rooms if room.twin]
    capacity = sum(room.capacity for room in used)
    return sum(room.capacity - room.free for room in used) / capacity if capacity else 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """How busy the library is when a write mount is considered; bytes, seconds."""

    waiting: int  # bytes to be written
    files: int
    oldest: float  # how long the oldest has waited
    free_drives: int
    recalls: int  # requests that wait for a drive
    sessions: int  # write sessions that run
    drives: int = 0  # that can be used; 0: as many as anybody wants


def warranted(load: Load, writing: Writing) -> str | None:
    """Return why two drives should write now, or None: it is better to wait for more.

    The thresholds follow the load: with drives to spare one segment is enough, and every session that runs already
    asks for as much again. While somebody waits to read, one drive is left for that; of two drives, who comes first has
    them. A buffer that fills up goes before everything.
    """
    if not load.waiting:
        return None
    if load.waiting >= writing.pressing * writing.buffer:
        return "buffer"
    if load.recalls and 2 < load.drives <= 2 * load.sessions + 2:  # noqa: PLR2004 (a pair)
        return None  # one drive stays for those who wait to read
    enough = writing.enough * (1 + load.sessions)
    if load.waiting >= enough or load.files >= writing.enough_files * (1 + load.sessions):
        return "amount"
    if load.oldest >= writing.age and not load.sessions:
        return "age"
    idle = load.recalls == 0 and load.free_drives >= 4  # noqa: PLR2004 (a pair to write, and as many for who comes)
    return "idle" if idle and load.waiting >= writing.segment and not load.sessions else None
