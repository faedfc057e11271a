# SPDX-License-Identifier: Apache-2.0
"""What files say of themselves becomes metadata; what cannot be read is named, and is archived as it is (P1)."""

from __future__ import annotations

import hashlib
import os
import threading
from functools import partial
from pathlib import Path

import pytest
from served import client_of

from holdfast.client import Client
from holdfast.services import deletion, metadata, planner
from holdfast.services.extract import WHO, extract
from holdfast.services.free import want_release
from holdfast.services.metadata import write
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX
from holdfast.wire.metadata import Extraction, Metadata

DATA = Path(__file__).parents[1] / "data"
EMPTY = ("SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0")


def archived(site: SmallSite, *names: str, folder: str = "run") -> str:
    return site.archive_folder({name: (DATA / name).read_bytes() for name in names}, name=folder)


def packed(site: SmallSite, *names: str) -> str:
    """Archive samples so far that the dataset is closed, but nothing was read."""
    dataset = archived(site, *names)
    site.drain(until=lambda: site.ran.count("pack") == 1)
    return dataset


def known(site: SmallSite, dataset: str) -> tuple[Metadata, Extraction]:
    found = metadata.current(site.archive, dataset)
    assert found.extraction
    return found, found.extraction


def test_headers_become_metadata_that_are_found_and_told(site: SmallSite) -> None:
    dataset = archived(site, "fits/valid/20131104_183_dl3.fits", "hdf5/valid/chopper.nxs", "odd-names.txt")
    site.drain()
    found, report = known(site, dataset)
    assert found.values["fits:TELESCOP"] == "FACT"
    assert found.values["fits:DATE-OBS"] == {"date": "2013-11-05"}
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


def test_files_that_people_added_are_read_as_well(site: SmallSite) -> None:
    dataset = site.open_dataset()
    with client_of(site) as api:
        for name in ("fits/valid/20131104_183_dl3.fits", "hdf5/valid/chopper.nxs"):
            assert api.put(f"{PREFIX}/datasets/{dataset}/files/{name}", content=(DATA / name).read_bytes()).is_success
        site.drain()
        assert metadata.current(site.archive, dataset).extraction is None  # it is open
        assert api.post(f"{PREFIX}/datasets/{dataset}/close").is_success
    site.drain()
    assert known(site, dataset)[1].read == 2
    assert site.show(dataset).availability == "nearline"  # the landing area is free again


def test_what_people_added_is_not_removed_before_it_is_read(site: SmallSite) -> None:
    dataset = site.open_dataset()
    name = "fits/valid/20131104_183_dl3.fits"
    with client_of(site) as api:
        assert api.put(f"{PREFIX}/datasets/{dataset}/files/{name}", content=(DATA / name).read_bytes()).is_success
        assert api.post(f"{PREFIX}/datasets/{dataset}/close").is_success
    with site.archive.database.claim(f"extract:{dataset}"):  # somebody reads, and takes long
        site.drain()
        assert site.show(dataset).level == "preserved"
        assert site.events("source.releasing") == []
        assert (site.archive.settings.landing_path / dataset / name).exists()
    site.drain()
    assert known(site, dataset)[1].read == 1
    assert site.show(dataset).availability == "nearline"


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


def test_a_dataset_without_such_files_gets_a_report_and_is_looked_at_once(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a", "b/c": b""})
    site.drain()
    found, report = known(site, dataset)
    assert (found.values, found.version, report.looked, report.read, report.note) == ({}, 0, 2, 0, "")
    assert site.ran.count("extract") == 1
    extract(site.archive, dataset)
    assert known(site, dataset)[1] == report
    assert len(site.events("dataset.extracted")) == 1


def test_the_planner_finds_what_is_owed(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits")
    site.rows("delete from procrastinate_jobs where task_name = 'extract'")
    assert planner.plan(site.archive)
    site.drain()
    assert known(site, dataset)[0].values["fits:TELESCOP"] == "FACT"


def test_files_that_changed_are_named_and_files_that_went_are_left_out(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits", "hdf5/valid/chopper.nxs", "odd-names.txt")
    folder = site.sources / "run"
    (folder / "hdf5/valid/chopper.nxs").unlink()
    (folder / "fits/valid/20131104_183_dl3.fits").write_bytes((DATA / "fits/valid/m13_rice.fits").read_bytes())
    extract(site.archive, dataset)
    found, report = known(site, dataset)
    assert (found.values, report.looked, report.read) == ({}, 2, 0)
    assert [item.reason for item in report.unread] == ["it is not as it was when it was archived"]
    assert report.note == "1 files were gone before they could be looked at."


def test_a_link_in_the_place_of_a_file_or_folder_is_not_followed(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits", "hdf5/valid/chopper.nxs")
    (site.sources / "run" / "fits").rename(site.sources / "elsewhere")
    (site.sources / "run" / "fits").symlink_to(site.sources / "elsewhere")
    (site.sources / "run" / "hdf5/valid/chopper.nxs").rename(site.sources / "chopper.nxs")
    (site.sources / "run" / "hdf5/valid/chopper.nxs").symlink_to(site.sources / "chopper.nxs")
    extract(site.archive, dataset)
    found, report = known(site, dataset)
    assert (found.values, report.read, report.failed) == ({}, 0, 2)


def tried(site: SmallSite, tries: int) -> bool:
    return site.ran.count("extract") == tries


def test_p9_a_source_that_is_away_is_waited_for_and_its_place_is_not_told(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits")
    folder, away = site.sources / "run", site.sources / "away"
    folder.rename(away)
    for tries in (1, 2):
        site.drain(hurry=False, until=partial(tried, site, tries))
        (pending,) = [item for item in site.show(dataset).pending if item.problem]
        assert pending.problem
        assert pending.problem.sentence == "Its folder cannot be opened: No such file or directory."
        assert (pending.problem.tries, pending.problem.who) == (tries, "operator")
        assert site.hurry() == 1
    site.drain(hurry=False)
    (pending,) = site.show(dataset).pending  # nothing else
    assert pending.problem
    assert site.show(dataset).level == "preserved"
    away.rename(folder)
    site.drain()
    assert site.show(dataset).pending == []
    assert known(site, dataset)[0].values["fits:TELESCOP"] == "FACT"


def test_p8_a_source_that_stays_away_is_given_up(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits")
    (site.sources / "run").rename(site.sources / "away")
    extract(site.archive, dataset)
    assert site.show(dataset).pending[-1].problem
    site.rows("update dataset set closed_at = now() - interval '7 days'")
    site.drain()
    report = known(site, dataset)[1]
    assert (report.looked, report.note) == (0, "Its folder cannot be opened: No such file or directory.")
    assert not site.show(dataset).pending


def test_nothing_waits_for_the_reading_and_a_release_ends_it(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits")
    with site.archive.database.claim(f"extract:{dataset}") as held:  # somebody reads, and takes long
        assert held
        site.drain()
        assert site.show(dataset).level == "preserved"
        want_release(site.archive, dataset, person="tester", apply=True)
        site.drain()
        assert site.ran.count("extract") == 1
    assert site.events("source.released")
    site.drain()
    extract(site.archive, dataset)
    assert site.ran.count("extract") == 1
    assert metadata.current(site.archive, dataset).extraction is None


def test_nothing_is_kept_of_a_dataset_that_is_deleted_while_its_files_are_read(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits")
    deleting = threading.Thread(
        target=deletion.delete, args=(site.archive, dataset), kwargs={"person": "x", "reason": "y"}
    )
    reading = threading.Thread(target=extract, args=(site.archive, dataset))
    with site.archive.database.transaction() as conn:
        conn.execute("select from dataset where id = %s for update", [dataset])
        for number, thread in enumerate((deleting, reading), start=1):  # they wait for the row in this order
            thread.start()
            while waiting(site) < number:
                assert thread.is_alive()
    deleting.join()
    reading.join()
    assert site.show(dataset).state == "deleted"
    assert site.rows("select extraction, metadata from dataset") == [{"extraction": None, "metadata": {}}]
    assert site.events("dataset.extracted") == []


def waiting(site: SmallSite) -> int:
    """Return how many transactions wait for another one."""
    (found,) = site.rows(
        "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    return int(found["n"])


def test_p9_a_reader_that_does_not_start_is_told_and_tried_again(
    site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError")
    with monkeypatch.context() as broken:
        broken.setenv("PYTHONPATH", os.fspath(tmp_path))
        dataset = archived(site, "fits/valid/20131104_183_dl3.fits")
        for _ in range(2):
            site.drain(hurry=False)
            site.hurry()
    assert site.show(dataset).level == "preserved"
    (pending,) = site.show(dataset).pending
    assert pending.problem
    assert "does not start (status 1)" in pending.problem.sentence
    assert pending.problem.tries >= 2
    assert pending.problem.who == "operator"
    site.drain()
    assert site.show(dataset).pending == []
    assert known(site, dataset)[0].values["fits:TELESCOP"] == "FACT"


def test_values_that_do_not_fit_beside_those_of_people_are_left_out(site: SmallSite) -> None:
    dataset = packed(site, "fits/valid/20131104_183_dl3.fits")
    with site.archive.database.transaction() as conn:
        write(site.archive, conn, dataset, {f"k{n:02}": "x" * 99_985 for n in range(40)}, (), person="tester")
    site.drain()
    found, report = known(site, dataset)
    assert len(found.values) == 40
    assert "None of the values were kept: The metadata of a dataset are at most 4000000 bytes" in report.note


def test_a_file_that_is_made_to_kill_hurts_nobody(site: SmallSite) -> None:
    dataset = archived(site, "hdf5/invalid/cve-2024-32611.h5", "fits/valid/20131104_183_dl3.fits")
    site.drain()
    found, report = known(site, dataset)
    assert found.values["fits:TELESCOP"] == "FACT"
    assert (report.looked, report.read + report.failed) == (2, 2)  # whether it kills depends on the version of HDF5


def test_keys_are_bounded_and_what_is_left_out_is_told(site: SmallSite) -> None:
    cards = [*EMPTY, *(f"KEY{number:<5}= {number:>20}" for number in range(300)), "END"]
    content = "".join(card.ljust(80) for card in cards)
    dataset = site.archive_folder({"a.fits": content.ljust(-(-len(content) // 2880) * 2880).encode()})
    site.drain()
    found, report = known(site, dataset)
    assert len(found.values) == 256
    assert report.note == "Only the first 256 keys were kept."


def test_p10_a_number_that_is_too_large_for_its_unit_costs_only_the_unit(site: SmallSite) -> None:
    cards = [*EMPTY, "TELESCOP= 'FACT'", "DIST    =                1E308 / [km] far away", "END"]
    dataset = site.archive_folder({"a.fits": "".join(card.ljust(80) for card in cards).ljust(2880).encode()})
    site.drain()
    found, report = known(site, dataset)
    assert (found.values, report.note) == ({"fits:TELESCOP": "FACT", "fits:DIST": 10**308}, "")
