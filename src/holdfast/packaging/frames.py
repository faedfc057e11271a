# SPDX-License-Identifier: Apache-2.0
"""zstd frames: made independent and checked, read in bounded pieces, found through the seek table.

The packer's child processes import this module, so it imports little.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable, Iterator, Sequence

from holdfast.errors import Damaged, NotAPackage
from holdfast.packaging.layout import TABLE_FOOTER_MAGIC, TABLE_MAGIC

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE = 1 << 20  # bytes that a decoder gives out at a time, whatever a frame claims to hold
_WINDOW_LOG_LIMIT = 27  # 128 MiB, the limit of the zstd program as well
_ROW_CHECKSUMS = 0x80  # flag of a seek table whose rows have checksums
FOOTER_SIZE = 9


class FrameMaker:
    """Compresses each piece of data as one independent frame with content size and checksum.

    libzstd stores a block that does not shrink as it is, so incompressible data costs little time and no space;
    a probe that chose a cheaper level for it was measured to gain nothing (0.97x).
    """

    def __init__(self, level: int) -> None:
        """Use compression `level` for all frames."""
        flags = zstd.CompressionParameter
        self._compressor = zstd.ZstdCompressor(
            options={flags.compression_level: level, flags.checksum_flag: 1, flags.content_size_flag: 1}
        )

    def make(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return `data` as one frame."""
        return self._compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


def skippable(magic: int, content: bytes) -> bytes:
    """Return a frame that zstd readers pass over."""
    return struct.pack("<II", magic, len(content)) + content


def decoded(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Decode consecutive frames and yield their content in pieces of at most 1 MiB; nothing of skippable frames.

    Raises Damaged when a frame cannot be decoded, fails its checksum, or ends too early.
    """
    decoder = None
    for chunk in chunks:
        data = chunk
        while data or (decoder is not None and not decoder.needs_input):
            if decoder is None:
                decoder = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG_LIMIT})
            try:
                piece = decoder.decompress(data, _PIECE)
            except zstd.ZstdError as error:
                raise Damaged(name=name, why="a zstd frame cannot be decoded") from error
            data = b""
            if decoder.eof:
                data = decoder.unused_data
                decoder = None
            if piece:
                yield piece
    if decoder is not None:
        raise Damaged(name=name, why="it ends in the middle of a zstd frame")


def seek_table(frames: Sequence[tuple[int, int]]) -> bytes:
    """Return the seek table for frames of (compressed, decompressed) bytes, as in the zstd seekable format."""
    rows = b"".join(struct.pack("<II", *frame) for frame in frames)
    return skippable(TABLE_MAGIC, rows + struct.pack("<IBI", len(frames), 0, TABLE_FOOTER_MAGIC))


def table_size(footer: bytes, name: str) -> int:
    """Return the size in bytes of the whole seek table that ends with `footer`. Raises NotAPackage."""
    count, descriptor, magic = struct.unpack("<IBI", footer)
    if magic != TABLE_FOOTER_MAGIC or descriptor & ~_ROW_CHECKSUMS:
        raise NotAPackage(name=name, why="its end is not a seek table; it may be cut short")
    row = 12 if descriptor & _ROW_CHECKSUMS else 8
    return int(8 + count * row + FOOTER_SIZE)


def parse_table(table: bytes, name: str) -> list[tuple[int, int]]:
    """Return (compressed, decompressed) bytes of each frame. Raises NotAPackage when the table contradicts itself."""
    magic, length = struct.unpack_from("<II", table)
    count, descriptor, _ = struct.unpack("<IBI", table[-FOOTER_SIZE:])
    if magic != TABLE_MAGIC or length != len(table) - 8:
        raise NotAPackage(name=name, why="its seek table cannot be read")
    row = 12 if descriptor & _ROW_CHECKSUMS else 8
    return [struct.unpack_from("<II", table, 8 + at * row) for at in range(count)]
