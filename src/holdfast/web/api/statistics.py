# SPDX-License-Identifier: Apache-2.0
"""/statistics, /packages and /metrics: the archive in numbers, for people, spreadsheets and monitoring."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated

from fastapi import Query
from fastapi.responses import PlainTextResponse, StreamingResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from holdfast.services import statistics as service
from holdfast.services.archive import Archive
from holdfast.services.overview import overview
from holdfast.services.rights import may
from holdfast.web import paging
from holdfast.web.api.datasets import Cursor, Limit
from holdfast.web.caller import Caller, TheArchive
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.statistics import PackageRow, PackageTable, Statistics

router = Router(tags=["statistics"])
Search = Annotated[str, Query(max_length=200, description="part of a name, a dataset, or a tape")]


@router.get("/statistics", responses=responses())
def statistics(archive: TheArchive, person: Caller) -> Statistics:
    """Tell the whole archive in numbers."""
    may(archive, person, "operate")
    return service.statistics(archive)


@router.get("/packages", responses=responses())
def packages(
    archive: TheArchive, person: Caller, search: Search = "", cursor: Cursor = None, limit: Limit = 100
) -> PackageTable:
    """List packages with their tapes, digests and sizes."""
    may(archive, person, "operate")
    [after] = paging.take(cursor, 1) or [""]
    page = service.package_table(archive, search=search, after=after, limit=limit)
    return PackageTable(items=page.items, next=paging.give(page.next) if page.next else None)


@router.get(
    "/packages.csv", responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **responses()},
    response_class=StreamingResponse,
)  # fmt: skip
def packages_csv(archive: TheArchive, person: Caller, search: Search = "") -> StreamingResponse:
    """Give the same table whole, as CSV (RFC 4180)."""
    may(archive, person, "operate")
    rows = service.all_packages(archive, search=search)
    # The first is asked for here: once the answer has begun, an error can only break it off.
    return StreamingResponse(_csv(next(rows, None), rows), media_type="text/csv")


def _csv(first: PackageRow | None, rest: Iterable[PackageRow]) -> Iterator[str]:
    columns = list(PackageRow.model_fields)
    yield _line(columns)
    for row in chain([first] if first else (), rest):
        yield _line([getattr(row, column) for column in columns])


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(["" if value is None else value for value in values])
    return text.getvalue()


@router.get("/metrics", responses=responses(), response_class=PlainTextResponse)
def metrics(archive: TheArchive, person: Caller) -> PlainTextResponse:
    """Give the same numbers, queues, drives and disk areas in the text format of Prometheus."""
    may(archive, person, "operate")
    registry = CollectorRegistry()
    registry.register(_Numbers(archive))
    return PlainTextResponse(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")


class _Numbers(Collector):
    """What is read at one moment; nothing is counted in this process, for there are many."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def collect(self) -> Iterable[Metric]:
        """Yield every number with its description."""
        found = service.statistics(self._archive)
        for name, field in Statistics.model_fields.items():
            text = field.description or name.replace("_", " ")
            yield GaugeMetricFamily(f"holdfast_{name}", text, value=getattr(found, name))
        now = overview(self._archive)
        jobs = GaugeMetricFamily("holdfast_jobs", "jobs by queue and state", labels=["queue", "state"])
        for queue in now.queues:
            jobs.add_metric([queue.queue, "waiting"], queue.waiting)
            jobs.add_metric([queue.queue, "running"], queue.running)
        yield jobs
        requests = GaugeMetricFamily("holdfast_requests", "requests by state", labels=["state"])
        for count in now.requests:
            requests.add_metric([count.state], count.count)
        yield requests
        drives = GaugeMetricFamily("holdfast_drive_loaded", "1 when a tape is in the drive", labels=["drive"])
        for drive in now.drives:
            drives.add_metric([drive.drive], int(drive.tape is not None))
        yield drives
        out = GaugeMetricFamily("holdfast_drive_out", "1 when the drive is out of use", labels=["drive"])
        busy = GaugeMetricFamily("holdfast_drive_busy", "share of 24 hours with a tape in the drive", labels=["drive"])
        mounts = GaugeMetricFamily("holdfast_drive_mounts", "mounts in the last 24 hours", labels=["drive"])
        for drive in now.drives:
            out.add_metric([drive.drive], int(drive.reason is not None))
            busy.add_metric([drive.drive], drive.busy)
            mounts.add_metric([drive.drive], drive.mounts_last_day)
        yield from (out, busy, mounts)
        warned = sum(tape.warned for tape in now.tapes)
        yield GaugeMetricFamily("holdfast_tapes_warned", "tapes that may be about to fail", value=warned)
        free = GaugeMetricFamily("holdfast_area_free", "free bytes of a disk area", labels=["area"])
        for area in now.areas:
            free.add_metric([area.name], area.free)
        yield free
        used = GaugeMetricFamily("holdfast_area_used", "bytes that a disk area holds or has promised", labels=["area"])
        mark = GaugeMetricFamily("holdfast_area_mark", "bytes up to which a disk area is filled", labels=["area"])
        for area in now.areas:
            used.add_metric([area.name], area.used)
            mark.add_metric([area.name], area.mark)
        yield used
        yield mark
