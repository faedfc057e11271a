# SPDX-License-Identifier: Apache-2.0
"""What files say of themselves becomes metadata; what cannot be read is named, and is archived as it is (P1)."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from served import client_of

from holdfast.client import Client
from holdfast.services import metadata, planner
from holdfast.services.extract import WHO, extract
from holdfast.services.metadata import write
from holdfast.testing.site import SmallSite
from holdfast.wire.metadata import Extraction, Metadata

DATA = Path(__file__).parents[1] / "data"


def archived(site: SmallSite, *names: str, folder: str = "run") -> str:
    return site.archive_folder({name: (DATA / name).read_bytes() for name in names}, name=folder)


def known(site: SmallSite, dataset: str) -> tuple[Metadata, Extraction]:
    found = metadata.current(site.archive, dataset)
    assert found.extraction
    return found, found.extraction


def test_headers_become_metadata_that_are_found_and_told(site: SmallSite) -> None:
    dataset = archived(site, "fits/valid/20131104_183_dl3.fits", "hdf5/valid/chopper.nxs", "odd-names.txt")
    site.drain()
    found, report = known(site, dataset)
    assert found.values["fits:TELESCOP"] == "FACT"
    assert found.values["fits:DATE-OBS"] == {"date": "2013-11-04"}
    assert found.values["hdf5:NXentry/analysis"] == "TOFNDGS"
    assert found.values["hdf5:NXentry/start_time"] == {"date": "2001-02-07T14:54:21Z"}
    assert (report.looked, report.read, report.failed, report.note) == (3, 2, 0, "")
    assert {origin.person for origin in found.origins.values()} == {WHO}
    (told,) = site.events("dataset.extracted")
    assert told.body == {"looked": 3, "read": 2, "failed": 0, "keys": len(found.values)}
    with (
        client_of(site) as api,
        Client(str(api.base_url), site.archive.settings.token_file.read_text().strip()) as client,
    ):
        query = "\"fits:TELESCOP\" = 'FACT' AND \"hdf5:NXentry/start_time\" < '2002-01-01'"
        assert [item.id for item in client.search(query)] == [dataset]
        assert client.metadata(dataset).extraction == report


def test_files_that_differ_give_ranges(site: SmallSite) -> None:
    dataset = archived(site, "hdf5/valid/20230605080000_shot366350.hdf5", "epac/invalid/active_area_missing.hdf5")
    site.drain()
    values = known(site, dataset)[0].values
    assert (values["hdf5:@shotnum.min"], values["hdf5:@shotnum.max"]) == (366272, 366350)
    assert values["hdf5:@timestamp.min"] == {"date": "2020-04-07T14:28:16Z"}
    assert values["hdf5:@timestamp.max"] == {"date": "2023-06-05T08:00:00Z"}
    assert values["hdf5:@active_area"] == "ea1"  # only one has it
    assert values["hdf5:@epac_ops_data_version"] == "1.0"


def test_p1_all_samples_are_archived_as_they_are_and_the_bad_ones_are_named(site: SmallSite) -> None:
    names = [f"{path.relative_to(DATA)}" for path in sorted(DATA.rglob("*.*")) if path.is_file()]
    before = {name: hashlib.sha512((DATA / name).read_bytes()).hexdigest() for name in names}
    dataset = archived(site, *names)
    site.drain()
    assert site.show(dataset).level == "preserved"
    assert {name: hashlib.sha512((site.sources / "run" / name).read_bytes()).hexdigest() for name in names} == before
    report = known(site, dataset)[1]
    assert report.looked == len(names)
    named = {Path(item.path).name: item.reason for item in report.unread}
    assert report.failed == len(report.unread)
    assert set(named) >= {
        "dl3_cut_in_data.fits", "dl3_cut_in_header.fits", "empty.fits", "not_actually_fits.fits", "empty.h5",
        "cve-2018-11206-new.h5", "cve-2021-45829.h5", "cve-2025-2153.h5", "nexus_cut_50pct.nxs",
        "nexus_cut_last_512.nxs", "pl_savu_30.nxs", "signature_only.h5",
    }  # fmt: skip
    assert named["not_actually_fits.fits"] == "its name promises FITS, but it is not"
    assert not any("/valid" in item.path for item in report.unread)


def test_a_dataset_without_such_files_says_nothing_and_is_looked_at_once(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a", "b/c": b""})
    site.drain()
    found, report = known(site, dataset)
    assert (found.values, found.version, report.looked, report.read) == ({}, 0, 2, 0)
    assert site.events("dataset.extracted") == []
    assert site.ran.count("extract") == 1
    extract(site.archive, dataset)
    assert known(site, dataset)[1] == report


def test_the_planner_finds_what_is_owed(site: SmallSite) -> None:
    dataset = archived(site, "fits/valid/20131104_183_dl3.fits")
    site.drain(until=lambda: site.ran.count("pack") == 1)
    site.rows("delete from procrastinate_jobs where task_name = 'extract'")
    assert planner.plan(site.archive)
    site.drain()
    assert known(site, dataset)[0].values["fits:TELESCOP"] == "FACT"


def test_files_that_changed_or_went_are_named_and_their_values_not_taken(site: SmallSite) -> None:
    dataset = archived(site, "fits/valid/20131104_183_dl3.fits", "hdf5/valid/chopper.nxs")
    site.drain(until=lambda: site.ran.count("pack") == 1)
    folder = site.sources / "run"
    (folder / "hdf5/valid/chopper.nxs").unlink()
    (folder / "fits/valid/20131104_183_dl3.fits").write_bytes((DATA / "fits/valid/m13_rice.fits").read_bytes())
    extract(site.archive, dataset)
    found, report = known(site, dataset)
    assert (found.values, report.read, report.failed) == ({}, 0, 2)


def test_a_source_that_is_gone_ends_it(site: SmallSite) -> None:
    dataset = archived(site, "fits/valid/20131104_183_dl3.fits")
    site.drain(until=lambda: site.ran.count("pack") == 1)
    shutil.rmtree(site.sources / "run")
    site.drain()
    report = known(site, dataset)[1]
    assert report.looked == 0
    assert "run" in report.note


def test_values_that_do_not_fit_beside_those_of_people_are_left_out(site: SmallSite) -> None:
    dataset = archived(site, "fits/valid/20131104_183_dl3.fits")
    site.drain(until=lambda: site.ran.count("pack") == 1)
    with site.archive.database.transaction() as conn:
        write(site.archive, conn, dataset, {f"k{n}": n for n in range(10_000)}, (), person="tester")
    site.drain()
    found, report = known(site, dataset)
    assert len(found.values) == 10_000
    assert "10000 keys" in report.note


@pytest.mark.parametrize("name", ["cve-2024-32611.h5"])
def test_a_file_that_is_made_to_kill_hurts_nobody(site: SmallSite, name: str) -> None:
    dataset = archived(site, f"hdf5/invalid/{name}", "fits/valid/20131104_183_dl3.fits")
    site.drain()
    found, report = known(site, dataset)
    assert found.values["fits:TELESCOP"] == "FACT"
    assert report.looked == 2
