# SPDX-License-Identifier: Apache-2.0
"""Filling an empty catalogue from the tapes alone (P5), one tape in each drive at a time.

No payload is read, but the manifests of a tape; of what they do not cover, the first frame, the index and the metadata
of a bag, and the sidecar of a plain package. A tape that cannot be read is reported and the others go on (P10).
Running it again reads what was not read whole, and adds only what is missing (P11).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from psycopg.types.json import Jsonb

from holdfast.catalog import events
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import datasets, packages, tapes
from holdfast.errors import Busy, Cancelled, Conflict, DatabaseUnavailable, HoldfastError
from holdfast.model.names import SIDECAR, sidecar_name
from holdfast.model.profile import Profile
from holdfast.packaging.reader import Source
from holdfast.packaging.tapemanifest import is_manifest
from holdfast.services.archive import Archive
from holdfast.services.deliver import TapeSource
from holdfast.services.manifest import opened_manifest
from holdfast.services.mounts import mounted
from holdfast.services.proof import report_safe
from holdfast.services.restore import OnTape, Opened, fits, is_ours, listed_on_tape, open_on_tape, take
from holdfast.tape.library import FileOnTape, TapeSession

_DRIVE_WAIT: Final = 600.0  # seconds: somebody else may read a whole tape
_LOOK: Final = 5.0  # seconds between two looks whether this shall end, while drives are waited for
_PROGRESS_EVERY: Final = 2.0  # seconds
_NAMED: Final = 10  # foreign files, and problems of one tape, that are told one by one
_OUT: Final = "out of use"  # begins what a library says of a drive that nobody gets


@dataclass(slots=True)
class Rebuilt:
    """What was found: counts, and what could not be used with the reason."""

    tapes: int = 0  # read now
    skipped: int = 0  # tapes that an earlier run had read whole
    manifests: int = 0
    packages: int = 0
    opened: int = 0  # of the packages, those that no manifest covered
    copies: int = 0
    bytes: int = 0  # that were read from tapes
    seconds: float = 0.0
    datasets: set[str] = field(default_factory=set)
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild is."""

    serial: str  # of the tape that was just read from
    done: int  # tapes that are done
    tapes: int  # to be read in all
    packages: int
    bytes: int  # that were read from tapes
    seconds: float

    @property
    def left(self) -> float | None:
        """How many seconds it will take yet if it goes on like this, None as long as no tape is done."""
        return self.seconds / self.done * (self.tapes - self.done) if self.done else None


def rebuild(archive: Archive, *, progress: Callable[[Progress], None], again: bool = False) -> Rebuilt:
    """Read the tapes into the catalogue, with `again` also those that an earlier run had read whole.

    `progress` is called from several threads, one at a time. Raises Conflict when the catalogue holds datasets that the
    tapes do not know, DatabaseUnavailable, LibraryUnavailable.
    """
    known = _begin(archive, again=again)
    run = _Run(archive, progress)
    serials = []
    for tape in archive.library.inventory():
        if tape.state == "missing":
            run.found.problems.append(
                (tape.serial, "The library does not have this tape now, or cannot tell which it is.")
            )
        elif known.get(tape.serial) == archive.library.stat(tape.serial).generation:
            run.found.skipped += 1
        else:
            serials.append(tape.serial)
    run.read_all(serials)
    _finish(archive, run.found)
    run.found.seconds = time.monotonic() - run.begun
    return run.found


def _begin(archive: Archive, *, again: bool) -> dict[str, int]:
    """Return the tapes that this rebuild has read whole, with their generations then. Raises Conflict."""
    with archive.database.transaction() as conn:
        rows = datasets.all(conn, "page", before=None, before_id=None, limit=1, deleted=True, sight=None)
        begun = events.first_of_kind(conn, "catalogue.rebuilding") is not None
        if rows and not begun:
            raise Conflict(what="The catalogue is not empty. Rebuild into a new data folder.")
        if not begun:
            events.add(conn, archive.site, "catalogue.rebuilding")
        if again or not begun:
            tapes.run(conn, "rebuild_anew")
        return {row["serial"]: row["rebuilt"] for row in tapes.all(conn, "rebuilt")}


class _Run:
    """One run over the tapes, by as many threads as there are drives."""

    def __init__(self, archive: Archive, progress: Callable[[Progress], None]) -> None:
        self.archive = archive
        self.found = Rebuilt()
        self.begun = time.monotonic()
        self._progress = progress
        self._lock = threading.Condition()  # for what the threads count together, and the packages that one of them has
        self._taken: set[str] = set()
        self._ended = threading.Event()
        self._tapes = self._done = self._reading = 0
        self._noted = 0.0

    def read_all(self, serials: list[str]) -> None:
        """Read these tapes. Raises DatabaseUnavailable, LibraryUnavailable; what was read until then is kept."""
        self._tapes = len(serials)
        drives = sum(not (tape or "").startswith(_OUT) for tape in self.archive.library.drives().values())
        with ThreadPoolExecutor(max(min(drives, len(serials)), 1), thread_name_prefix="rebuild") as pool:
            futures = [pool.submit(self._read, serial) for serial in serials]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self._ended.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _read(self, serial: str) -> None:
        problems: list[tuple[str, str]] = []
        try:
            self._mounted(serial, problems)
        except DatabaseUnavailable:
            raise
        except HoldfastError as error:
            problems.append((serial, error.sentence))
        else:
            if not problems:
                with self.archive.database.transaction() as conn:
                    tapes.run(
                        conn, "rebuilt_whole", serial=serial, generation=self.archive.library.stat(serial).generation
                    )
        with self._lock:
            self._done += 1
            self.found.problems += problems[:_NAMED]
            if len(problems) > _NAMED:
                self.found.problems.append((serial, f"{len(problems) - _NAMED} more things were wrong with this tape."))
            self._note(serial, now=True)

    def _mounted(self, serial: str, problems: list[tuple[str, str]]) -> None:
        """Mount a tape and read it; drives that our other threads have are waited for."""
        until = time.monotonic() + _DRIVE_WAIT
        while True:
            self._go_on()
            try:
                with mounted(self.archive, [serial], "read", "rebuild", patience=_LOOK) as (session,):
                    with self._lock:
                        self._reading += 1
                    try:
                        foreign = _Tape(self, session, problems).read()
                    finally:
                        with self._lock:
                            self._reading -= 1
            except Busy:
                if time.monotonic() < until or self._reading:
                    continue
                raise
            with self._lock:
                self.found.tapes += 1
                if foreign:
                    self.found.problems.append((serial, foreign))
            return

    def _go_on(self) -> None:
        if self._ended.is_set() or self.archive.stopping.is_set():
            raise Cancelled(what="The rebuild")

    def count(self, serial: str, **counts: int) -> None:
        """Add to what was found, and tell how far it is now and then. Raises Cancelled."""
        self._go_on()
        with self._lock:
            for name, number in counts.items():
                setattr(self.found, name, getattr(self.found, name) + number)
            self._note(serial)

    def _note(self, serial: str, *, now: bool = False) -> None:
        at = time.monotonic()
        if now or at - self._noted >= _PROGRESS_EVERY:
            self._noted = at
            found = self.found
            self._progress(Progress(serial, self._done, self._tapes, found.packages, found.bytes, at - self.begun))

    @contextmanager
    def package(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Have a package for oneself, so that twins are not both opened; False when another thread has it."""
        with self._lock:
            while wait and name in self._taken:
                self._lock.wait()
            if name in self._taken:
                mine = False
            else:
                self._taken.add(name)
                mine = True
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    self._taken.remove(name)
                    self._lock.notify_all()

    def took(self, dataset: str) -> None:
        """Remember that a package of a dataset was found."""
        with self._lock:
            self.found.datasets.add(dataset)


class _Tape:
    """One mounted tape: first what its manifests say, then what none of them covers."""

    def __init__(self, run: _Run, session: TapeSession, problems: list[tuple[str, str]]) -> None:
        self.run, self.session, self.problems = run, session, problems
        files = sorted(session.list(), key=lambda file: file.start_block)
        self._manifests = [file for file in files if is_manifest(file.name)]
        self._files = {file.name: file for file in files if not is_manifest(file.name)}
        self._covered: set[str] = set()

    def read(self) -> str:
        """Read the tape; return what there is to say of files that are not ours."""
        for file in reversed(self._manifests):  # what a newer one says counts
            self._guarded(file, lambda file=file: self._manifest(file))  # type: ignore[misc]
        foreign = [name for name in self._files if not is_ours(name)]
        # In the order in which they lie on the tape: a sidecar is read just before its file is passed.
        left = [
            file for name, file in self._files.items()
            if is_ours(name) and name not in self._covered and not self._is_beside(name)
        ]  # fmt: skip
        self._open_all(self._open_all(left, wait=False), wait=True)
        if not foreign:
            return ""
        first = ", ".join(foreign[:_NAMED]) + (", ..." if len(foreign) > _NAMED else "")
        return f"{len(foreign)} files are not ours and were left alone: {first}."

    def _open_all(self, files: list[FileOnTape], *, wait: bool) -> list[FileOnTape]:
        """Open packages; return those that are left because their twin is being opened from another tape."""
        later: list[FileOnTape] = []
        for file in files:
            with self.run.package(file.name, wait=wait) as mine:
                if mine:
                    self._guarded(file, lambda file=file: self._open(file))  # type: ignore[misc]
                else:
                    later.append(file)
        return later

    def _guarded(self, file: FileOnTape, work: Callable[[], None]) -> None:
        try:
            work()
        except (DatabaseUnavailable, Cancelled):
            raise
        except HoldfastError as error:
            self.problems.append((f"{self.session.serial}/{file.name}", error.sentence))

    def _is_beside(self, name: str) -> bool:
        return name.endswith(SIDECAR) and name.removesuffix(SIDECAR) in self._files

    def _manifest(self, file: FileOnTape) -> None:
        self.run.count(self.session.serial, bytes=file.size)
        with opened_manifest(self.run.archive, self.session, file) as manifest:
            self.run.count(self.session.serial, manifests=1)
            for listed in manifest.packages():
                there = self._there(listed.name)
                if there is None or listed.name in self._covered or not fits(listed, there):
                    continue
                self._take(there, lambda listed=listed: listed_on_tape(listed, manifest))  # type: ignore[misc]
                self._covered.add(listed.name)

    def _there(self, name: str) -> OnTape | None:
        file = self._files.get(name)
        if file is None or not is_ours(name):
            return None
        return OnTape(self.session.serial, file, self._files.get(sidecar_name(name)))

    def _open(self, file: FileOnTape) -> None:
        there = OnTape(self.session.serial, file, self._files.get(sidecar_name(file.name)))

        def opened() -> Opened:
            self.run.count(self.session.serial, opened=1)
            return open_on_tape(there, self._source)

        self._take(there, opened)

    def _source(self, file: FileOnTape) -> Source:
        return _Counted(self.run, self.session, file)

    def _take(self, there: OnTape, opened: Callable[[], Opened]) -> None:
        package, copy = take(self.run.archive, there, opened)
        if package:
            self.run.took(there.dataset)
        self.run.count(self.session.serial, packages=package, copies=copy)


class _Counted(TapeSource):
    """A file on a tape of which is counted what was read."""

    def __init__(self, run: _Run, session: TapeSession, file: FileOnTape) -> None:
        super().__init__(session, file.name, file.size)
        self._run, self._serial = run, session.serial

    def read(self, offset: int, length: int | None) -> Iterator[bytes]:
        for chunk in super().read(offset, length):
            self._run.count(self._serial, bytes=len(chunk))
            yield chunk


def _finish(archive: Archive, found: Rebuilt) -> None:
    """See which datasets are whole; also those that an earlier run restored and that lacked something."""
    with archive.database.transaction() as conn:
        # A folder is archived again only when its content had been removed: all but its newest dataset are without source.
        datasets.run(conn, "source_passed_on")
        datasets.run(conn, "source_is_here")
        rows = datasets.all(conn, "incomplete")
    for row in rows:
        with archive.database.transaction() as conn:
            _complete(archive, conn, row, found)
    with archive.database.transaction() as conn:
        tapes.run(conn, "relate")


def _complete(archive: Archive, conn: Connection, row: Row, found: Rebuilt) -> None:
    dataset = row["id"]
    there = {package["segment"] for package in packages.all(conn, "of_dataset", dataset=dataset)}
    missing = sorted(set(range(1, row["segments"] + 1)) - there)
    numbers = ", ".join(map(str, missing))
    text = f"Packages {numbers} of {row['segments']} are on none of the tapes that were read." if missing else ""
    if not row["told"] or text != row["lacking"]:
        events.add(conn, archive.site, "dataset.rebuilt", dataset=dataset, packages=len(there), missing=missing)
        problem = {"code": "packages-missing", "sentence": text, "who": "operator"}
        datasets.run(conn, "problem", id=dataset, problem=Jsonb(problem) if missing else None)
    if missing:
        found.problems.append((dataset, text))
    else:
        report_safe(archive, conn, dataset, Profile.from_json(row["contract"]).copies)
