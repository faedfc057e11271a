# SPDX-License-Identifier: Apache-2.0
"""A simulated tape in a drive: what `PosixSession` asks of a volume, with LTFS's rules and failures."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from holdfast.tape.clock import Clock
from holdfast.tape.faults import Fault, FaultKind, add_fault, fire, read_faults, server_starts
from holdfast.tape.index import (
    INDEX_BLOCKS,
    TAPE_BLOCK,
    Index,
    IndexedFile,
    blocks,
    load_index,
    save_index,
    save_json,
    sync_folder,
)
from holdfast.tape.library import describe_lock

_LABEL: Final = 6  # characters of a volume's label: the bar code without the media type
_GB: Final = 1_000_000_000
_BOTH_PARTITIONS: Final = 0x80  # bit of LTFS's lock state: no index could be written either


class SimulatedVolume:
    """A mounted tape of a simulated library.

    The folder shows the tape as it is now; the index file is what is durable. In between stand the dirty mark,
    with the bytes that went dead since the index, and the limbo, where files lie that were deleted since: what the
    last index has comes back when the process dies.
    """

    def __init__(self, library: Path, serial: str, drive: str, clock: Clock) -> None:
        """Mount in a drive: recover to the last index if need be. Raises OSError."""
        self.serial = serial
        self._drive = drive
        self.root = library / serial
        self.recovered: Sequence[str] = ()
        self.head: int | None = clock.head
        self._clock = clock
        self._library = library
        self._index_path = index_path(library, serial)
        self._mark = dirty_mark(library, serial)
        self._limbo = library / ".library" / "limbo" / serial
        self._index = load_index(self._index_path)
        self._message = ""
        self._last: Path | None = None  # the file written last; sync may lie about it
        self._dead = 0  # bytes that went dead since the index
        self._starts_of_server = server_starts(library)
        self._lost = False  # the drive died
        self._corrected = 0.0  # errors since the mount that are not counted yet
        self._hang("mount")
        clock.mount()
        if self._fire("mount-fails"):
            raise OSError(errno.EIO, "the drive cannot load it")
        if not self.root.is_dir() or is_unreadable(library, serial):
            raise OSError(errno.ENOENT, "the tape is not in the library")
        self._recover()
        self._starts: dict[Path, int] = {}  # where on the tape, in bytes, the files of this session begin
        self._begin_at_index()
        self._counters = {**self._index.counters}
        self._read = self._index.read
        self._count("mediaLoads")
        self._save_counters()

    def _begin_at_index(self) -> None:
        self._used = self._index.used
        self._next_block = self._index.next_block
        self._attributes = {name: dict(file.attributes) for name, file in self._index.files.items()}
        self._start_blocks = {name: file.start_block for name, file in self._index.files.items()}
        self._starts.clear()

    # ---- attributes ----

    def get_vea(self, path: Path, name: str) -> str:
        """Return an attribute; OSError with ENODATA when there is none."""
        found = self._volume_vea(name) if path == self.root else self._file_vea(path, name)
        if found is None:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA), name)
        return found

    def set_vea(self, path: Path, name: str, value: str) -> None:
        """Set an attribute; `ltfs.sync` on the root writes the index."""
        self._alive()
        if path == self.root and name == "ltfs.sync":
            self._sync()
        elif path == self.root and name == "ltfs.commitMessage":
            self._message = value
        else:
            path.stat()
            self._touch()
            self._attributes.setdefault(path.name, {})[name] = value

    def list_vea(self, path: Path) -> Sequence[str]:
        """Return the names of the attributes that were set."""
        return tuple(self._attributes.get(path.name, ()))

    def _volume_vea(self, name: str) -> str | None:
        return {
            "ltfs.indexGeneration": str(self._index.generation),
            "ltfs.volumeLockState": hex(self._index.lock_state),
            "ltfs.commitMessage": self._index.message,
            "ltfs.volumeSerial": self._label(),
            "ltfs.volumeBlocksize": str(TAPE_BLOCK),
            "ltfs.mediaDataPartitionTotalCapacity": str(self._index.capacity >> 20),
            "ltfs.mediaDataPartitionAvailableSpace": str((self._index.capacity - self._used) >> 20),
        }.get(name)

    def _label(self) -> str:
        return next((fault.name for fault in self._faults("wrong-tape")), self.serial)[:_LABEL]

    def _file_vea(self, path: Path, name: str) -> str | None:
        if name == "ltfs.startblock" and path.stat().st_size:
            return str(self._start_blocks.get(path.name, 0))
        return self._attributes.get(path.name, {}).get(name)

    # ---- bytes ----

    def creating(self, path: Path) -> None:
        """Allow a new file unless the tape is frozen or full."""
        self._alive()
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path.name)
        if self._used >= self._limit():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path.name)
        self._touch()
        self._starts[path] = self._used
        self._start_blocks[path.name] = self._next_block
        self._last = path

    def clock(self) -> float | None:
        """Return the seconds of tapes that finding places took; None when no time passes."""
        return self._clock.sought

    def admit(self, path: Path, done: int, wanted: int) -> int:
        """Return how many bytes the tape takes now; ENOSPC at its end, EROFS when it breaks."""
        self._alive()
        begin = self._starts[path]
        room = self._limit() - begin - done
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path.name)
        admitted = min(wanted, room)
        lock_state = 0
        for fault in self._faults("write-error"):
            admitted = min(admitted, max(fault.after_bytes - begin - done, 0))
            lock_state = fault.lock_state
        if admitted == 0:
            self._freeze(path, lock_state)
        self._move("write", admitted)
        place = self._start_blocks[path.name] * TAPE_BLOCK
        self._clock.append(place, place + done + admitted)
        # The same bytes may be asked for twice (a try with O_DIRECT, then a copy), so this is no sum.
        self._used = max(self._used, begin + done + admitted)
        self._next_block = self._start_blocks[path.name] + blocks(self._used - begin)
        return admitted

    def was_read(self, path: Path, offset: int, block: bytes | memoryview) -> bytes | memoryview:
        """Return what the medium gave: the block, an error, or a flipped bit."""

        def hit(fault: Fault) -> bool:
            return fault.name in {"", path.name} and offset <= fault.offset < offset + len(block)

        self._move("read", len(block))
        self._clock.read(self._start_blocks.get(path.name, 0) * TAPE_BLOCK + offset, len(block))
        self._read += len(block)
        if fault := self._fire("read-error", hit):
            self._count("mediaPermanentReadErrors" if fault.times is None else "mediaRecoveredReadErrors")
            raise OSError(errno.EIO, os.strerror(errno.EIO), path.name)
        if fault := self._fire("bit-flip", hit):
            changed = bytearray(block)
            changed[fault.offset - offset] ^= 1
            return bytes(changed)
        return block

    def unlink(self, path: Path) -> None:
        """Delete a file; what the index has of it is kept until the next index."""
        self._alive()
        size = path.stat().st_size
        self._touch()
        if path.name in self._index.files and path not in self._starts:
            self._limbo_now().mkdir(parents=True, exist_ok=True)
            path.rename(self._limbo_now() / path.name)
        else:
            self._discard(path, size)
        self._attributes.pop(path.name, None)
        self._start_blocks.pop(path.name, None)
        self._starts.pop(path, None)

    def unmount(self) -> None:
        """Keep the counters."""
        self._save_counters()
        self._hang("unmount")
        self._clock.unmount()
        if self._fire("unmount-fails"):
            raise OSError(errno.EIO, "the drive does not give it back")

    # ---- the durability line ----

    def _sync(self) -> None:
        self._move("sync")
        if self._fire("sync-fails"):
            raise OSError(errno.EIO, "the index could not be written")
        lies = self._fire("sync-lies")
        self._write_index()
        self._clock.sync(self._next_block * TAPE_BLOCK)
        if lies and self._last is not None:
            _spoil(self._last)
        self._last = None

    def _write_index(self, lock_state: int = 0) -> None:
        with os.scandir(self.root) as entries:
            sizes = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
        files = {
            name: IndexedFile(size, self._start_blocks.get(name, 0), self._attributes.get(name, {}))
            for name, size in sizes
        }
        self._next_block += INDEX_BLOCKS
        self._replace_index(
            replace(
                self._index,
                generation=self._index.generation + 1,
                lock_state=lock_state,
                used=self._used,
                next_block=self._next_block,
                message=self._message,
                files=files,
                read=self._read,
                counters=dict(self._counters),
            )
        )
        self._starts.clear()

    def _replace_index(self, index: Index) -> None:
        """Move the durability line: with the rename of the index all older marks and limbo files are void."""
        sync_folder(self.root)
        save_index(self._index_path, index)
        self._index = index
        self._mark.unlink(missing_ok=True)
        self._dead = 0
        if self._limbo.exists():
            shutil.rmtree(self._limbo)

    def _recover(self) -> None:
        """Go back to the last index if need be, as `ltfsck` does."""
        if self._mark.exists():
            self._revert(replace(self._index, generation=self._index.generation + 1, message="recovered to this index"))

    def _revert(self, index: Index) -> None:
        """Show what the last index has, and have `index` follow it; what it does not have stays as dead space."""
        with contextlib.suppress(ValueError):
            mark = json.loads(self._mark.read_bytes())
            self._dead = mark["dead"] if mark["generation"] == self._index.generation else 0
        with os.scandir(self.root) as entries:
            sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        kept = set(os.listdir(self._limbo_now())) if self._limbo_now().is_dir() else set()
        dropped = []
        for name, size in sorted(sizes.items()):
            known = self._index.files.get(name)
            if known is None or name in kept:
                self._discard(self.root / name, size)
                dropped.append(name)
            elif size > known.size:
                os.truncate(self.root / name, known.size)
                self._dead += size - known.size
        for name in sorted(kept):
            (self._limbo_now() / name).rename(self.root / name)
        self.recovered = tuple(name for name in dropped if name not in kept)
        self._replace_index(
            replace(
                index,
                used=self._index.used + self._dead,
                next_block=self._index.next_block + blocks(self._dead) + INDEX_BLOCKS,
            )
        )

    def _discard(self, path: Path, size: int) -> None:
        # The mark first: dying in between counts the bytes twice, which wastes room but never promises too much.
        self._dead += size
        self._write_mark()
        path.unlink()

    def _touch(self) -> None:
        if not self._mark.exists():
            self._write_mark()

    def _write_mark(self) -> None:
        save_json(self._mark, {"generation": self._index.generation, "dead": self._dead})

    def _limbo_now(self) -> Path:
        return self._limbo / str(self._index.generation)

    # ---- failures and counters ----

    def _alive(self) -> None:
        if self._index.lock_state:
            raise OSError(errno.EROFS, f"frozen by an earlier error, {describe_lock(self._index.lock_state)}")

    def _move(self, what: str, count: int = 0) -> None:
        """Have the drive do something with `count` bytes, if it still can."""
        self._hang(what)
        if server_starts(self._library) != self._starts_of_server:
            raise OSError(errno.ENOTCONN, "the library's server was restarted")
        if not self._lost and (fault := self._fire("drive-dies")):
            self._lost = True
            add_fault(self._library, Fault(self.serial, "mount-fails", times=fault.stuck))
        if self._lost:
            raise OSError(errno.EIO, "the drive has died")
        for fault in self._faults("slow-drive"):
            time.sleep(count / fault.rate)
        for fault in self._faults("recovered-errors"):
            self._corrected += count * fault.per_gb / _GB
            whole = int(self._corrected)
            self._corrected -= whole
            self._count("mediaRecoveredReadErrors" if what == "read" else "mediaRecoveredWriteErrors", whole)

    def _hang(self, what: str) -> None:
        while self._fire("hangs", lambda fault: fault.name == what):
            signal.pause()

    def _freeze(self, path: Path, lock_state: int) -> None:
        """Break for ever: what was written before survives in a last index, if that can still be written."""
        self._count("mediaPermanentWriteErrors")
        if lock_state & _BOTH_PARTITIONS:
            self._revert(replace(self._index, lock_state=lock_state, counters=dict(self._counters)))
            self._begin_at_index()
        else:
            os.truncate(path, 0)
            self._write_index(lock_state)
        raise OSError(errno.EROFS, describe_lock(lock_state))

    def _limit(self) -> int:
        return limit(self._library, self.serial, self._index)

    def _faults(self, kind: str) -> Sequence[Fault]:
        known = read_faults(self._library)
        return [fault for fault in known if fault.fault == kind and fault.concerns(self.serial, self._drive)]

    def _fire(self, kind: FaultKind, matches: Callable[[Fault], bool] | None = None) -> Fault | None:
        return fire(self._library, self.serial, kind, matches, self._drive)

    def _count(self, counter: str, number: int = 1) -> None:
        self._counters[counter] = self._counters.get(counter, 0) + number

    def _save_counters(self) -> None:
        # As on LTFS: a flag stays until somebody clears it, which is done at the end of each mount.
        self._counters["mediaStorageAlert"] = 0
        for fault in self._faults("tape-alert"):
            self._counters["mediaStorageAlert"] |= fault.flags
        self._index = replace(self._index, read=self._read, counters=dict(self._counters))
        save_index(self._index_path, self._index)


def index_path(library: Path, serial: str) -> Path:
    """Where the last durable index of a tape stands."""
    return library / ".library" / "tapes" / f"{serial}.json"


def dirty_mark(library: Path, serial: str) -> Path:
    """The file that is there while a tape has more than its index says."""
    return library / ".library" / "tapes" / f"{serial}.dirty"


def limit(library: Path, serial: str, index: Index) -> int:
    """How many bytes a tape really takes: less than its capacity by the early warning, or by a fault."""
    ends = [fault.after_bytes for fault in read_faults(library) if fault.fault == "full" and fault.concerns(serial)]
    return min([index.limit, *ends])


def is_unreadable(library: Path, serial: str) -> bool:
    """Say whether the bar code of a tape cannot be read, so that nothing can get at it."""
    return any((fault.serial, fault.fault) == (serial, "bar-code") for fault in read_faults(library))


def _spoil(path: Path) -> None:
    # The bytes that a drive had in its buffer and never wrote: the last tape block reads as something else.
    size = path.stat().st_size
    begin = max(size - TAPE_BLOCK, 0)
    with path.open("r+b") as file:
        file.seek(begin)
        wrong = bytes(byte ^ 0xFF for byte in file.read())
        file.seek(begin)
        file.write(wrong)
        file.flush()
        os.fsync(file.fileno())
