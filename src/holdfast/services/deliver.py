# SPDX-License-Identifier: Apache-2.0
"""Getting files back: `ask` checks and reserves, `deliver` brings the wanted files of one package.

Each file gets its name only after its checksum matched. Commit point of a file: its rename; of a part: the
transaction that ends it. Whatever cannot be delivered is listed, and never holds up the rest (P10).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Final

from holdfast.catalog import events, jobs, listings
from holdfast.catalog.database import Connection, Row
from holdfast.catalog.queries import copies, packages, requests, reservations
from holdfast.crashpoint import crash_point
from holdfast.errors import (
    Busy,
    Cancelled,
    Conflict,
    Damaged,
    HoldfastError,
    IntegrityError,
    InvalidInput,
    MediumFailed,
    NotFound,
    TransientError,
)
from holdfast.model.entry import Entry, Packed
from holdfast.model.ids import new_id, package_id
from holdfast.model.lifecycle import OUT_OF_USE
from holdfast.model.names import check_relative, printable
from holdfast.packaging.extract import extract
from holdfast.services import buffer
from holdfast.services.archive import Archive, dataset_row, described
from holdfast.services.doubt import suspect
from holdfast.services.finish import finish, keeps_owners, list_problems
from holdfast.services.mounts import mounted
from holdfast.services.register import confined
from holdfast.services.reserve import FILE_COST, release, reserve
from holdfast.tape.library import TapeSession

_LOG = logging.getLogger(__name__)
_PROGRESS_EVERY: Final = 0.5  # seconds
# The best copy first; a suspect one is still worth a try when nothing else is left.
_PREFERENCE: Final = ("verified", "written", "suspect")


def ask(
    archive: Archive,
    *,
    person: str,
    dataset: str,
    paths: Sequence[bytes],
    destination: str | None = None,
    keep: float | None = None,
    priority: int = 0,
    ident: str | None = None,
    within: Sequence[str] | None = None,
) -> str:
    """Record the wish for files below `destination` and reserve the room; no path means the whole dataset.

    Without a destination they come into the buffer and are kept there for `keep` seconds; if it has no room, the
    request waits as `asked`. Each step of `priority` doubles its weight in the queue. `ident`, the id of the request,
    makes it repeatable. `within` is as for `confined`.

    Raises NotFound, InvalidInput, OutsideRoots, NotAllowed (folder), NoSpace, Conflict (the dataset is not packed yet).
    """
    for path in paths:
        check_relative(path)
    paths = outermost(paths)
    request = ident or new_id()
    if destination is None:
        target, keep = buffer.folder_of(archive, request), buffer.lifetime(archive, keep)
    else:
        target = _target(archive, destination, keep, within)
    with archive.database.transaction() as conn:
        row = dataset_row(conn, dataset)
        if requests.first(conn, "by_id", id=request):
            return request
        if row["state"] != "closed":
            raise Conflict(
                what=f"Dataset {dataset} is {row['state']}: its files can be brought back once it is closed."
            )
        parts = _whole(conn, dataset) if not paths else _selected(conn, dataset, paths)
        files, size = (sum(pair[i] for pair in parts.values()) for i in (0, 1))
        room, waits = size + files * FILE_COST, None
        if keep is None:
            reserve(archive, conn, f"request:{request}", target, room)
        else:
            waits = buffer.queued(archive, conn, request, room)
        requests.run(
            conn, "insert", id=request, site=archive.site, dataset=dataset, person=person, selection=list(paths),
            priority=priority, destination=os.fsencode(target), files=files, bytes=size, keep=keep,
            state="asked" if waits else "waiting", problem=described(waits)["problem"] if waits else None,
        )  # fmt: skip
        for package, (count, total) in parts.items():
            requests.run(conn, "insert_part", request=request, package=package, files=count, bytes=total)
        jobs.defer(conn, "recall", "next")
        events.add(
            conn, archive.site, "request.asked", dataset=dataset, person=person, request=request, files=files, bytes=size
        )  # fmt: skip
    return request


def _target(archive: Archive, destination: str, keep: float | None, within: Sequence[str] | None) -> Path:
    """Return the folder to deliver to. Raises InvalidInput, OutsideRoots, NotAllowed."""
    if keep is not None:
        raise InvalidInput(what="Only files in the buffer are kept for a time; those in a folder of yours stay.")
    target = confined(destination, archive.settings.roots.destination, kind="destination", within=within)
    own = os.path.realpath(archive.settings.data), archive.settings.buffer_path, archive.settings.landing_path
    if any(target.is_relative_to(folder) for folder in own):
        raise InvalidInput(what=f"{destination} is inside the archive's own folder. Choose another one.")
    if target.exists() and not target.is_dir():
        raise InvalidInput(what=f"{destination} is not a folder.")
    return target


def _whole(conn: Connection, dataset: str) -> dict[str, tuple[int, int]]:
    return {row["id"]: (row["files"], row["payload"]) for row in packages.all(conn, "of_dataset", dataset=dataset)}


def _selected(conn: Connection, dataset: str, paths: Sequence[bytes]) -> dict[str, tuple[int, int]]:
    totals: dict[str, tuple[int, int]] = {}
    for path in paths:
        found = False
        for segment, packed in listings.walk(conn, dataset, prefix=path):
            found = True
            package = package_id(dataset, segment)
            files, size = totals.get(package, (0, 0))
            totals[package] = (files + _counts(packed.entry), size + packed.entry.size)
        if not found:
            raise NotFound(kind="file or folder", name=f"{printable(path)} in dataset {dataset}")
    return totals


def outermost(paths: Sequence[bytes]) -> list[bytes]:
    """Leave out paths that lie below others of them, so that nothing comes, or is counted, twice."""
    chosen = set(paths)
    return sorted(path for path in chosen if not any(folder in chosen for folder in _folders(path)))


def _folders(path: bytes) -> Iterator[bytes]:
    """Yield the folders above a path."""
    while path := path.rpartition(b"/")[0]:
        yield path


def _counts(entry: Entry) -> bool:
    """Say whether an entry counts as a file: links and folders do not, a file in parts counts once."""
    return entry.kind == "file" and (entry.part is None or entry.part.number == 1)


def cancel(archive: Archive, request: str, *, person: str) -> None:
    """End a request; what was delivered stays. Idempotent. Raises NotFound."""
    with archive.database.transaction() as conn:
        row = requests.first(conn, "lock", id=request)
        if row is None:
            raise NotFound(kind="request", name=request)
        requests.run(conn, "cancel_parts", request=request)
        if requests.move(conn, "end_request", to="cancelled", id=request, problem=None):
            release(conn, f"request:{request}")
            events.add(conn, archive.site, "request.cancelled", dataset=row["dataset"], person=person, request=request)


def prioritise(archive: Archive, request: str, *, priority: int, person: str) -> None:
    """Change how soon a request is served; each step doubles its weight. Idempotent. Raises NotFound, Conflict."""
    with archive.database.transaction() as conn:
        row = requests.first(conn, "lock", id=request)
        if row is None:
            raise NotFound(kind="request", name=request)
        if row["state"] not in {"asked", "waiting", "recalling"}:
            raise Conflict(what=f"Request {request} is {row['state']}: it does not wait any more.")
        if requests.first(conn, "prioritise", id=request, priority=priority):
            events.add(
                conn, archive.site, "request.prioritised", dataset=row["dataset"], person=person, request=request,
                priority=priority, was=row["priority"],
            )  # fmt: skip


def deliver(archive: Archive, thing: str, session: TapeSession | None = None) -> bool:
    """Bring the wanted files of one package to their destination, if nobody else does; `thing` is REQUEST/PACKAGE.

    With a `session` only its tape is read; False means that something of the package could not be had from it.
    """
    request, _, package = thing.partition("/")
    with archive.database.claim(f"deliver:{thing}") as held:
        if not held:
            return True
        with archive.database.transaction() as conn:
            asked = requests.first(conn, "by_id", id=request)
            part = requests.first(conn, "claim_part", request=request, package=package)
            if asked is None or part is None or asked["state"] not in {"waiting", "recalling"}:
                return True
            requests.run(conn, "recalling", id=request)
            row = packages.first(conn, "by_id", id=package)
            if row is None:
                return True
            wanted = list(_wanted(conn, row, [bytes(path) for path in asked["selection"]]))
        crash_point("deliver.begun")
        delivery = _Delivery(archive, asked, part, row, wanted)
        try:
            delivery.run(session)
        except Cancelled:
            return True
        except TransientError as error:
            _again(archive, part, error)
            return True
        if session and delivery.left:
            return False
        crash_point("deliver.done")
        _end_part(archive, asked, delivery)
    return True


def _wanted(conn: Connection, package: Row, selection: Sequence[bytes]) -> Iterator[Packed]:
    chosen = set(selection)
    for packed in listings.of_segment(conn, package["dataset"], package["segment"]):
        path = packed.entry.path
        if not chosen or path in chosen or any(folder in chosen for folder in _folders(path)):
            yield packed


class TapeSource:
    """A package on a tape, as the reader of packages wants it."""

    def __init__(self, session: TapeSession, name: str, size: int) -> None:
        """Read the file `name` of `size` bytes through `session`."""
        self._session = session
        self.name = name
        self.size = size

    def read(self, offset: int, length: int | None) -> Iterator[bytes]:
        """Yield bytes of the package from the medium, fewer where it ends before `length`; a tape refuses to."""
        if length is not None:
            length = max(min(length, self.size - offset), 0)
        return self._session.read(self.name, offset, length)


class _Delivery:
    """One attempt to deliver the wanted entries of one package, from one copy after the other."""

    def __init__(self, archive: Archive, asked: Row, part: Row, package: Row, wanted: Sequence[Packed]) -> None:
        self.archive, self.asked, self.part, self.package = archive, asked, part, package
        self.left = {_key(packed.entry): packed for packed in wanted}
        self.failed: dict[bytes, HoldfastError] = {}
        self.files = self.bytes = 0
        self._noted = time.monotonic()
        self._cancelled = False

    def run(self, session: TapeSession | None) -> None:
        """Try the copies, the best first, or only the one of `session`, until nothing is left to bring.

        Raises Busy, Cancelled, NoSpace.
        """
        target = Path(os.fsdecode(bytes(self.asked["destination"])))
        busy: Busy | None = None
        for copy in self._copies():
            if not self.left:
                break
            if session and copy["tape"] != session.serial:
                continue
            try:
                self._from(copy, target, session)
            except Busy as error:
                busy = error
            except (MediumFailed, NotFound, IntegrityError) as error:  # it cannot be read, is gone, or is another file
                suspect(self.archive, self.package, copy, error)
        if self.left and busy:
            raise busy
        if session:
            return  # another copy may have what is left
        for key, packed in self.left.items():
            unreadable = NotFound(kind="readable copy of", name=printable(packed.entry.path))
            self.failed.setdefault(packed.entry.path, self.failed.get(key[0], unreadable))

    def _copies(self) -> list[Row]:
        """Return the copies on tapes in use. Raises Busy when there are only others, or none yet."""
        with self.archive.database.transaction() as conn:
            rows = copies.all(conn, "readable", package=self.package["id"])
        if not rows and self.package["state"] == "staged":
            raise Busy(what=f"{self.package['name']} is not on any tape yet: it is brought when it is.")
        usable = [row for row in rows if row["tape_state"] not in OUT_OF_USE]
        if rows and not usable:
            where = "; ".join(_out_of_use(row) for row in rows)
            raise Busy(what=f"No tape with {self.package['name']} can be read now: {where}.")
        # Requests spread over the twins by package, so that both tapes are read.
        turn = self.package["segment"]
        return sorted(usable, key=lambda row: (_PREFERENCE.index(row["state"]), (row["number"] + turn) % 2))

    def _from(self, copy: Row, target: Path, given: TapeSession | None) -> None:
        damaged: list[HoldfastError] = []

        def on_problem(entry: Entry, error: HoldfastError) -> None:
            self.failed[entry.path] = error
            if isinstance(error, IntegrityError):
                damaged.append(error)  # the twin may have it
            else:
                self.left.pop(_key(entry), None)

        mount = nullcontext((given,)) if given else mounted(self.archive, [copy["tape"]], "read", "recall")
        with mount as (session,):
            file, size = session.find(self.package["name"]), self.package["size"]
            if file and file.size != size:
                raise Damaged(
                    name=file.name, why=f"it has {file.size} bytes on tape {session.serial}, {size} were written"
                )
            extract(
                TapeSource(session, self.package["name"], self.package["size"]), list(self.left.values()), target,
                cancelled=lambda: self._cancelled or self.archive.stopping.is_set(), on_done=self._done, on_problem=on_problem,
                plain=self.package["packaging"] == "plain", preserve_owner=keeps_owners(self.archive, self.asked),
            )  # fmt: skip
        if damaged:
            suspect(self.archive, self.package, copy, damaged[0])

    def _done(self, entry: Entry) -> None:
        self.left.pop(_key(entry), None)
        self.failed.pop(entry.path, None)
        self.files += entry.part is None and _counts(entry)  # a file in parts is done when it is joined
        self.bytes += entry.size
        if time.monotonic() - self._noted >= _PROGRESS_EVERY:
            self._noted = time.monotonic()
            self._note()

    def _note(self) -> None:
        # Progress is a courtesy: a database that is away for a moment must not end the delivery.
        with suppress(HoldfastError), self.archive.database.transaction() as conn:
            row = requests.first(
                conn, "progress", request=self.asked["id"], package=self.package["id"], attempt=self.part["attempt"],
                files=self.files, bytes=self.bytes,
            )  # fmt: skip
            self._cancelled = row is None or row["request_state"] == "cancelled"
            # What has landed is no longer free: to promise it as well would count it twice.
            reservations.run(conn, "landed", id=f"request:{self.asked['id']}", request=self.asked["id"])


def _out_of_use(copy: Row) -> str:
    why = f" ({copy['tape_problem']['sentence']})" if copy["tape_problem"] else ""
    return f"{copy['tape']} is {copy['tape_state']}{why}"


def _key(entry: Entry) -> tuple[bytes, int]:
    return entry.path, entry.part.number if entry.part else 0


def _again(archive: Archive, part: Row, error: TransientError) -> None:
    _LOG.warning("request %s: %s", part["request"], error.sentence)
    with archive.database.transaction() as conn:
        waiting = described(error, part["problem"])
        requests.run(
            conn, "part_again", request=part["request"], package=part["package"], attempt=part["attempt"], **waiting
        )


def _end_part(archive: Archive, asked: Row, delivery: _Delivery) -> None:
    part = delivery.part
    with archive.database.transaction() as conn:
        # Two parts that end together must see each other: the second waits here for the first.
        requests.first(conn, "lock", id=asked["id"])
        ended = requests.first(
            conn, "end_part", request=asked["id"], package=part["package"], attempt=part["attempt"], state="delivered",
            files=delivery.files, bytes=delivery.bytes, problem=None,
        )  # fmt: skip
        if ended is None:
            return
        list_problems(conn, asked["id"], delivery.failed)
        open_parts = requests.first(conn, "open_parts", request=asked["id"])
    if open_parts and not open_parts["open"]:
        finish(archive, asked["id"])
