# SPDX-License-Identifier: Apache-2.0
"""A simulated tape library in a folder: real bytes, several processes, LTFS's rules, no time lost on winding.

    ROOT/HF0001L8/NAME                  what a mounted tape shows
    ROOT/.library/library.json          tapes and drives
    ROOT/.library/tapes/HF0001L8.json   the last durable index
    ROOT/.library/tapes/HF0001L8.dirty  there while the tape has more than its index says
    ROOT/.library/limbo/HF0001L8/       files deleted since the index
    ROOT/.library/locks/                who has which tape and drive
    ROOT/.library/faults.json           what goes wrong (`holdfast.tape.faults`)

Other folders in ROOT are not ours and are left alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.errors import InvalidInput, LibraryUnavailable, MediumFailed, NotFound
from holdfast.tape.index import Index, load_index, save_index, save_json
from holdfast.tape.library import Mode, TapeInfo, VolumeInfo
from holdfast.tape.locks import Deadline, Lock, loaded_drives, release, take_drives, take_tapes
from holdfast.tape.posix import PosixSession, close_all
from holdfast.tape.volume import SimulatedVolume, dirty_mark, index_path, limit

_MEDIA_TYPE: Final = "SIM"
_EARLY_WARNING: Final = 0.01  # of the capacity
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Layout:
    tapes: Mapping[str, str]  # serial: home slot
    drives: Sequence[str]


class SimulatedLibrary:
    """The library in the folder `root`; a `TapeLibrary`."""

    def __init__(self, root: Path) -> None:
        """Use a library that `create` made; nothing is read yet."""
        self.root = root

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        tapes: int = 8,
        capacity: int = 2_000_000_000,
        drives: int = 2,
        early_warning: int | None = None,
    ) -> SimulatedLibrary:
        """Make a library, or add what an existing one lacks of `tapes` and `drives`; tapes keep what they have.

        `capacity` and `early_warning` (where writes begin to fail before the end; 1 % when None) are in bytes and
        hold for new tapes. Raises LibraryUnavailable.
        """
        library = cls(root)
        own = root / ".library"
        try:
            for folder in ("tapes", "locks", "limbo"):
                (own / folder).mkdir(parents=True, exist_ok=True)
            with (own / "create.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = library._layout() if (own / "library.json").exists() else _Layout({}, ())
                homes = dict(known.tapes)
                warning = int(capacity * _EARLY_WARNING) if early_warning is None else early_warning
                for number in range(len(homes) + 1, tapes + 1):
                    serial = f"HF{number:04}L8"
                    (root / serial).mkdir(exist_ok=True)
                    save_index(index_path(root, serial), Index(capacity=capacity, early_warning=warning))
                    homes[serial] = f"slot {number}"
                names = [f"D{number}" for number in range(1, max(drives, len(known.drives)) + 1)]
                save_json(own / "library.json", {"tapes": homes, "drives": names})
        except OSError as error:
            raise LibraryUnavailable(path=root, why=error.strerror) from error
        return library

    def inventory(self) -> Sequence[TapeInfo]:
        """Return all tapes, by serial, without mounting any. Raises LibraryUnavailable."""
        return [
            TapeInfo(serial, _MEDIA_TYPE, home, self._state(serial))
            for serial, home in sorted(self._layout().tapes.items())
        ]

    def drives(self) -> Mapping[str, str | None]:
        """Return each drive with the serial of the tape in it, None for an empty one. Raises LibraryUnavailable."""
        return loaded_drives(self._locks, self._layout().drives)

    def stat(self, serial: str) -> VolumeInfo:
        """Return what the last index says, without mounting. Raises NotFound, LibraryUnavailable."""
        self._check_known([serial])
        index = load_index(index_path(self.root, serial))
        return VolumeInfo(
            serial=serial,
            capacity=index.capacity,
            free=max(index.capacity - index.used, 0),
            generation=index.generation,
            lock_state=index.lock_state,
            consistent=not dirty_mark(self.root, serial).exists(),
            health={
                **index.counters,
                "mediaMBWritten": index.used // _MB,
                "mediaMBRead": index.read // _MB,
            },
        )

    @contextlib.contextmanager
    def sessions(
        self, serials: Sequence[str], mode: Mode, *, timeout: float | None = None
    ) -> Iterator[Sequence[PosixSession]]:
        """Take a drive for each tape, all or none, mount, and close all at the end; `timeout` in seconds.

        Raises Busy, MediumFailed (cannot be mounted, or frozen and `mode` is "write"), NotFound, LibraryUnavailable,
        InvalidInput (a tape twice, or more tapes than there are drives).
        """
        layout = self._check_known(serials)
        if len(set(serials)) < len(serials) or len(serials) > len(layout.drives):
            raise InvalidInput(what=f"{len(layout.drives)} drives cannot take {', '.join(serials)} at once.")
        deadline = Deadline(timeout)
        tapes = take_tapes(self._locks, serials, deadline)
        try:
            drives = take_drives(self._locks, layout.drives, len(serials), deadline)
        except BaseException:
            release(tapes.values())
            raise
        opened: list[PosixSession] = []
        waiting = dict(zip(serials, drives, strict=True))  # not mounted yet
        try:
            for serial in serials:
                opened.append(self._mount(serial, mode, tapes[serial], waiting[serial]))
                del waiting[serial]
            yield tuple(opened)
        finally:
            for serial, drive in waiting.items():
                release([tapes[serial], drive])
            close_all(opened)

    def _mount(self, serial: str, mode: Mode, tape: Lock, drive: Lock) -> PosixSession:
        drive.note(serial)
        try:
            volume = SimulatedVolume(self.root, serial)
        except OSError as error:
            raise MediumFailed(medium=f"Tape {serial}", why=error.strerror or str(error)) from error
        lock_state = int(volume.get_vea(volume.root, "ltfs.volumeLockState"), 0)
        if mode == "write" and lock_state:
            raise MediumFailed(medium=f"Tape {serial}", why=f"it is frozen, lock state {lock_state:#x}")
        return PosixSession(volume, drive.name.removeprefix("drive-"), mode, _giver([drive, tape]))

    def _state(self, serial: str) -> str:
        if not (self.root / serial).is_dir():
            return "missing"
        index = load_index(index_path(self.root, serial))
        if index.lock_state:
            return "broken"
        return "full" if index.used >= limit(self.root, serial, index) else "active"

    def _check_known(self, serials: Sequence[str]) -> _Layout:
        layout = self._layout()
        for serial in serials:
            if serial not in layout.tapes:
                raise NotFound(kind="tape", name=serial)
        return layout

    def _layout(self) -> _Layout:
        try:
            return _Layout(**json.loads((self.root / ".library" / "library.json").read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise LibraryUnavailable(path=self.root, why=str(error)) from error

    @property
    def _locks(self) -> Path:
        return self.root / ".library" / "locks"


def _giver(locks: Sequence[Lock]) -> Callable[[], None]:
    return lambda: release(locks)
