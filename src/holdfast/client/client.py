# SPDX-License-Identifier: Apache-2.0
"""`Client`: each call of the REST API as a method that takes and gives the models of `holdfast.wire`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

from holdfast.client.connection import is_text, segment, sent
from holdfast.client.content import Content, raw_path
from holdfast.client.deposit import Deposits
from holdfast.client.grants import Grants
from holdfast.client.groups import Groups
from holdfast.client.metadata import MetadataCalls
from holdfast.client.people import People
from holdfast.client.profiles import Profiles
from holdfast.wire.datasets import (
    CheckAsked,
    Dataset,
    DatasetDetail,
    DatasetPage,
    DatasetWish,
    File,
    FilePage,
    FoundFile,
    FoundFiles,
)
from holdfast.wire.drives import Drive, DrivePage, DriveWish, MountPage
from holdfast.wire.requests import (
    KeepWish,
    PriorityWish,
    Release,
    ReleaseWish,
    Request,
    RequestPage,
    RequestWish,
)
from holdfast.wire.statistics import PackageTable, Statistics
from holdfast.wire.status import Event, EventPage, Status
from holdfast.wire.tapes import (
    NewTape,
    Repack,
    RepackWish,
    Retirement,
    RetireWish,
    Tape,
    TapeDetail,
    TapePage,
    TapeWish,
)

_PAGE: Final = 1000  # of a list that is had whole; a call costs more than its items


class Client(People, Groups, Grants, Deposits, Content, Profiles, MetadataCalls):
    """A connection to an archive, with all calls."""

    # ---- datasets ----

    def archive(
        self,
        path: str,
        *,
        title: str,
        profile: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        group: str | None = None,
        key: str = "",
    ) -> DatasetDetail:
        """Have a folder of the server archived in place. Raises Refused, Unreachable, as all methods do."""
        wish = DatasetWish(path=path, title=title, profile=profile, metadata=dict(metadata or {}), group=group)
        return self._post("/datasets", wish, DatasetDetail, key)

    def datasets(self, *, deleted: bool = False) -> Iterator[Dataset]:
        """Yield all datasets, the newest first."""
        cursor: str | None = None
        while True:
            page = self._get("/datasets", DatasetPage, cursor=cursor, limit=_PAGE, deleted=deleted)
            yield from page.items
            if (cursor := page.next) is None:
                return

    def dataset(self, dataset: str) -> DatasetDetail:
        """Return all that is known of a dataset."""
        return self._get(f"/datasets/{segment(dataset)}", DatasetDetail)

    def files(self, dataset: str, *, prefix: str = "", union: bool = False) -> Iterator[File]:
        """Yield the files of a dataset in path order, or those at and below `prefix`; with `union`, also of what it extends."""
        known = "/".join(takewhile(is_text, prefix.split("/")))  # what is not UTF-8, an address cannot ask for
        found = self._pages(f"/datasets/{segment(dataset)}/files", prefix=known, union=union)
        if known == prefix:
            return found
        wanted = os.fsencode(prefix) + b"/"
        return (file for file in found if (raw_path(file) + b"/").startswith(wanted))

    def folder(self, dataset: str, path: str = "") -> Iterator[File]:
        """Yield what is directly in a folder of a dataset."""
        return self._pages(f"/datasets/{segment(dataset)}/folder", path=path)

    def find(self, name: str, *, limit: int = 100) -> list[FoundFile]:
        """Return files with this name in any dataset."""
        return self._get("/files", FoundFiles, name=name, limit=limit).items

    def check(self, dataset: str) -> CheckAsked:
        """Have all copies of a dataset read again."""
        return self._post(f"/datasets/{segment(dataset)}/check", None, CheckAsked)

    def release(self, dataset: str, *, apply: bool, key: str = "") -> Release:
        """Plan, and with `apply` do, the removal of a dataset's source."""
        return self._post(f"/datasets/{segment(dataset)}/release", ReleaseWish(apply=apply), Release, key)

    def released(self, release: str) -> Release:
        """Return how far a release is."""
        return self._get(f"/releases/{segment(release)}", Release)

    # ---- requests ----

    def ask(
        self, dataset: str, *, destination: str, paths: Sequence[str] = (), priority: int = 0, key: str = ""
    ) -> Request:
        """Ask for files back, to a folder of the server; no path means the whole dataset."""
        plain, exact = sent(paths)
        wish = RequestWish(dataset=dataset, paths=plain, paths_base64=exact, destination=destination, priority=priority)
        return self._post("/requests", wish, Request, key)

    def stage(self, dataset: str, *, paths: Sequence[str] = (), keep: float | None = None, key: str = "") -> Request:
        """Ask for files to be brought into the archive's buffer and kept there, in seconds."""
        plain, exact = sent(paths)
        wish = RequestWish(dataset=dataset, paths=plain, paths_base64=exact, keep=keep)
        return self._post("/requests", wish, Request, key)

    def keep(self, request: str, seconds: float) -> Request:
        """Keep what was staged for so long from now."""
        return self._post(f"/requests/{segment(request)}/keep", KeepWish(seconds=seconds), Request)

    def unstage(self, request: str) -> Request:
        """Have what was staged removed from the buffer now."""
        return self._post(f"/requests/{segment(request)}/unstage", None, Request)

    def request(self, request: str) -> Request:
        """Return how far a request is."""
        return self._get(f"/requests/{segment(request)}", Request)

    def requests(self, *, cursor: str | None = None, limit: int = 50) -> RequestPage:
        """Return the newest requests, or those behind a cursor."""
        return self._get("/requests", RequestPage, cursor=cursor, limit=limit)

    def cancel(self, request: str) -> Request:
        """End a request; what was delivered stays."""
        return self._post(f"/requests/{segment(request)}/cancel", None, Request)

    def prioritise(self, request: str, priority: int) -> Request:
        """Change how soon a request is served; each step, from -10 to 10, doubles its weight."""
        return self._post(f"/requests/{segment(request)}/priority", PriorityWish(priority=priority), Request)

    # ---- the archive ----

    def status(self) -> Status:
        """Return the state of the whole archive."""
        return self._get("/status", Status)

    def statistics(self) -> Statistics:
        """Return the whole archive in numbers."""
        return self._get("/statistics", Statistics)

    def packages(self, *, search: str = "", cursor: str | None = None, limit: int = 1000) -> PackageTable:
        """Return packages with their tapes, digests and sizes."""
        return self._get("/packages", PackageTable, search=search, cursor=cursor, limit=limit)

    def packages_csv(self, *, search: str = "") -> Iterator[str]:
        """Yield the whole table of packages as CSV, in pieces."""
        with self._streamed("/packages.csv", search=search) as response:
            yield from response.iter_text()

    def tapes(self) -> list[Tape]:
        """Return all tapes, by serial."""
        return self._get("/tapes", TapePage).items

    def tape(self, serial: str) -> TapeDetail:
        """Return all that is known of a tape."""
        return self._get(f"/tapes/{segment(serial)}", TapeDetail)

    def disable_tape(self, serial: str, reason: str) -> TapeDetail:
        """Take a tape out of use."""
        return self._post(f"/tapes/{segment(serial)}/disable", TapeWish(reason=reason), TapeDetail)

    def enable_tape(self, serial: str) -> TapeDetail:
        """Take a tape into use again."""
        return self._post(f"/tapes/{segment(serial)}/enable", None, TapeDetail)

    def retire_tape(self, serial: str, *, apply: bool = False) -> Retirement:
        """Plan that a tape leaves for good; `apply` does it."""
        return self._post(f"/tapes/{segment(serial)}/retire", RetireWish(apply=apply), Retirement)

    def add_tape(self, tape: NewTape) -> TapeDetail:
        """Take a new tape into use; a simulated one is made."""
        return self._post("/tapes", tape, TapeDetail)

    def export_tape(self, serial: str, reason: str) -> TapeDetail:
        """Note that a tape is taken out of the library on purpose."""
        return self._post(f"/tapes/{segment(serial)}/export", TapeWish(reason=reason), TapeDetail)

    def repack_tapes(self, serials: Sequence[str], *, media: str = "", apply: bool = False) -> Repack:
        """Plan that tapes, or all of a media type, are emptied onto others; `apply` begins."""
        return self._post("/tapes/repack", RepackWish(tapes=list(serials), media=media, apply=apply), Repack)

    def drives(self) -> list[Drive]:
        """Return all drives."""
        return self._get("/drives", DrivePage).items

    def disable_drive(self, drive: str, reason: str) -> Drive:
        """Take a drive out of use; one in use is out when its tape is."""
        return self._post(f"/drives/{segment(drive)}/disable", DriveWish(reason=reason), Drive)

    def enable_drive(self, drive: str) -> Drive:
        """Take a drive into use again."""
        return self._post(f"/drives/{segment(drive)}/enable", None, Drive)

    def mounts(
        self, *, tape: str | None = None, drive: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> MountPage:
        """Return the newest mounts, or those behind a cursor: of one tape, of one drive, or all."""
        return self._get("/mounts", MountPage, tape=tape, drive=drive, cursor=cursor, limit=limit)

    def events(self, *, after: str = "", limit: int = 100, dataset: str | None = None) -> EventPage:
        """Return events after a cursor."""
        return self._get("/events", EventPage, after=after, limit=limit, dataset=dataset)

    def events_all(self, *, after: str = "") -> Iterator[Event]:
        """Yield all events after a cursor up to now."""
        while (page := self.events(after=after, limit=1000)).items:
            yield from page.items
            after = page.next

    # ---- how ----

    def _pages(self, route: str, /, **query: Any) -> Iterator[File]:
        cursor: str | None = None
        while True:
            page = self._get(route, FilePage, cursor=cursor, **query)
            yield from page.items
            if (cursor := page.next) is None:
                return
