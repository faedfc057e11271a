# SPDX-License-Identifier: Apache-2.0
"""What a dataset consists of: files, links, empty directories, and the parts of files larger than a segment.

Named tuples, because there is one of each per file: frozen dataclasses take four times as long to make.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Kind = Literal["file", "link", "directory"]
_SIZE: Final = re.compile(r"[0-9]{1,18}")
ACL: Final = "system.posix_acl_access"  # acl(5): who may what, as Linux keeps it beside owner and mode


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a file that is larger than a segment (FORMAT section 2)."""

    number: int  # from 1
    count: int
    offset: int  # bytes from the start of the whole file


class Entry(NamedTuple):
    """One path of a dataset, as the source had it.

    `path` is relative, its bytes exactly as in the source, components joined by `/`. `size` is in bytes: of this
    part when `part` is set, else of the file; 0 for links and directories. Only empty directories are entries.
    """

    path: bytes
    kind: Kind
    size: int
    mtime_ns: int
    mode: int  # permission bits, 0o7777
    uid: int = 0
    gid: int = 0
    target: bytes = b""  # of a link
    sparse: bool = False  # the source had holes: delivery makes holes of zero blocks again
    part: Part | None = None
    whole_size: int = 0  # of the whole file, when `part` is set
    xattrs: tuple[tuple[str, bytes], ...] = ()  # user.*, and ACL

    @property
    def file_size(self) -> int:
        """The size of the whole file, in bytes."""
        return self.whole_size if self.part else self.size


class Location(NamedTuple):
    """Where the bytes of one packed entry stand, so that reading needs one seek and no table.

    Read the package from `frame` (bytes from the start of the package file), decompress, skip `skip` bytes, and
    take the entry's size. For links and directories all three are 0 and `digest` is empty.
    """

    frame: int
    skip: int
    digest: bytes  # SHA-512 of the bytes of this entry or part, 64 bytes


class Packed(NamedTuple):
    """An entry together with its place in its package."""

    entry: Entry
    location: Location
    whole_digest: bytes = b""  # SHA-512 of the whole file, with the last part of a file in parts

    @property
    def file_digest(self) -> bytes:
        """The SHA-512 of the whole file, as far as this entry knows it."""
        return self.whole_digest if self.entry.part else self.location.digest


def size_of(text: str) -> int | None:
    """Return a number of bytes as headers of HTTP carry it, in digits; None for another text, or more than any file has."""
    return int(text) if _SIZE.fullmatch(text) else None
