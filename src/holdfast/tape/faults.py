# SPDX-License-Identifier: Apache-2.0
"""Faults for the simulated library: what real tapes do on bad days, on demand and always in the same way.

They stand in `ROOT/.library/faults.json`, a list of objects with the fields of `Fault`; any process may write it
while others work on the library. Counted faults (`at_op`, `times`) are counted down in that file.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, get_args

from holdfast.errors import LibraryUnavailable

FaultKind = Literal[
    "write-error", "read-error", "bit-flip", "sync-fails", "sync-lies", "full", "mount-fails", "unmount-fails",
    "drive-dies", "slow-drive", "hangs", "wrong-tape", "bar-code", "no-health", "recovered-errors", "tape-alert",
]  # fmt: skip
KINDS: Final[frozenset[str]] = frozenset(get_args(FaultKind))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one tape, or with one drive and whatever tape is in it.

    write-error   writing fails for ever when the tape holds `after_bytes`: EROFS. With `lock_state` 0x60 (the data
                  partition) an index is still written and an empty stub stays; with 0xe0 (both partitions) none is,
                  and the tape is as its last index says
    full          the tape ends at `after_bytes`, whatever its capacity says
    read-error    EIO for the block that holds byte `offset` of file `name`
    bit-flip      byte `offset` of file `name` comes back with its lowest bit changed
    sync-fails    the index is not written: EIO
    sync-lies     the index is written, but the end of the last file is not what was written (LTFS issue 315)
    mount-fails   the tape cannot be mounted
    unmount-fails  the tape stays in the drive: EIO at the end of the session
    drive-dies    EIO for the rest of the session, and the next `stuck` mounts of the tape fail
    slow-drive    no more than `rate` bytes are read or written in a second
    hangs         the operation `name` (mount, write, read, sync, unmount) never returns; only a watchdog helps
    wrong-tape    the tape in the slot calls itself `name`
    bar-code      the bar code cannot be read: the library shows an unknown tape instead
    no-health     the drive does not know its counters: all are -1
    recovered-errors  `per_gb` errors are corrected for each GB that is read or written, and counted
    tape-alert    the drive raises the TapeAlert `flags`, a mask in which bit 0 is flag 1

    A restart of the library's server is no fault of one tape: see `restart_server`.
    """

    serial: str  # empty: every tape that is in the drive `drive`
    fault: FaultKind
    after_bytes: int = 0  # bytes on the tape from its beginning, dead ones included
    offset: int = 0  # bytes from the beginning of the file
    name: str = ""  # of the file; empty: any. For hangs the operation, for wrong-tape the other serial
    lock_state: int = 0x60  # after a write-error; or 0xe0
    stuck: int = 0  # mounts that fail after a drive-dies
    rate: int = 0  # bytes per second of a slow-drive
    per_gb: int = 0  # recovered-errors in 1,000,000,000 bytes
    flags: int = 0  # of a tape-alert
    drive: str = ""  # only in this drive
    at_op: int = 0  # so many operations that could fail are let pass first
    times: int | None = None  # so often it happens; None: for ever. A session reads three times before it gives up

    def concerns(self, serial: str, drive: str = "") -> bool:
        """Say whether it is about a tape, in a drive or wherever it is."""
        if self.drive and self.drive != drive:
            return False
        return self.serial == serial or (not self.serial and bool(self.drive))


def read_faults(root: Path) -> Sequence[Fault]:
    """Return the faults of the library at `root`. Raises LibraryUnavailable when the file makes no sense."""
    path = _path(root)
    try:
        state = os.stat(path)
        return _parsed(str(path), state.st_mtime_ns, state.st_ino, state.st_size)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        raise LibraryUnavailable(path=root, why=f"{path.name}: {error}") from error


@lru_cache(maxsize=16)
def _parsed(path: str, _changed: int, _inode: int, _size: int) -> Sequence[Fault]:
    # Asked for with every block that is read or written, so the file is parsed only when it is another.
    with open(path, "rb") as file:
        faults = tuple(Fault(**row) for row in json.load(file))
    for fault in faults:
        if fault.fault not in KINDS:
            raise ValueError(f"there is no fault {fault.fault!r}")
    return faults


def write_faults(root: Path, faults: Iterable[Fault]) -> None:
    """Replace the faults of the library at `root`."""
    path = _path(root)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps([asdict(fault) for fault in faults], indent=1) + "\n")
    temporary.replace(path)


def fire(
    root: Path, serial: str, kind: FaultKind, matches: Callable[[Fault], bool] | None = None, drive: str = ""
) -> Fault | None:
    """Return the fault that happens now to this operation, counting it down; None when all is well."""

    def meant(fault: Fault) -> bool:
        return fault.concerns(serial, drive) and fault.fault == kind and (matches is None or matches(fault))

    if not any(map(meant, read_faults(root))):
        return None
    with _path(root).with_name("faults.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        faults = list(read_faults(root))
        for number, fault in enumerate(faults):
            if not meant(fault) or fault.times == 0:
                continue
            if fault.at_op:
                faults[number] = replace(fault, at_op=fault.at_op - 1)
                write_faults(root, faults)
                return None
            if fault.times is not None:
                faults[number] = replace(fault, times=fault.times - 1)
                write_faults(root, faults)
            return fault
    return None


def add_fault(root: Path, fault: Fault) -> None:
    """Have one more thing go wrong."""
    with _path(root).with_name("faults.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_faults(root, [*read_faults(root), fault])


def restart_server(root: Path) -> None:
    """Restart the library's server: every session that is open now is lost."""
    path = _restarts(root)
    before = server_starts(root)
    path.write_text(f"{before + 1}\n", "ascii")


def server_starts(root: Path) -> int:
    """How often the library's server was restarted."""
    with contextlib.suppress(FileNotFoundError):
        return int(_restarts(root).read_text("ascii"))
    return 0


def _restarts(root: Path) -> Path:
    return root / ".library" / "restarts"


def _path(root: Path) -> Path:
    return root / ".library" / "faults.json"
