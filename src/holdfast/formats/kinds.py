# SPDX-License-Identifier: Apache-2.0
"""Which format a file has, by its first bytes; what it is called says only what somebody thought."""

from __future__ import annotations

import zlib
from typing import Final, Literal

Format = Literal["FITS", "HDF5"]

# An HDF5 file may begin with something else, of 512, 1024, 2048... bytes; more than this is not seen in practice.
_USER_BLOCKS: Final = (0, 512, 1024, 2048, 4096)
HEAD: Final = _USER_BLOCKS[-1] + 8  # bytes that are looked at
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_FITS: Final = b"SIMPLE  ="
GZIP: Final = b"\x1f\x8b"
_GZIP_OR_ZLIB: Final = 31  # zlib's window bits for gzip
_NAMES: Final[dict[Format, tuple[bytes, ...]]] = {
    "FITS": (b".fits", b".fit", b".fts", b".fits.gz"),
    "HDF5": (b".h5", b".hdf5", b".nxs"),
}


def format_of(head: bytes) -> Format | None:
    """Return the format of a file that begins with these bytes, None when it is neither."""
    if any(head.startswith(_HDF5, offset) for offset in _USER_BLOCKS):
        return "HDF5"
    return "FITS" if _unzipped(head).startswith(_FITS) else None


def format_named(path: bytes) -> Format | None:
    """Return the format that a file's name promises."""
    return next((kind for kind, ends in _NAMES.items() if path.lower().endswith(ends)), None)


def _unzipped(head: bytes) -> bytes:
    if not head.startswith(GZIP):
        return head
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(head, len(_FITS))
    except zlib.error:
        return b""
