# SPDX-License-Identifier: Apache-2.0
"""Delivery: the wanted files of a package into a folder, each checked before it gets its name.

One thread reads the package in order and hands the bytes of each frame that begins a wanted file to worker threads,
which decode, hash and write. A damaged frame costs the files in it; the next ones are found by their own place (P10).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, groupby, zip_longest
from pathlib import Path

from holdfast.crashpoint import crash_point
from holdfast.errors import (
    Cancelled,
    HoldfastError,
    IntegrityError,
    InvalidInput,
    TransientError,
    UnsafePackage,
)
from holdfast.model.entry import Entry, Packed
from holdfast.model.names import check_relative, printable
from holdfast.packaging.frames import decoded
from holdfast.packaging.reader import Source
from holdfast.packaging.stretch import Budget, Group, HashAside, Span, Stream
from holdfast.packaging.target import TargetFolder

_LARGE = 64 << 20  # bytes from which a file is hashed beside its decoding
_BATCH = 256  # files whose presence is looked up at a time
_GAP = 1 << 20  # bytes that are rather read and thrown away than jumped over


def extract(
    source: Source,
    wanted: Sequence[Packed],
    target: Path,
    *,
    on_done: Callable[[Entry], None],
    on_problem: Callable[[Entry, HoldfastError], None],
    threads: int | None = None,
    cancelled: Callable[[], bool] | None = None,
    preserve_owner: bool = False,
    plain: bool = False,
) -> None:
    """Deliver `wanted` of the package `source` into the folder `target`, which is made when missing.

    A file that is there with the right content is done (resume); anything else that has its name is a problem and
    stays. Each entry is told once, to `on_done` or to `on_problem` (Conflict, DigestMismatch, Damaged, UnsafePackage,
    NotAllowed, MediumFailed), one call at a time. Parts are collected; `finish_parts` gives the file its name.
    A `plain` package is the one file itself. Raises NoSpace and Cancelled; finished files stay, temporaries are removed.
    """
    content = _as_it_is if plain else decoded
    delivery = _Delivery(source, content, target, on_done, on_problem, cancelled or (lambda: False), preserve_owner)
    delivery.run(wanted, threads or os.cpu_count() or 2)


def finish_parts(target: Path, entry: Entry, whole_digest: bytes, *, preserve_owner: bool = False) -> None:
    """Give a file that came in parts its final name, when its SHA-512 is `whole_digest`; `entry` is any of its parts.

    Raises DigestMismatch, Conflict, NotAllowed, NotFound, NoSpace, MediumFailed.
    """
    folder = TargetFolder(target, "", preserve_owner=preserve_owner)
    try:
        folder.join(entry, whole_digest)
    finally:
        folder.close()


class _Delivery:
    """One run of `extract`."""

    def __init__(
        self,
        source: Source,
        content: Callable[[Iterable[bytes], str], Iterator[bytes]],
        target: Path,
        on_done: Callable[[Entry], None],
        on_problem: Callable[[Entry, HoldfastError], None],
        cancelled: Callable[[], bool],
        preserve_owner: bool,  # noqa: FBT001 always given by the one caller
    ) -> None:
        self._source, self._content, self._target, self._preserve_owner = source, content, target, preserve_owner
        self._on_done, self._on_problem, self._cancelled = on_done, on_problem, cancelled
        self._mark = os.urandom(6).hex() + "-"
        self._budget = Budget()
        self._lock = threading.Lock()
        self._fatal: BaseException | None = None
        self._own = threading.local()
        self._folders: list[TargetFolder] = []

    def run(self, wanted: Sequence[Packed], threads: int) -> None:
        try:
            self._folder()
        except TransientError:
            raise
        except HoldfastError as error:  # there is no such folder to be had, so nothing can be delivered
            for packed in wanted:
                self._on_problem(packed.entry, error)
            return
        files, folders, links = self._sorted(wanted)
        try:
            with ThreadPoolExecutor(threads, thread_name_prefix="deliver") as pool:
                try:
                    batches = [files[at : at + _BATCH] for at in range(0, len(files), _BATCH)]
                    self._feed(pool, self._groups(list(chain.from_iterable(pool.map(self._missing, batches)))))
                except BaseException as error:
                    self._stop(error)
                    raise
            if self._fatal is not None:
                raise self._fatal
            for entry in folders:
                self._attempt(entry, partial(self._folder().make_folder, entry))
            # Links come last: no file of this delivery is written through one.
            for entry in links:
                self._attempt(entry, partial(self._folder().make_link, entry))
            self._folder().make_durable()
        finally:
            for folder in self._folders:
                folder.close()

    # ---- what to do ----

    def _sorted(self, wanted: Sequence[Packed]) -> tuple[list[Packed], list[Entry], list[Entry]]:
        files: list[Packed] = []
        folders: list[Entry] = []
        links: list[Entry] = []
        for packed in wanted:
            entry = packed.entry
            if (why := _unsafe(entry)) is not None:
                self._on_problem(entry, UnsafePackage(name=printable(entry.path), why=why))
            elif entry.kind == "file":
                files.append(packed)
            else:
                (folders if entry.kind == "directory" else links).append(entry)
        files.sort(key=lambda packed: (packed.location.frame, packed.location.skip))
        return files, folders, links

    def _missing(self, files: list[Packed]) -> list[Packed]:
        """Return the files that must be read; tell those that are there, in the way, or empty."""
        return [packed for packed in files if self._is_missing(packed)]

    def _is_missing(self, packed: Packed) -> bool:
        if self._fatal is not None:
            return False
        try:
            found = self._folder().found(packed)
        except TransientError:
            raise
        except HoldfastError as error:
            with self._lock:
                self._on_problem(packed.entry, error)
            return False
        if found:
            self._tell_done(packed.entry)
        elif packed.entry.size:
            return True
        else:
            self._attempt(packed.entry, partial(self._write, packed, Stream(iter(()), self._source.name)))
        return False

    def _groups(self, files: list[Packed]) -> list[Group]:
        return [
            Group(list(members), self._budget)
            for _, members in groupby(files, key=lambda packed: packed.location.frame)
        ]

    # ---- reading ----

    def _feed(self, pool: ThreadPoolExecutor, groups: list[Group]) -> None:
        """Read the package from front to back; neighbouring groups in one go."""
        at = 0
        while at < len(groups):
            last = at
            while last + 1 < len(groups) and groups[last + 1].frame <= groups[last].bound + _GAP:
                last += 1
            self._feed_run(pool, groups[at : last + 1])
            at = last + 1

    def _feed_run(self, pool: ThreadPoolExecutor, groups: list[Group]) -> None:
        end = min(groups[-1].bound, self._source.size)
        span = Span(self._source, groups[0].frame, end)
        for group, following in zip_longest(groups, groups[1:]):
            pool.submit(self._deliver, group)
            stop = end if following is None else following.frame
            try:
                for chunk in span.until(stop):
                    self._go_on()
                    group.feed(chunk)
                    if group.closed and following is None:
                        break
                group.end()
            except IntegrityError as error:  # this stretch cannot be read: go on at the next file
                group.end(error)
                span = Span(self._source, stop, end)
            except BaseException:
                group.end(Cancelled(what="Delivery"))
                raise

    def _go_on(self) -> None:
        if self._fatal is not None:
            raise self._fatal
        if self._cancelled():
            raise Cancelled(what="Delivery")

    def _stop(self, error: BaseException) -> None:
        self._fatal = self._fatal or error
        self._budget.stop()

    # ---- writing, in the worker threads ----

    def _deliver(self, group: Group) -> None:
        stream = Stream(self._content(group.chunks(), self._source.name), self._source.name)
        try:
            for packed in group.members:
                if self._fatal is not None:
                    return
                self._attempt(packed.entry, partial(self._write, packed, stream))
        except BaseException as error:  # noqa: BLE001 handed to the caller's thread, whatever it is
            self._stop(error)
        finally:
            group.close()

    def _write(self, packed: Packed, stream: Stream) -> None:
        entry = packed.entry
        sha = HashAside() if entry.size >= _LARGE else hashlib.sha512()

        def pieces() -> Iterator[memoryview]:
            for piece in stream.take(entry.size):
                sha.update(piece)
                yield piece

        write = self._folder().write_part if entry.part else self._folder().write_file
        try:
            stream.skip_to(packed.location.skip if entry.size else 0)
            write(entry, pieces(), lambda: sha.digest() == packed.location.digest)
        finally:
            if isinstance(sha, HashAside):
                sha.close()

    def _folder(self) -> TargetFolder:
        """Return this thread's view of the target."""
        folder: TargetFolder | None = getattr(self._own, "folder", None)
        if folder is None:
            with self._lock:
                mark = f"{self._mark}{len(self._folders):x}-"
                folder = TargetFolder(self._target, mark, preserve_owner=self._preserve_owner)
                self._folders.append(folder)
            self._own.folder = folder
        return folder

    # ---- telling ----

    def _attempt(self, entry: Entry, deliver: Callable[[], None]) -> None:
        try:
            deliver()
        except TransientError:
            raise
        except HoldfastError as error:
            with self._lock:
                self._on_problem(entry, error)
        else:
            self._tell_done(entry)

    def _tell_done(self, entry: Entry) -> None:
        crash_point("deliver.file")
        with self._lock:
            self._on_done(entry)


def _as_it_is(chunks: Iterable[bytes], _name: str) -> Iterator[bytes]:
    return iter(chunks)


def _unsafe(entry: Entry) -> str | None:
    """Return why an entry must not be delivered, or None (FORMAT section 5)."""
    try:
        check_relative(entry.path)
    except InvalidInput:
        return "its path leads out of the folder"
    if entry.kind != "link":
        return None
    parts = [part for part in entry.target.split(b"/") if part not in {b"", b"."}]
    up = next((at for at, part in enumerate(parts) if part != b".."), len(parts))
    # `..` after a name could climb out through another link, so it is allowed at the front only.
    if not entry.target or entry.target.startswith(b"/") or b".." in parts[up:] or up > entry.path.count(b"/"):
        return "it is a link that leads out of the dataset"
    return None
