# SPDX-License-Identifier: Apache-2.0
"""A simulated tape library in a folder: real bytes, several processes, LTFS's rules, and its times if wanted.

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
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from holdfast.errors import Conflict, InvalidInput, LibraryUnavailable, NotFound
from holdfast.scheduling.geometry import ANY, medium_of
from holdfast.tape.clock import Clock
from holdfast.tape.faults import read_faults
from holdfast.tape.index import Index, load_index, save_index, save_json
from holdfast.tape.library import Mode, TapeInfo, TapeSession, VolumeInfo
from holdfast.tape.locks import Lock, drives_out, loaded_drives, lock_out, put_back, release
from holdfast.tape.media import drive_names, tape_types
from holdfast.tape.media import media_type as bar_code_type
from holdfast.tape.mounting import drive_sessions
from holdfast.tape.posix import open_session
from holdfast.tape.volume import SimulatedVolume, dirty_mark, index_path, is_unreadable, limit
from holdfast.tape.watchdog import Limits, WatchedSession

_NO_TYPE: Final = "SIM"  # of tapes that go in every drive
_EARLY_WARNING: Final = 0.01  # of the capacity
_SPREAD: Final = 0.002  # of the capacity; no two real tapes hold the same
_MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Layout:
    tapes: Mapping[str, str]  # serial: home slot
    drives: Sequence[str]
    media: Mapping[str, str] = field(default_factory=dict)  # serial: media type, of those that have one
    kinds: Mapping[str, str] = field(default_factory=dict)  # drive: its kind, of those that have one
    speed: float = 0.0  # seconds of tapes in a second

    def media_type(self, serial: str) -> str:
        return self.media.get(serial, _NO_TYPE)

    def drive_kinds(self) -> dict[str, str]:
        return {drive: self.kinds.get(drive, ANY) for drive in self.drives}


class SimulatedLibrary:
    """The library in the folder `root`; a `TapeLibrary`."""

    names_drives = True

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        """Use a library that `create` made; nothing is read yet. With `limits`, sessions run under the watchdog."""
        self.root = root
        self._limits = limits

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        tapes: int = 8,
        media: Iterable[tuple[str, int]] = (),
        capacity: int = 2_000_000_000,
        drives: int | Iterable[tuple[str, int]] = 2,
        early_warning: int | None = None,
        speed: float = 0.0,
    ) -> SimulatedLibrary:
        """Make a library, or add what an existing one lacks of `tapes` and `drives`; tapes keep what they have.

        `media` gives media types with counts instead of a number of tapes; such tapes hold up to 0.2 % less than
        `capacity`, each another number. `drives` may be kinds with counts too. `capacity` and `early_warning` (where
        writes begin to fail before the end; 1 % when None) are in bytes and hold for new tapes. At a `speed` of 1 it is
        as slow as real tapes (`holdfast.tape.clock`), at 0 it takes no time. Raises LibraryUnavailable, InvalidInput (no
        such type or kind).
        """
        library = cls(root)
        own = root / ".library"
        types = tape_types(media) or [_NO_TYPE] * tapes
        named = drive_names([(ANY, drives)] if isinstance(drives, int) else drives)
        warning = int(capacity * _EARLY_WARNING) if early_warning is None else early_warning
        try:
            for folder in ("tapes", "locks", "limbo"):
                (own / folder).mkdir(parents=True, exist_ok=True)
            with (own / "create.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                known = library._layout() if (own / "library.json").exists() else _Layout({}, ())
                homes, typed = {**known.tapes}, {**known.media}
                for number, kind in enumerate(types, start=1):
                    if number > len(known.tapes):
                        serial = library._add(number, kind, Index(capacity=capacity, early_warning=warning))
                        homes[serial] = f"slot {number}"
                        typed |= {serial: kind} if kind != _NO_TYPE else {}
                layout = _Layout(homes, _all_drives(known, named), typed, _kinds(named), speed)
                save_json(own / "library.json", asdict(layout))
        except OSError as error:
            raise LibraryUnavailable(path=root, why=error.strerror) from error
        return library

    def _add(self, number: int, kind: str, index: Index) -> str:
        """Make one new tape and return its serial."""
        serial = f"HF{number:04}{'L8' if kind == _NO_TYPE else kind}"
        self._make(serial, kind, index)
        return serial

    def _make(self, serial: str, kind: str, index: Index) -> None:
        if kind != _NO_TYPE:
            # Always the same for a serial, so that a library can be made again.
            less = zlib.crc32(serial.encode()) % max(int(index.capacity * _SPREAD), 1)
            index = replace(index, capacity=index.capacity - less)
        (self.root / serial).mkdir(exist_ok=True)
        save_index(index_path(self.root, serial), index)

    def inventory(self) -> Sequence[TapeInfo]:
        """Return all tapes, by serial, without mounting any. Raises LibraryUnavailable."""
        layout = self._layout()
        tapes = [
            TapeInfo(serial, layout.media_type(serial), home, self._state(serial))
            for serial, home in layout.tapes.items()
        ]
        unread = sum(is_unreadable(self.root, serial) for serial in layout.tapes)
        tapes += [TapeInfo(f"UNKN{number:04}", "", state="missing") for number in range(unread)]
        return sorted(tapes, key=lambda tape: tape.serial)

    def drives(self) -> Mapping[str, str | None]:
        """Return each drive with the serial of the tape in it, None for an empty one. Raises LibraryUnavailable."""
        return loaded_drives(self._locks, self._layout().drives)

    def drive_kinds(self) -> Mapping[str, str]:
        """Return the kind of each drive, empty for one that takes every tape. Raises LibraryUnavailable."""
        return self._layout().drive_kinds()

    def drives_out(self) -> Mapping[str, str]:
        """Return why each drive is out of use that is, or will be when its tape is out. Raises LibraryUnavailable."""
        return drives_out(self._locks, self._layout().drives)

    def speed(self) -> float:
        """Return how many seconds of tapes pass in a second. Raises LibraryUnavailable."""
        return self._layout().speed

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
            health=self._health(serial, index),
        )

    def _health(self, serial: str, index: Index) -> Mapping[str, int]:
        known = {**index.counters, "mediaMBWritten": index.used // _MB, "mediaMBRead": index.read // _MB}
        if any(fault.fault == "no-health" and fault.concerns(serial) for fault in read_faults(self.root)):
            return dict.fromkeys(known, -1)
        return known

    @contextlib.contextmanager
    def sessions(
        self,
        serials: Sequence[str],
        mode: Mode,
        *,
        timeout: float | None = None,
        avoid: Collection[tuple[str, str]] = (),
    ) -> Iterator[Sequence[TapeSession]]:
        """Take a drive for each tape, all or none, mount, and close all at the end; `timeout` in seconds.

        Pairs of tape and drive to `avoid` come together when no other drive is free. Raises Busy, MediumFailed (cannot be mounted, or frozen and `mode` is "write"), NotFound, LibraryUnavailable,
        InvalidInput (a tape twice, more tapes than drives, or none that takes one).
        """
        layout = self._check_known(serials)
        tapes = [(serial, layout.media_type(serial)) for serial in serials]
        mount = partial(self._mount, mode)
        with drive_sessions(self._locks, layout.drive_kinds(), tapes, mode, timeout, mount, avoid) as opened:
            yield opened

    def make_tape(self, serial: str, *, capacity: int, media_type: str) -> None:
        """Make a new tape, of `capacity` bytes and a media type or "" for the usual one.

        That is what its bar code says or, in a library of tapes without types, none: it goes in every drive. Raises InvalidInput for a serial that is not that of such a tape, Conflict when it is there already.
        """
        known = bar_code_type(serial)
        if not known or media_type not in {"", known}:
            what = f"a bar code that ends with {media_type}" if media_type else "the bar code of a tape"
            raise InvalidInput(what=f"{serial} is not {what}: six letters or digits and the type, as HF0100L8.")
        if capacity < _MB:
            raise InvalidInput(what=f"A tape of {capacity} bytes is too small: 1 MB is the least.")
        warning = int(capacity * _EARLY_WARNING)
        with (self.root / ".library" / "create.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            layout = self._layout()
            if serial in layout.tapes:
                raise Conflict(what=f"Tape {serial} is in the library already.")
            media_type = media_type or (known if layout.media else "")
            self._make(serial, media_type or _NO_TYPE, Index(capacity=capacity, early_warning=warning))
            homes = {**layout.tapes, serial: f"slot {len(layout.tapes) + 1}"}
            typed = {**layout.media, serial: media_type} if media_type else layout.media
            save_json(self.root / ".library" / "library.json", asdict(replace(layout, tapes=homes, media=typed)))

    def lock_out(self, drive: str, why: str) -> None:
        """Have nobody use a drive until it is put back; one in use is out when its tape is. Raises NotFound."""
        if drive not in self._layout().drives:
            raise NotFound(kind="drive", name=drive)
        lock_out(self._locks / f"drive-{drive}", why)

    def put_back(self, name: str) -> None:
        """Let a tape or a drive be used again that was locked out. Raises NotFound when none is."""
        if not put_back(self._locks, name):
            raise NotFound(kind="tape or drive that is out of use called", name=name)

    def _mount(self, mode: Mode, serial: str, tape: Lock, drive: Lock) -> TapeSession:
        layout, index = self._layout(), load_index(index_path(self.root, serial))
        clock = Clock(self._locks / "robot", serial, medium_of(layout.media_type(serial), index.capacity), layout.speed)
        volume = partial(SimulatedVolume, self.root, serial, drive.thing, clock)
        make = partial(open_session, volume, serial, drive.thing, mode)
        if self._limits:
            return WatchedSession(make, serial, tape, drive, self._limits)
        return make(lambda: release([drive, tape]))

    def _state(self, serial: str) -> str:
        if not (self.root / serial).is_dir() or is_unreadable(self.root, serial):
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


def _all_drives(known: _Layout, named: Mapping[str, str]) -> Sequence[str]:
    """Return the drives there are to be: nothing is in a drive, so kinds that are given replace what was."""
    return tuple(named if any(named.values()) else {**dict.fromkeys(known.drives), **named})


def _kinds(named: Mapping[str, str]) -> Mapping[str, str]:
    return {drive: kind for drive, kind in named.items() if kind != ANY}
