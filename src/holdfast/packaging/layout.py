# SPDX-License-Identifier: Apache-2.0
"""Constants of the package format, version 1 (FORMAT)."""

from __future__ import annotations

from typing import Final

FORMAT_NAME: Final = "holdfast-package"
FORMAT_MAJOR: Final = 1
FORMAT_MINOR: Final = 0

IDENTITY: Final = "holdfast.json"
BAGIT: Final = "bagit.txt"
BAG_INFO: Final = "bag-info.txt"
DATA: Final = "data/"
METADATA: Final = "metadata/"
TREE: Final = "metadata/tree.json"
MANIFEST: Final = "manifest-sha512.txt"
TAG_MANIFEST: Final = "tagmanifest-sha512.txt"

BLOCK: Final = 512  # bytes of a tar block
END_OF_TAR: Final = bytes(2 * BLOCK)

FRAME_SIZE: Final = 4 << 20  # bytes of tar stream in one frame of a large member
SHARED_FRAME_SIZE: Final = 1 << 20  # the same, of small members together: one of them is found and decoded faster
TINY_FILE: Final = 64 << 10  # size in bytes below which a file counts as tiny
SMALLEST_FRAME: Final = 4096  # bytes; a frame holds at least the longest tar header that Linux names need, but one

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
INDEX_MAGIC: Final = 0x184D2A5A  # skippable frame that holds the member index
INDEX_MARK: Final = b"HFINDEX1"
TABLE_MAGIC: Final = 0x184D2A5E  # skippable frame that holds the seek table (zstd seekable format)
TABLE_FOOTER_MAGIC: Final = 0x8F92EAB1

IDENTITY_LIMIT: Final = 1 << 20  # bytes of holdfast.json that a reader takes
DOCUMENT_LIMIT: Final = 512 << 20  # bytes of one metadata member or of the index that a reader takes
SIDECAR_LIMIT: Final = DOCUMENT_LIMIT  # bytes of a sidecar that a reader takes; it holds a tree as well
DIGEST_SIZE: Final = 64  # bytes of a SHA-512
