# SPDX-License-Identifier: Apache-2.0
"""The member index: one skippable frame before the seek table, so that a member is found without reading the tar.

Its content is the mark `HFINDEX1` and a zstd frame of JSON lines, one per tar member in order:

    ["data/run/0001.h5",1536,1048576,1120]

name, offset of the first content byte in the tar stream, size in bytes, and the offset in the package file of the
zstd frame in which the content begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from holdfast.errors import Damaged
from holdfast.packaging.frames import FrameMaker, decoded, skippable
from holdfast.packaging.layout import DOCUMENT_LIMIT, INDEX_MAGIC, INDEX_MARK

_LINE_LIMIT = 64 << 10  # bytes; paths end at 4096


@dataclass(frozen=True, slots=True)
class Row:
    """One member of the tar: `offset` is where its content begins in the tar stream, `frame` in the package file."""

    name: str
    offset: int
    size: int
    frame: int


def index_frame(lines: bytes | bytearray, level: int) -> bytes:
    """Return the skippable frame that holds `lines`."""
    return skippable(INDEX_MAGIC, INDEX_MARK + FrameMaker(level).make(lines))


def parse_index(frame: bytes, where: str) -> Iterator[Row]:
    """Yield the rows of an index frame. Raises Damaged."""
    if int.from_bytes(frame[:4], "little") != INDEX_MAGIC or frame[8 : 8 + len(INDEX_MARK)] != INDEX_MARK:
        raise Damaged(name=where, why="the frame before its seek table is not a member index")
    body = frame[8 + len(INDEX_MARK) :]
    rest = b""
    total = 0
    for piece in decoded([body], where):
        total += len(piece)
        if total > DOCUMENT_LIMIT:
            raise Damaged(name=where, why="its member index is larger than any real one")
        lines = (rest + piece).split(b"\n")
        rest = lines.pop()
        if len(rest) > _LINE_LIMIT:
            raise Damaged(name=where, why="a line of its member index is longer than any real one")
        for line in lines:
            yield _row(line, where)
    if rest:
        raise Damaged(name=where, why="its member index ends in the middle of a line")


def _row(line: bytes, where: str) -> Row:
    try:
        name, offset, size, frame = json.loads(line)
        return Row(str(name), int(offset), int(size), int(frame))
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(name=where, why="its member index cannot be read") from error
