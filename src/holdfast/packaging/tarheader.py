# SPDX-License-Identifier: Apache-2.0
"""Tar headers, made by hand: ustar, with a pax header in front only when a value does not fit (POSIX.1-2001).

The packer's child processes import this module, so it imports little.
"""

from __future__ import annotations

from functools import lru_cache

from holdfast.errors import Damaged
from holdfast.packaging.layout import BLOCK

_NAME_ROOM = 100
_PREFIX_ROOM = 155
_ID_LIMIT = 0o10000000  # 7 octal digits
_NUMBER_LIMIT = 0o100000000000  # 11 octal digits: 8 GiB, or the year 2242
_TAIL = bytes(100) + b"ustar\x0000" + bytes(32 + 32) + b"0000000\x000000000\x00"
_NO_PREFIX = bytes(167)
_BLANK_SUM = 8 * 0x20  # the checksum field counts as blanks
_TAIL_SUM = sum(_TAIL) + _BLANK_SUM

REGULAR = b"0"
DIRECTORY = b"5"
PAX = b"x"


def header(name: bytes, size: int, mode: int, uid: int, gid: int, mtime: int, kind: bytes = REGULAR) -> bytes:
    """Return the header blocks of one member; `name` is UTF-8, `size` in bytes, `mtime` in seconds since 1970."""
    if len(name) <= _NAME_ROOM and _fits(size, uid, gid, mtime) and name.isascii():  # nearly every file
        return _ustar(b"", name, size, mode, uid, gid, mtime, kind)
    records = _pax_records(name, size, uid, gid, mtime)
    if not records:
        prefix, short = _split(name) or (b"", name)
        return _ustar(prefix, short, size, mode, uid, gid, mtime, kind)
    short = name.decode("utf-8").encode("ascii", "replace")[-_NAME_ROOM:]
    body = b"".join(_pax_record(key, value) for key, value in records)
    first = _ustar(b"", (b"PaxHeader/" + short)[:_NAME_ROOM], len(body), 0o644, 0, 0, 0, PAX)
    return b"".join((
        first,
        body,
        bytes(-len(body) % BLOCK),
        _ustar(b"", short, _fit(size, _NUMBER_LIMIT), mode, _fit(uid, _ID_LIMIT), _fit(gid, _ID_LIMIT),
               _fit(mtime, _NUMBER_LIMIT), kind),
    ))  # fmt: skip


def header_size(name: bytes, size: int, uid: int, gid: int, mtime: int) -> int:
    """Return the length in bytes of what `header` makes."""
    if len(name) <= _NAME_ROOM and _fits(size, uid, gid, mtime) and name.isascii():
        return BLOCK
    return len(header(name, size, 0, uid, gid, mtime))


def padding(size: int) -> int:
    """Return the number of zero bytes that follow `size` bytes of content."""
    return -size % BLOCK


class Member:
    """One header as read: name, size in bytes, kind, and the number of header bytes that described it."""

    __slots__ = ("kind", "length", "name", "size")

    def __init__(self, name: bytes, size: int, kind: bytes, length: int) -> None:
        """Keep what the header said."""
        self.name = name
        self.size = size
        self.kind = kind
        self.length = length


def parse_block(block: bytes, where: str) -> Member:
    """Read one header block. Raises Damaged when its checksum or a number in it is wrong."""
    try:
        recorded = int(block[148:156].strip(b" \0"), 8)
        size = int(block[124:136].strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise Damaged(name=where, why="a tar header cannot be read") from error
    if len(block) != BLOCK or recorded != sum(block) - sum(block[148:156]) + _BLANK_SUM:
        raise Damaged(name=where, why="a tar header has a wrong checksum")
    name, prefix = block[:100].rstrip(b"\0"), block[345:500].rstrip(b"\0")
    return Member(prefix + b"/" + name if prefix else name, size, block[156:157], BLOCK)


def parse_pax(body: bytes, where: str) -> dict[str, bytes]:
    """Read the records of a pax header. Raises Damaged when they are malformed."""
    found: dict[str, bytes] = {}
    at = 0
    while at < len(body):
        blank = body.find(b" ", at, at + 8)
        length = int(body[at:blank]) if blank > 0 and body[at:blank].isdigit() else 0
        key, equals, value = body[blank + 1 : at + length].partition(b"=")
        if not length or not equals or not value.endswith(b"\n") or at + length > len(body):
            raise Damaged(name=where, why="a pax header cannot be read")
        found[key.decode("utf-8", "replace")] = value[:-1]
        at += length
    return found


def _fits(size: int, uid: int, gid: int, mtime: int) -> bool:
    return 0 <= uid < _ID_LIMIT and 0 <= gid < _ID_LIMIT and size < _NUMBER_LIMIT and 0 <= mtime < _NUMBER_LIMIT


def _ustar(prefix: bytes, name: bytes, size: int, mode: int, uid: int, gid: int, mtime: int, kind: bytes) -> bytes:
    owner, owner_sum = _owner(mode, uid, gid)
    numbers = b"%011o\0%011o\0" % (size, mtime)
    # Only what differs is summed: zeros add nothing, the rest is constant.
    checksum = sum(name) + sum(numbers) + owner_sum + kind[0] + sum(prefix) + _TAIL_SUM
    return b"%s%s%s%06o\0 %s%s%s" % (
        name.ljust(_NAME_ROOM, b"\0"), owner, numbers, checksum, kind, _TAIL, prefix.ljust(167, b"\0") if prefix else _NO_PREFIX,
    )  # fmt: skip


@lru_cache(64)
def _owner(mode: int, uid: int, gid: int) -> tuple[bytes, int]:
    """Return three fields that most files of a dataset share, and the sum of their bytes."""
    fields = b"%07o\0%07o\0%07o\0" % (mode, uid, gid)
    return fields, sum(fields)


def _split(name: bytes) -> tuple[bytes, bytes] | None:
    """Return prefix and name as ustar divides them, or None when they do not fit."""
    if len(name) <= _NAME_ROOM:
        return b"", name
    slash = name.find(b"/", len(name) - _NAME_ROOM - 1)
    if slash <= 0 or slash > _PREFIX_ROOM or slash == len(name) - 1:
        return None
    return name[:slash], name[slash + 1 :]


def _pax_records(name: bytes, size: int, uid: int, gid: int, mtime: int) -> list[tuple[str, bytes]]:
    records: list[tuple[str, bytes]] = []
    for key, number, limit in (("gid", gid, _ID_LIMIT), ("mtime", mtime, _NUMBER_LIMIT)):
        if not 0 <= number < limit:
            records.append((key, b"%d" % number))
    if not name.isascii() or _split(name) is None:
        records.append(("path", name))
    for key, number, limit in (("size", size, _NUMBER_LIMIT), ("uid", uid, _ID_LIMIT)):
        if not 0 <= number < limit:
            records.append((key, b"%d" % number))
    return records


def _fit(number: int, limit: int) -> int:
    return number if 0 <= number < limit else 0


def _pax_record(key: str, value: bytes) -> bytes:
    rest = b" %s=%s\n" % (key.encode(), value)
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d%s" % (length, rest)
