# SPDX-License-Identifier: Apache-2.0
"""Writing through the page cache, in pieces for which the kernel needs no large blocks of memory."""

from __future__ import annotations

import os
from typing import Final

# Bytes of one write. The kernel takes as few blocks of memory for one as it can, and a virtual machine gives large free blocks
# back to its host, from where they come slowly: 1 GB in pieces of 4 MiB took more than ten times as long as in these, smaller
# pieces cost more calls (bench/writing.py).
_PIECE: Final = 256 << 10


def write_all(descriptor: int, data: bytes | memoryview, at: int | None = None) -> None:
    """Write all of `data`, at byte `at` or, without it, where the file stands. Raises OSError, when a part may be written."""
    view = memoryview(data)
    while view:
        piece = view[:_PIECE]
        count = os.write(descriptor, piece) if at is None else os.pwrite(descriptor, piece, at)
        view, at = view[count:], None if at is None else at + count
