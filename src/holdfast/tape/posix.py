# SPDX-License-Identifier: Apache-2.0
"""Sessions on volumes that are folders, `ROOT/<SERIAL>/NAME`, as LTFS shows them.

All bytes go this way, on real tapes and simulated ones. What is special about a volume stands behind `Volume`:
its attributes (a small shim over extended attributes) and the places where a simulator says how much a tape takes
and what goes wrong.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from holdfast.crashpoint import crash_point
from holdfast.errors import (
    Conflict,
    HoldfastError,
    InvalidInput,
    MediumFailed,
    NotFound,
    TapeFrozen,
    TapeFull,
    TransientError,
    WrongTape,
)
from holdfast.tape.blocks import BlockWriter, read_blocks
from holdfast.tape.head import Head, Way
from holdfast.tape.library import Extent, FileOnTape, Located, Mode, describe_lock

_log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]{0,254}")
_ATTRIBUTE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_ATTRIBUTE_LIMIT: Final = 4096  # bytes; what LTFS takes
_OWN: Final = "holdfast."  # before our attributes; those of LTFS (ltfs.hash.*) keep their names
_HASH: Final = "ltfs.hash."
_READ_TRIES: Final = 3  # a drive often reads at the second try what it could not at the first
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# This process or host is at its limit, or the tape file system's server has ended under our hands.
_NOT_THE_MEDIUM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOTCONN, errno.ECONNABORTED})


class Volume(Protocol):
    """One mounted volume: a folder, its attributes, and what the medium allows.

    All methods raise OSError as the system calls of a tape file system would.
    """

    serial: str
    root: Path
    recovered: Sequence[str]
    head: int | None  # where the head is after the mount, in bytes of the data partition; None when it is not known

    def clock(self) -> float | None:
        """Return a time whose difference tells how long the way to a block was, in seconds; None: no time passes."""

    def get_vea(self, path: Path, name: str) -> str:
        """Return an attribute of a file or of the volume; OSError with ENODATA when there is none."""

    def set_vea(self, path: Path, name: str, value: str) -> None:
        """Set an attribute; setting `ltfs.sync` on the root writes the index."""

    def list_vea(self, path: Path) -> Sequence[str]:
        """Return the names of the attributes that were set; virtual ones are hidden."""

    def creating(self, path: Path) -> None:
        """Allow a new file, or raise."""

    def admit(self, path: Path, done: int, wanted: int) -> int:
        """Return how many of `wanted` bytes the medium takes after the `done` ones of this file, at least one."""

    def was_read(self, path: Path, offset: int, block: bytes | memoryview) -> bytes | memoryview:
        """Return what the medium gave for `block`."""

    def unlink(self, path: Path) -> None:
        """Delete a file; its space is not given back."""

    def unmount(self) -> None:
        """Take the volume out of the drive."""


class PosixSession:
    """One volume in one drive, ours until `close`; `given_back` is called then, whatever happened."""

    def __init__(self, volume: Volume, drive: str, mode: Mode, given_back: Callable[[], None]) -> None:
        self.serial = volume.serial
        self.drive = drive
        self.recovered: Sequence[str] = tuple(volume.recovered)
        self.bytes_read = self.bytes_written = 0
        self.trouble: HoldfastError | None = None
        self.place: Callable[[], memoryview] | None = None  # where blocks shall be read to, else to memory of their own
        self._volume = volume
        self._head = Head(volume)
        self._mode = mode
        self._given_back = given_back
        self._unsynced: dict[str, int] = {}  # files of this session that the index does not have yet, with sizes
        self._changed = False
        self._fence = ""  # why nothing may be written any more
        self._closed = False

    def write(
        self,
        name: str,
        chunks: Iterable[memoryview | bytes],
        attributes: Mapping[str, str],
        *,
        size: int | None = None,
    ) -> Extent:
        """Append a new file; `size` in bytes, when it is known, places the crash point `write.half`.

        Raises TapeFull (the partial file is deleted, the session stays usable), MediumFailed, Conflict (the name
        exists), InvalidInput (the name or an attribute cannot be stored); what `chunks` raises passes through.
        """
        self._may_write()
        _check_attributes(attributes)
        path = self._path(name)
        with self._translated(may_be_full=True):
            self._volume.creating(path)
        written = self._append(path, chunks, None if size is None else size // 2)
        with self._translated():
            found = path.stat().st_size
            if found != written:
                raise OSError(errno.EIO, f"{name} has {found} bytes, {written} were written")
            self._unsynced[name] = written
            self._store(path, attributes)
            return Extent(name, written, self._start_block(path, written))

    def sync(self, message: str) -> int:
        """Write the index, check what it says, and return its generation. Raises MediumFailed."""
        self._may_write()
        with self._translated():
            before = self._generation()
            if not self._changed:
                return before
            self._head.place = None
            self._volume.set_vea(self._volume.root, "ltfs.commitMessage", message)
            self._volume.set_vea(self._volume.root, "ltfs.sync", "1")
            generation = self._generation()
            if generation <= before:
                raise OSError(errno.EIO, f"the index stays at generation {before}")
            if (lock := int(self._volume.get_vea(self._volume.root, "ltfs.volumeLockState"), 0)) != 0:
                raise OSError(errno.EROFS, describe_lock(lock))
            for name, size in self._unsynced.items():
                if (found := self._path(name).stat().st_size) != size:
                    raise OSError(errno.EIO, f"{name} has {found} bytes after the sync, {size} were written")
        self._unsynced.clear()
        self._changed = False
        crash_point("write.synced")
        return generation

    def read(self, name: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield bytes of a file from the medium; `offset` and `length` in bytes, None for all that follow.

        Raises NotFound, InvalidInput (not within the file), MediumFailed (cannot be read, also at the third try).
        """
        self._is_open()
        path = self._path(name)
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise NotFound(kind=f"file on tape {self.serial}", name=name) from error
        except OSError as error:
            raise self._failed(error) from error
        end = size if length is None else offset + length
        if not 0 <= offset <= end <= size:
            raise InvalidInput(what=f"{name} has {size} bytes; {offset} to {end} are not all within.")
        return self._blocks(path, offset, end)

    def list(self) -> Sequence[FileOnTape]:
        """Return the files of the volume, by name. Raises MediumFailed."""
        self._is_open()
        try:
            with os.scandir(self._volume.root) as entries:
                found = sorted((entry.name, entry.stat().st_size) for entry in entries if entry.is_file())
            return [self._file(name, size) for name, size in found]
        except OSError as error:
            raise self._failed(error) from error

    def find(self, name: str) -> FileOnTape | None:
        """Return one file of the volume, None when it is not there. Raises InvalidInput, MediumFailed."""
        self._is_open()
        try:
            return self._file(name, self._path(name).stat().st_size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    def set_attributes(self, name: str, attributes: Mapping[str, str]) -> None:
        """Add attributes to a file; durable at the next `sync`. Raises NotFound, InvalidInput, MediumFailed."""
        self._may_write()
        _check_attributes(attributes)
        path = self._path(name)
        if not path.is_file():
            raise NotFound(kind=f"file on tape {self.serial}", name=name)
        with self._translated():
            self._store(path, attributes)

    def delete(self, name: str) -> None:
        """Delete a file if it is there; its space is not given back. Raises MediumFailed."""
        self._may_write()
        path = self._path(name)
        with self._translated(), contextlib.suppress(FileNotFoundError):
            self._volume.unlink(path)
            self._changed = True
        self._unsynced.pop(name, None)

    def locates(self) -> Sequence[Located]:
        """Return the ways to places that were not just behind the head, the last ones of this session."""
        return tuple(self._head.located)

    def close(self) -> None:
        """Sync what is unsynced and give the drive back; idempotent. Raises MediumFailed."""
        if self._closed:
            return
        try:
            if self._changed and not self._fence:
                self.sync("end of session")
        finally:
            self._closed = True
            try:
                self._volume.unmount()
            except OSError as error:
                raise self._failed(error) from error
            finally:
                self._given_back()

    def _append(self, path: Path, chunks: Iterable[memoryview | bytes], half: int | None) -> int:
        writer: BlockWriter | None = None
        self._head.place = None  # behind what is written now
        try:
            with self._translated(may_be_full=True):
                writer = BlockWriter(path, lambda done, wanted: self._volume.admit(path, done, wanted))
                self._changed = True
            for chunk in chunks:
                with self._translated(may_be_full=True):
                    writer.write(chunk)
                if half is not None and writer.accepted >= half:
                    crash_point("write.half")
                    half = None
            with self._translated(may_be_full=True):
                writer.finish()
        except BaseException as error:
            if writer is not None:
                self._abandon(path, writer, error)
            raise
        finally:
            self.bytes_written += writer.accepted if writer else 0
        crash_point("write.closed")
        return writer.written

    def _abandon(self, path: Path, writer: BlockWriter, error: BaseException) -> None:
        # After a permanent write error nothing can be deleted any more; the drive leaves an empty stub.
        with contextlib.suppress(OSError):
            writer.close()
        if self._fence:
            return
        try:
            self._volume.unlink(path)
        except OSError as second:
            self._fence = f"a partial file could not be deleted ({second})"
            _log.warning("tape %s: %s, after %s", self.serial, self._fence, error)

    def _blocks(self, path: Path, offset: int, end: int) -> Iterator[Any]:
        tries = 0
        way = Way(self._head, path)
        while offset < end:
            try:
                for raw in read_blocks(path, offset, end, self.place):
                    self._is_open()
                    block = self._volume.was_read(path, offset, raw)
                    tries = 0
                    way.reached(offset, len(block))
                    offset += len(block)
                    self.bytes_read += len(block)
                    yield block
            except OSError as error:
                tries += 1
                way.failed()
                _log.warning("tape %s: %s at byte %d: %s (try %d)", self.serial, path.name, offset, error, tries)
                if error.errno != errno.EIO or tries == _READ_TRIES:
                    raise self._failed(error) from error

    def _store(self, path: Path, attributes: Mapping[str, str]) -> None:
        for name, value in attributes.items():
            self._volume.set_vea(path, name if name.startswith(_HASH) else _OWN + name, value)
            self._changed = True

    def _file(self, name: str, size: int) -> FileOnTape:
        path = self._volume.root / name
        attributes = {
            vea.removeprefix(_OWN): self._volume.get_vea(path, vea)
            for vea in sorted(self._volume.list_vea(path))
            if vea.startswith((_OWN, _HASH))
        }
        return FileOnTape(name, size, self._start_block(path, size), attributes)

    def _start_block(self, path: Path, size: int) -> int:
        # LTFS gives no start block to an empty file: it has no extent.
        return int(self._volume.get_vea(path, "ltfs.startblock")) if size else 0

    def _generation(self) -> int:
        return int(self._volume.get_vea(self._volume.root, "ltfs.indexGeneration"))

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput(what=f"{name!r} is not a name for a file on tape.")
        return self._volume.root / name

    def _is_open(self) -> None:
        if self._closed:
            raise Conflict(what=f"The session on tape {self.serial} is closed.")

    def _may_write(self) -> None:
        self._is_open()
        if self._mode != "write":
            raise Conflict(what=f"Tape {self.serial} was opened for reading.")
        if self._fence:
            raise MediumFailed.of_tape(self.serial, why=self._fence)

    def _failed(self, error: OSError) -> HoldfastError:
        failure = _failure(self.serial, error)
        if isinstance(failure, MediumFailed):
            self.trouble = self.trouble or failure
        return failure

    @contextlib.contextmanager
    def _translated(self, *, may_be_full: bool = False) -> Iterator[None]:
        """Turn errors of the tape into ours; all but a full tape and a taken name end writing in this session.

        Only writing a file may find the tape full: an index that has no room is a failure like any other.
        """
        try:
            yield
        except FileExistsError as error:
            raise Conflict(what=f"{error.filename} exists already.") from error
        except OSError as error:
            if may_be_full and error.errno in _NO_ROOM:
                raise TapeFull(serial=self.serial) from error
            failure = self._failed(error)
            if isinstance(failure, MediumFailed):
                self._fence = error.strerror or str(error)
            raise failure from error
        except ValueError as error:
            self._fence = f"its attributes make no sense ({error})"
            raise MediumFailed.of_tape(self.serial, why=self._fence) from error


def open_session(
    make: Callable[[], Volume], serial: str, drive: str, mode: Mode, given_back: Callable[[], None] = lambda: None
) -> PosixSession:
    """Mount a volume and begin a session on it; see that it is the tape that was asked for and not a frozen one.

    Raises MediumFailed (cannot be mounted, another tape, or frozen and `mode` is "write").
    """
    try:
        volume = make()
        label, bar_code = (_label(volume, name) for name in ("ltfs.volumeSerial", "ltfs.mamBarcode"))
        lock = int(volume.get_vea(volume.root, "ltfs.volumeLockState"), 0)
    except OSError as error:
        raise _failure(serial, error) from error
    # The label, and the memory chip of some tapes, have the bar code without the media type at its end.
    if not serial.startswith(label) or not serial.startswith(bar_code):
        found = bar_code or label
        raise WrongTape.of_tape(serial, why=f"another tape is in its place, which calls itself {found}")
    if mode == "write" and lock:
        raise TapeFrozen.of_tape(serial, why=f"it is frozen, {describe_lock(lock)}")
    return PosixSession(volume, drive, mode, given_back)


def _failure(serial: str, error: OSError) -> HoldfastError:
    """Return our error for one of the system: only some mean that the tape is bad."""
    why = error.strerror or str(error)
    if error.errno in _NOT_THE_MEDIUM:
        return TransientError(what=f"Tape {serial} could not be used: {why}.")
    return MediumFailed.of_tape(serial, why=why)


def _label(volume: Volume, name: str) -> str:
    """Return what a tape says of itself; drives and formats that do not know give nothing."""
    try:
        return volume.get_vea(volume.root, name).strip(" \0")
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
    return ""


def _check_attributes(attributes: Mapping[str, str]) -> None:
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name) or (name.startswith("ltfs.") and not name.startswith(_HASH)):
            raise InvalidInput(what=f"{name!r} is not a name for an attribute.")
        if len(value.encode()) > _ATTRIBUTE_LIMIT:
            raise InvalidInput(what=f"The attribute {name} is longer than {_ATTRIBUTE_LIMIT} bytes.")
