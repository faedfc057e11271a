# SPDX-License-Identifier: Apache-2.0
"""Cutting a dataset into segments before it is packed (FORMAT section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from holdfast.model.entry import Entry, Part

# The cut moves back to the start of a folder if that leaves at least this share of the target in the segment.
_FOLDER_SHARE: Final = 0.5
# tar header, padding and manifest line of a member, so that many small files do not overflow a segment; bytes.
MEMBER_COST: Final = 1024
# Entries kept back while looking for a good place to cut; bounds memory.
_LOOKAHEAD: Final = 20_000


@dataclass(slots=True)
class _Segment:
    entries: list[Entry] = field(default_factory=list)
    used: int = 0


def cost(entry: Entry) -> int:
    """Return the bytes that an entry takes in a package at most."""
    return entry.size + MEMBER_COST


def in_parts(entry: Entry, limit: int) -> Iterator[Entry]:
    """Yield the entry itself, or its parts when it is larger than a segment of `limit` bytes."""
    room = limit - MEMBER_COST
    if entry.kind != "file" or entry.size <= room:
        yield entry
        return
    count = -(-entry.size // room)
    for number in range(1, count + 1):
        offset = (number - 1) * room
        yield entry._replace(
            size=min(room, entry.size - offset),
            part=Part(number, count, offset),
            whole_size=entry.size,
        )


def cut(entries: Iterable[Entry], *, limit: int, most: int, plain: bool = False) -> Iterator[tuple[int, list[Entry]]]:
    """Yield (segment number from 1, some of its entries), keeping path order, as the entries stream by.

    A segment takes at most `limit` bytes and `most` entries. Each segment is yielded in one or more runs, so that
    memory stays bounded. Where it can, a segment ends at the end of a folder. With `plain`, it holds one file, or one
    part of a larger one, and the links and empty folders before it.
    """
    parts = (part for whole in entries for part in in_parts(whole, limit))
    return enumerate(_one_by_one(parts, most), 1) if plain else _together(parts, limit, most)


def _one_by_one(entries: Iterable[Entry], most: int) -> Iterator[list[Entry]]:
    """Yield each file with the links and folders before it; those after the last file go with that."""
    most_others = max((most - 1) // 2, 1)  # those before a file and those after the last one can meet in one segment
    file: list[Entry] = []  # the last file, with what goes with it
    others: list[Entry] = []
    for entry in entries:
        others.append(entry)
        if entry.kind == "file":
            if file:
                yield file
            file, others = others, []
        elif len(others) >= most_others:  # so many that they are a segment of their own
            if file:
                yield file
            yield others
            file, others = [], []
    if file or others:
        yield file + others


def _together(entries: Iterable[Entry], limit: int, most: int) -> Iterator[tuple[int, list[Entry]]]:
    """Yield runs of segments that are as full as they may be."""
    number = 1
    flushed = 0  # bytes of this segment that were yielded already
    flushed_count = 0
    held = _Segment()
    for entry in entries:
        # Twice, when what a folder moves to the next segment leaves no room there either.
        while (flushed_count or held.entries) and (
            flushed + held.used + cost(entry) > limit or flushed_count + len(held.entries) >= most
        ):
            keep = _folder_start(held.entries, entry, flushed, limit)
            if held.entries[:keep]:
                yield number, held.entries[:keep]
            rest = held.entries[keep:]
            held = _Segment(rest, sum(cost(e) for e in rest))
            number, flushed, flushed_count = number + 1, 0, 0
        held.entries.append(entry)
        held.used += cost(entry)
        if len(held.entries) >= _LOOKAHEAD:
            yield number, held.entries
            flushed, flushed_count = flushed + held.used, flushed_count + len(held.entries)
            held = _Segment()
    if held.entries:
        yield number, held.entries


def _folder_start(entries: list[Entry], following: Entry, flushed: int, limit: int) -> int:
    """Return how many of `entries` stay in the segment: all, or those before the folder that would be cut apart."""
    folder = following.path.rpartition(b"/")[0]
    if not folder:
        return len(entries)
    keep = len(entries)
    while keep and entries[keep - 1].path.startswith(folder + b"/"):
        keep -= 1
    used = flushed + sum(cost(e) for e in entries[:keep])
    # A rest that fills a segment by itself gains nothing from moving.
    return keep if used >= limit * _FOLDER_SHARE else len(entries)
