# SPDX-License-Identifier: Apache-2.0
"""The index of a simulated tape: the only thing that is durable, as on LTFS."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from holdfast.errors import LibraryUnavailable

TAPE_BLOCK: Final = 512 << 10  # bytes; the block size of LTFS
FIRST_BLOCK: Final = 6  # label and first index come before the first file
INDEX_BLOCKS: Final = 3  # filemark, index, filemark
COUNTERS: Final = (
    "mediaLoads",
    "mediaPermanentWriteErrors",
    "mediaPermanentReadErrors",
    "mediaRecoveredReadErrors",
    "mediaRecoveredWriteErrors",
    "mediaStorageAlert",
)


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """One file as the index knows it."""

    size: int  # bytes
    start_block: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """The state of a tape at its last index."""

    capacity: int  # bytes
    early_warning: int  # bytes before the end where writes begin to fail
    generation: int = 1
    lock_state: int = 0
    used: int = 0  # bytes, dead ones included
    read: int = 0  # bytes that were ever read
    next_block: int = FIRST_BLOCK
    message: str = ""
    files: Mapping[str, IndexedFile] = field(default_factory=dict)
    counters: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    @property
    def limit(self) -> int:
        """How many bytes the tape really takes."""
        return max(self.capacity - self.early_warning, 0)


def load_index(path: Path) -> Index:
    """Read an index. Raises LibraryUnavailable."""
    try:
        row = json.loads(path.read_bytes())
        files = {name: IndexedFile(**file) for name, file in row.pop("files").items()}
        return Index(files=files, **row)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LibraryUnavailable(path=path.parent, why=f"{path.name}: {error}") from error


def save_index(path: Path, index: Index) -> None:
    """Replace an index; durable when it returns. Raises OSError."""
    save_json(path, asdict(index))


def save_json(path: Path, value: object) -> None:
    """Replace a file with `value` as JSON, all or nothing, durable when it returns. Raises OSError."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def blocks(size: int) -> int:
    """How many tape blocks `size` bytes take."""
    return -(-size // TAPE_BLOCK)
