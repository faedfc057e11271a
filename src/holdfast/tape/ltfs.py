# SPDX-License-Identifier: Apache-2.0
"""Real tapes: LTFS Library Edition, which shows one folder per cartridge below its mount point.

    /offline/HF0001L8/NAME        what a tape holds; opening a file loads it, listing does not
    /offline/HF0001L8-anything    a volume with a name of its own: refused, for its folder could change
    /offline/UNKN0000             a cartridge whose bar code cannot be read

The library chooses the drive; all we can do is to open no more tapes at a time than there are drives for. Nothing is
known about a tape that is not loaded except what was kept of it when it last was: one file per tape in our own folder,
beside the locks, outside of the mount. Every call below the mount point runs in a child process, for it may hang.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from holdfast.errors import InvalidInput, LibraryUnavailable, MediumFailed, NotFound
from holdfast.scheduling.geometry import MEDIA
from holdfast.tape.children import Caller, Gone, Hung
from holdfast.tape.index import save_json
from holdfast.tape.library import Mode, TapeInfo, TapeSession, VolumeInfo
from holdfast.tape.locks import Lock, drives_out, loaded_drives, lock_out, put_back
from holdfast.tape.media import drive_names, media_type
from holdfast.tape.mounting import drive_sessions
from holdfast.tape.posix import open_session
from holdfast.tape.watchdog import LIMITS, Limits, WatchedSession

_NAMED: Final = re.compile(r"([A-Z0-9]{6}[LM]\d)-.+")
_UNREADABLE: Final = re.compile(r"UNKN\d{4}")
_MIB: Final = 1 << 20  # bytes; LTFS tells capacities in MiB
_TOTAL: Final = "ltfs.mediaDataPartitionTotalCapacity"
_FREE: Final = "ltfs.mediaDataPartitionAvailableSpace"
_ACTIONS: Final = frozenset({"ltfs.sync", "ltfs.commitMessage"})  # on the root: these change no file
_ALERT: Final = "mediaStorageAlert"
_HEALTH: Final = (
    "mediaLoads",
    "mediaRecoveredWriteErrors",
    "mediaPermanentWriteErrors",
    "mediaRecoveredReadErrors",
    "mediaPermanentReadErrors",
    "mediaEfficiency",
    "mediaMBWritten",
    "mediaMBRead",
    _ALERT,
)
_NO_ATTRIBUTES: Final = frozenset({errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODATA})


class Attributes(Protocol):
    """The extended attributes of files and volumes; LTFS hides the virtual ones when they are listed."""

    def get(self, path: Path, name: str) -> str:
        """Return an attribute; OSError with ENODATA when there is none."""

    def set(self, path: Path, name: str, value: str) -> None:
        """Set an attribute. Raises OSError."""


class ExtendedAttributes:
    """Attributes as Linux has them: `user.` before their names."""

    def get(self, path: Path, name: str) -> str:
        """Return an attribute; OSError with ENODATA when there is none."""
        return os.getxattr(path, f"user.{name}").decode()

    def set(self, path: Path, name: str, value: str) -> None:
        """Set an attribute. Raises OSError."""
        os.setxattr(path, f"user.{name}", value.encode())


class LtfsVolume:
    """One cartridge as the file system shows it; the medium itself says how much it takes and what goes wrong."""

    def __init__(self, root: Path, serial: str, memory: Path, attributes: Attributes) -> None:
        """Load it. Raises OSError, also when the folder is no LTFS volume."""
        self.serial = serial
        self.root = root / serial
        self.recovered: Sequence[str] = ()  # LTFS does not say what it dropped
        self.head: int | None = None  # the library may load the tape only when a file is opened
        self._memory = memory
        self._attributes = attributes
        if not self.root.is_dir():
            raise OSError(errno.ENOENT, "the library does not show it")
        try:
            self._known = self._look()
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:
                raise
            raise OSError(error.errno, "its folder has no LTFS attributes: is it formatted, and on LTFS?") from error
        self._remember(self._known)

    def get_vea(self, path: Path, name: str) -> str:
        """Return an attribute of a file or of the volume; OSError with ENODATA when there is none."""
        return self._attributes.get(path, name)

    def set_vea(self, path: Path, name: str, value: str) -> None:
        """Set an attribute; setting `ltfs.sync` on the root writes the index."""
        if path != self.root or name not in _ACTIONS:
            self._change()
        self._attributes.set(path, name, value)
        if path == self.root and name == "ltfs.sync":
            self._remember(self._look())

    def list_vea(self, path: Path) -> Sequence[str]:
        """Return the names of the attributes that were set; virtual ones are hidden."""
        return [name.removeprefix("user.") for name in os.listxattr(path) if name.startswith("user.")]

    def creating(self, path: Path) -> None:
        """Note that the tape is going to have more than its index says. Raises FileExistsError."""
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path.name)
        self._change()

    def admit(self, _path: Path, _done: int, wanted: int) -> int:
        """Allow all: the medium itself says when it is full."""
        return wanted

    def was_read(self, _path: Path, _offset: int, block: bytes | memoryview) -> bytes | memoryview:
        """Return the block: errors have shown when it was read."""
        return block

    def clock(self) -> float | None:
        """Return the time of the host, in seconds."""
        return time.monotonic()

    def unlink(self, path: Path) -> None:
        """Delete a file; its space is not given back. Raises FileNotFoundError."""
        path.lstat()
        self._change()
        path.unlink()

    def unmount(self) -> None:
        """Keep what is known now; the library itself decides when it takes the tape out."""
        self._remember(replace(self._look(), consistent=self._known.consistent))
        if (flags := self._known.health.get(_ALERT, 0)) > 0:
            # LTFS keeps the flags of a drive until somebody clears them; the next tape in it is not to be blamed.
            with contextlib.suppress(OSError):
                self._attributes.set(self.root, f"ltfs.{_ALERT}", f"{flags:#x}")

    def _change(self) -> None:
        if self._known.consistent:
            self._remember(replace(self._known, consistent=False))

    def _look(self) -> VolumeInfo:
        return VolumeInfo(
            serial=self.serial,
            capacity=int(self.get_vea(self.root, _TOTAL)) * _MIB,
            free=int(self.get_vea(self.root, _FREE)) * _MIB,
            generation=int(self.get_vea(self.root, "ltfs.indexGeneration")),
            lock_state=int(self.get_vea(self.root, "ltfs.volumeLockState"), 0),
            health=dict(self._health()),
        )

    def _health(self) -> Iterator[tuple[str, int]]:
        for name in _HEALTH:
            # Some drives do not know some of them, and say -1 or nothing.
            with contextlib.suppress(OSError, ValueError):
                yield name, int(self.get_vea(self.root, f"ltfs.{name}"), 0)

    def _remember(self, known: VolumeInfo) -> None:
        self._known = known
        save_json(self._memory, asdict(known))


@dataclass(frozen=True, slots=True)
class _Root:
    """The mount point, looked at from a child process."""

    path: Path
    mounted: Callable[[Path], bool]

    def folders(self) -> Sequence[str]:
        """Return the names of all folders: one listing, which loads no tape. Raises LibraryUnavailable."""
        try:
            if not self.mounted(self.path):
                raise LibraryUnavailable(path=self.path, why="nothing is mounted there")
            with os.scandir(self.path) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
        except OSError as error:
            raise LibraryUnavailable(path=self.path, why=error.strerror or str(error)) from error


class LtfsLibrary:
    """The library whose LTFS file system is mounted at `root`; a `TapeLibrary`.

    Tapes and drives are exclusive among the processes of this host, by locks in `state`, a folder on a local disk.
    """

    names_drives = False

    def __init__(
        self,
        root: Path,
        *,
        state: Path,
        drives: Iterable[tuple[str, int]],
        attributes: Attributes | None = None,
        mounted: Callable[[Path], bool] = os.path.ismount,
        limits: Limits = LIMITS,
    ) -> None:
        """Use the mount point; nothing is read yet. `drives` are kinds with counts. Raises InvalidInput."""
        self.root = root
        self._state = state
        self._drives = drive_names(drives)
        self._attributes = attributes or ExtendedAttributes()
        self._limits = limits
        self._root = Caller(partial(_Root, root, mounted))
        self._seen: Mapping[str, TapeInfo] = {}

    def set_up(self) -> None:
        """Make the folder of locks and of what is known of tapes. Idempotent. Raises LibraryUnavailable."""
        try:
            for folder in ("locks", "tapes"):
                (self._state / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LibraryUnavailable(path=self._state, why=error.strerror) from error

    def inventory(self) -> Sequence[TapeInfo]:
        """Return all tapes, by serial, without mounting any. Raises LibraryUnavailable."""
        try:
            folders: Sequence[str] = self._root.call("folders", self._limits.look)
        except Hung:
            why = f"its file system did not answer for {self._limits.look:.0f} s"
            raise LibraryUnavailable(path=self.root, why=why) from None
        except Gone:
            raise LibraryUnavailable(path=self.root, why="the process that looked at it has ended") from None
        there = {tape.serial: tape for name in folders if (tape := self._tape(name)) is not None}
        gone = {path.stem for path in (self._state / "tapes").glob("*.json")} - there.keys()
        away = {serial: TapeInfo(serial, media_type(serial) or "", state="missing") for serial in gone}
        self._seen = dict(sorted((there | away).items()))
        return list(self._seen.values())

    def drives(self) -> Mapping[str, str | None]:
        """Return each drive with the serial of the tape in it, `out of use: WHY`, or None for an empty one."""
        return loaded_drives(self._locks, list(self._drives))

    def drive_kinds(self) -> Mapping[str, str]:
        """Return the kind of each drive, empty for one that takes every tape."""
        return self._drives

    def drives_out(self) -> Mapping[str, str]:
        """Return why each drive is out of use that is, or will be when its tape is out."""
        return drives_out(self._locks, self._drives)

    def speed(self) -> float:
        """Return 1: these are real tapes."""
        return 1.0

    def stat(self, serial: str) -> VolumeInfo:
        """Return what was known when the tape was last loaded; of one that never was, what its media type holds.

        Raises NotFound, LibraryUnavailable.
        """
        tape = self._find(serial)
        if known := self._recall(serial):
            return known
        usable = MEDIA[tape.media_type].capacity if tape.media_type in MEDIA else 0
        return VolumeInfo(serial, capacity=usable, free=usable, generation=0, lock_state=0)

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

        Pairs of tape and drive to `avoid` come together when no other drive is free. Raises Busy, MediumFailed (cannot be mounted, hangs, or frozen and `mode` is "write"), NotFound,
        LibraryUnavailable, InvalidInput (a tape twice, more tapes than drives, or none that takes one).
        """
        # Looked at anew, so that a mount point that is away is not taken for tapes that are.
        self.inventory()
        tapes = [(serial, self._usable(serial).media_type) for serial in serials]
        mount = partial(self._mount, mode)
        with drive_sessions(self._locks, self._drives, tapes, mode, timeout, mount, avoid) as opened:
            yield opened

    def lock_out(self, drive: str, why: str) -> None:
        """Have nobody use a drive until it is put back; one in use is out when its tape is. Raises NotFound."""
        if drive not in self._drives:
            raise NotFound(kind="drive", name=drive)
        lock_out(self._locks / f"drive-{drive}", why)

    def make_tape(self, serial: str, *, capacity: int, media_type: str) -> None:
        """Raise InvalidInput: real tapes are put into the library."""
        raise InvalidInput(
            what=f"Tape {serial} cannot be made ({media_type or 'no type'}, {capacity} bytes): put it into the library."
        )

    def put_back(self, name: str) -> None:
        """Let a tape or a drive be used again that was locked out. Raises NotFound when none is."""
        if not put_back(self._locks, name):
            raise NotFound(kind="tape or drive that is out of use called", name=name)

    def _mount(self, mode: Mode, serial: str, tape: Lock, drive: Lock) -> WatchedSession:
        volume = partial(LtfsVolume, self.root, serial, self._memory(serial), self._attributes)
        return WatchedSession(
            partial(open_session, volume, serial, drive.thing, mode), serial, tape, drive, self._limits
        )

    def _tape(self, folder: str) -> TapeInfo | None:
        """Return the tape that a folder is, None for a folder that is none."""
        if _UNREADABLE.fullmatch(folder):
            return TapeInfo(folder, "", state="missing")
        if match := _NAMED.fullmatch(folder):
            return TapeInfo(match[1], media_type(match[1]) or "", home=folder, state="missing")
        medium = media_type(folder)
        if medium is None:
            return None
        return TapeInfo(folder, medium, state=_state(self._recall(folder)))

    def _find(self, serial: str) -> TapeInfo:
        if serial not in self._seen:
            self.inventory()
        if serial not in self._seen:
            raise NotFound(kind="tape", name=serial)
        return self._seen[serial]

    def _usable(self, serial: str) -> TapeInfo:
        tape = self._find(serial)
        if _UNREADABLE.fullmatch(serial):
            raise MediumFailed.of_tape(serial, why="its bar code cannot be read; clean or replace the label")
        if tape.home:
            why = (
                f"its volume has a name, so its folder is {tape.home}; copy what it holds and format it without a name"
            )
            raise MediumFailed.of_tape(serial, why=why)
        if tape.state == "missing":
            raise MediumFailed.of_tape(serial, why="the library does not show it any more")
        return tape

    def _recall(self, serial: str) -> VolumeInfo | None:
        path = self._memory(serial)
        try:
            return VolumeInfo(**json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise LibraryUnavailable(path=self.root, why=f"{path}: {error}") from error

    def _memory(self, serial: str) -> Path:
        return self._state / "tapes" / f"{serial}.json"

    @property
    def _locks(self) -> Path:
        return self._state / "locks"


def _state(known: VolumeInfo | None) -> str:
    if known is None:
        return "active"
    if known.lock_state:
        return "broken"
    return "active" if known.free else "full"
