# SPDX-License-Identifier: Apache-2.0
"""The virtual attributes of LTFS on a folder that is no LTFS, for tests of `holdfast.tape.ltfs`.

Files, and the attributes that are set on them, are those of the file system; this gives the ones that LTFS makes up.
They stand in the index of a simulated tape, in the folder of a simulated library. Nothing is reverted after a death.
"""

from __future__ import annotations

import errno
import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from holdfast.tape.faults import fire
from holdfast.tape.index import INDEX_BLOCKS, TAPE_BLOCK, Index, blocks, load_index, save_index
from holdfast.tape.ltfs import ExtendedAttributes
from holdfast.tape.volume import index_path

_START: Final = "user.pretended.startblock"  # goes with the file


def supports_attributes(folder: Path) -> bool:
    """Say whether the file system of a folder has `user.` attributes: those of some do not."""
    with suppress(OSError):
        os.setxattr(folder, "user.holdfast", b"")
        os.removexattr(folder, "user.holdfast")
        return True
    return False


def always(_: Path) -> bool:
    """Take every folder for a mount point."""
    return True


def hanging(path: Path) -> bool:
    """Hang while there is a file `hang` beside a mount point."""
    while path.with_name("hang").exists():
        signal.pause()
    return True


class PretendedLtfs(ExtendedAttributes):
    """Attributes of the tapes of a simulated library that is used as if it were LTFS."""

    def get(self, path: Path, name: str) -> str:
        """Return an attribute; OSError with ENODATA when there is none."""
        if path.is_dir():
            return self._of_volume(path, name)
        return self._start_block(path) if name == "ltfs.startblock" else super().get(path, name)

    def set(self, path: Path, name: str, value: str) -> None:
        """Set an attribute; `ltfs.sync` on the root makes the next generation, a mask of flags clears them."""
        if not path.is_dir():
            super().set(path, name, value)
        elif name == "ltfs.sync":
            while fire(path.parent, path.name, "hangs", lambda fault: fault.name == "sync"):
                signal.pause()
            index = self._index(path)
            index = replace(index, generation=index.generation + 1, next_block=index.next_block + INDEX_BLOCKS)
            save_index(index_path(path.parent, path.name), index)
        elif name == "ltfs.mediaStorageAlert":
            index = self._index(path)
            left = index.counters["mediaStorageAlert"] & ~int(value, 16)
            index = replace(index, counters={**index.counters, "mediaStorageAlert": left})
            save_index(index_path(path.parent, path.name), index)

    def _of_volume(self, path: Path, name: str) -> str:
        index = self._index(path)
        # Asked for once, when a tape is mounted.
        if name == "ltfs.volumeSerial" and fire(path.parent, path.name, "mount-fails"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = max(index.capacity - index.next_block * TAPE_BLOCK, 0)
        made_up = {
            "ltfs.volumeSerial": path.name[:6],
            "ltfs.mamBarcode": f"{path.name:<32}",
            "ltfs.indexGeneration": f"{index.generation}",
            "ltfs.volumeLockState": f"{index.lock_state:#x}",
            "ltfs.mediaDataPartitionTotalCapacity": f"{index.capacity >> 20}",
            "ltfs.mediaDataPartitionAvailableSpace": f"{left >> 20}",
            "ltfs.mediaLoads": "3",
            "ltfs.mediaEfficiency": "-1",
            "ltfs.mediaStorageAlert": f"{index.counters['mediaStorageAlert']:#018x}",
        }
        if name not in made_up:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), name)
        return made_up[name]

    def _start_block(self, path: Path) -> str:
        with suppress(OSError):
            return os.getxattr(path, _START).decode()
        # Sessions ask after each file that they wrote, so files come in the order of the tape.
        index = self._index(path.parent)
        place = index.next_block
        os.setxattr(path, _START, f"{place}".encode())
        index = replace(index, next_block=place + blocks(path.stat().st_size))
        save_index(index_path(path.parent.parent, path.parent.name), index)
        return f"{place}"

    def _index(self, volume: Path) -> Index:
        return load_index(index_path(volume.parent, volume.name))
