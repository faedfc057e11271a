# SPDX-License-Identifier: Apache-2.0
"""The archive in numbers, over REST as monitoring and spreadsheets read it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import client_of

from holdfast.services import statistics
from holdfast.services.free import want_release
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite


@pytest.fixture
def client(site: SmallSite) -> Iterator[httpx.Client]:
    with client_of(site) as served:
        yield served


def test_the_numbers_are_those_of_the_archive(site: SmallSite) -> None:
    empty = statistics.statistics(site.archive)
    assert (empty.datasets, empty.occupancy, empty.success, empty.write_rate) == (0, 0.0, 1.0, 0.0)
    one = site.archive_folder({"a": sample(300_000, "a"), "b": b"b"}, name="one")
    site.archive_folder({"c": sample(200_000, "c")}, name="two")
    site.drain()
    want_release(site.archive, one, person="op", apply=True)
    site.drain()
    found = statistics.statistics(site.archive)
    assert (found.datasets, found.datasets_secured, found.packages, found.packages_secured) == (2, 2, 2, 2)
    assert (found.files, found.bytes_archived) == (3, 500_001)
    assert (found.bytes_on_disk, found.bytes_recovered) == (200_000, 300_001)
    assert found.bytes_on_tape == found.bytes_last_day == 2 * found.bytes_packed
    assert 0 < found.occupancy < found.filling < 1
    assert (found.tapes, found.tapes_faulty, found.copies_verified, found.copies_lost) == (4, 0, 4, 0)
    assert found.write_rate > 0


def test_metrics_are_what_prometheus_reads(site: SmallSite, client: httpx.Client) -> None:
    site.archive_folder({"a": b"a"})
    site.drain()
    answer = client.get("/api/v1/metrics")
    assert answer.status_code == 200
    found = {family.name: family.samples for family in text_string_to_metric_families(answer.text)}
    assert found["holdfast_datasets_secured"][0].value == 1
    assert {sample.labels["drive"] for sample in found["holdfast_drive_loaded"]} == {"D1", "D2"}
    assert found["holdfast_area_free"][0].value > 0
    assert client.get("/api/v1/metrics", headers={"Authorization": ""}).status_code == 401


def test_the_table_of_packages_is_searched_paged_and_given_as_csv(site: SmallSite, client: httpx.Client) -> None:
    made = [site.archive_folder({"f": f"{n}".encode()}, name=f"run{n}") for n in range(5)]
    site.drain()
    page = client.get("/api/v1/packages", params={"limit": 3}).json()
    rest = client.get("/api/v1/packages", params={"limit": 3, "cursor": page["next"]}).json()
    assert rest["next"] is None
    rows = page["items"] + rest["items"]
    assert [row["dataset"] for row in rows] == made
    assert {(row["tape1"], row["tape2"]) for row in rows} == {tuple(site.tapes(made[0]))}
    for search in ("run3", "RUN3", made[3]):
        [row] = client.get("/api/v1/packages", params={"search": search}).json()["items"]
        assert row["dataset"] == made[3]
    assert len(client.get("/api/v1/packages", params={"search": rows[0]["tape1"]}).json()["items"]) == 5
    answer = client.get("/api/v1/packages.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert [int(row["size"]) for row in table] == [row["size"] for row in rows]
    assert client.get("/api/v1/packages", params={"cursor": "x"}).status_code == 422
