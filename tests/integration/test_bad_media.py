# SPDX-License-Identifier: Apache-2.0
"""Tapes on bad days: what fails is fenced, what is bad is replaced, and the rest goes on (P2, P10)."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from answers import copies, preserved

from holdfast.services import check, planner
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000
FILES = {"a.txt": b"alpha", "sub/b.bin": sample(600_000, "b"), "sub/c.bin": sample(600_000, "c")}


def tape_states(site: SmallSite) -> dict[str, str]:
    return {row["serial"]: row["state"] for row in site.rows("select serial, state from tape order by serial")}


def test_p10_a_write_error_on_one_twin_fences_its_tape_and_the_other_finishes(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(Fault("HF0001L8", "write-error", after_bytes=500_000))
    site.drain(until=lambda: site.tapes(dataset) == ["HF0002L8"])
    assert tape_states(site)["HF0001L8"] == "broken"
    [fenced] = site.events("tape.fenced")
    assert fenced.body["code"] == "medium-failed"
    assert site.show(dataset).level == "ingested"
    assert site.events("dataset.safe") == []
    site.drain()
    preserved(site, dataset)
    assert "HF0001L8" not in site.tapes(dataset)
    assert len(site.events("dataset.safe")) == 1
    other = site.archive_folder({"x": b"x"}, name="later")
    site.drain()
    assert "HF0001L8" not in site.tapes(other)


def test_p10_write_errors_on_both_twins_are_survived(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(*(Fault(serial, "write-error", after_bytes=500_000) for serial in ("HF0001L8", "HF0002L8")))
    site.drain()
    preserved(site, dataset)
    assert sorted(site.tapes(dataset)) == ["HF0003L8", "HF0004L8"]


def test_p10_a_tape_that_cannot_be_mounted_is_fenced(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(Fault("HF0002L8", "mount-fails"))
    site.drain()
    preserved(site, dataset)
    assert "HF0002L8" not in site.tapes(dataset)
    assert tape_states(site)["HF0002L8"] == "broken"
    assert len(site.events("tape.fenced")) == 1


def test_a_tape_that_ends_early_is_full_and_its_copy_goes_elsewhere(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(Fault("HF0001L8", "full", after_bytes=700_000))
    site.drain()
    preserved(site, dataset)
    assert "HF0001L8" not in site.tapes(dataset)
    assert tape_states(site)["HF0001L8"] == "full"
    assert len(site.events("tape.full")) == 1
    assert site.events("tape.fenced") == []


def test_p9_without_any_room_the_copies_wait_and_say_so(make_site: Callable[..., SmallSite]) -> None:
    site = make_site()
    dataset = site.archive_folder({"a": sample(3 * _MB)})
    site.drain(until=lambda: "pack" in site.ran)
    object.__setattr__(site.archive.settings.library, "reserve", 39 * _MB)
    site.drain(until=lambda: "write" in site.ran)
    planner.plan(site.archive)
    assert site.show(dataset).level == "none"
    for copy in copies(site, dataset):
        assert copy.problem is not None
        assert (copy.state, copy.problem.code, copy.problem.who) == ("planned", "no-tape", "nobody")
    assert any(item.problem and "Add tapes" in item.problem.sentence for item in site.show(dataset).pending)
    object.__setattr__(site.archive.settings.library, "reserve", _MB)
    site.drain()
    preserved(site, dataset)


def test_p10_room_on_one_tape_only_gives_one_copy_now(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__tapes=2)
    dataset = site.archive_folder(FILES)
    site.rows("update tape set state = 'disabled' where serial = 'HF0002L8'")
    site.drain(until=lambda: len(site.tapes(dataset)) == 1)
    assert site.show(dataset).level == "ingested"
    site.rows("update tape set state = 'active' where serial = 'HF0002L8'")
    site.drain()
    preserved(site, dataset)


def test_p2_a_tape_that_lies_about_what_is_durable_is_found_by_reading_back(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(Fault("HF0001L8", "sync-lies"))
    site.drain()
    preserved(site, dataset)
    assert "HF0001L8" not in site.tapes(dataset)
    [suspected] = site.events("copy.suspect")
    [lost] = site.events("copy.lost")
    assert suspected.body["tape"] == lost.body["tape"] == "HF0001L8"
    assert tape_states(site)["HF0001L8"] == "suspect"
    assert "lost" in {copy.state for copy in copies(site, dataset)}
    verified = [event.body["tape"] for event in site.events("copy.verified")]
    assert "HF0001L8" not in verified


def test_an_index_that_cannot_be_written_fails_the_tape(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(Fault("HF0001L8", "sync-fails"))
    site.drain()
    preserved(site, dataset)
    assert "HF0001L8" not in site.tapes(dataset)


def flip(site: SmallSite, dataset: str, *serials: str, offset: int | None = None) -> None:
    """Have one byte in the middle of a package come back wrong from these tapes."""
    [package] = site.show(dataset).packages
    site.faults(*(Fault(serial, "bit-flip", offset=offset or (package.size or 0) // 2) for serial in serials))


def test_p10_a_flipped_bit_is_served_by_the_twin_and_repaired(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    [bad, good] = site.tapes(dataset)
    # Requests begin with either twin by the number of the package; the first one read must be the bad one.
    for serial in (bad, good):
        flip(site, dataset, serial)
        request = site.ask(dataset, to=serial)
        site.drain()
        found = site.request(request)
        assert (found.state, found.undelivered) == ("delivered", [])
        for name, content in FILES.items():
            assert (site.destinations / serial / name).read_bytes() == content
        site.faults()
    assert len(site.events("copy.suspect")) == 1
    assert len(site.events("copy.lost")) == 1
    assert len(site.events("package.repair-planned")) <= 1
    preserved(site, dataset)


def test_a_flip_that_does_not_come_again_is_forgiven(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    before = site.tapes(dataset)
    [package] = site.show(dataset).packages
    site.faults(*(Fault(s, "bit-flip", offset=(package.size or 0) // 2, times=1) for s in before))
    check.want_check(site.archive, dataset, person="tester")
    site.drain()
    assert sorted(site.tapes(dataset)) == sorted(before)
    assert len(site.events("copy.suspect")) == 2
    assert site.events("copy.lost") == []
    preserved(site, dataset)


@pytest.mark.parametrize("fault", ["bit-flip", "read-error"])
def test_verify_finds_a_bad_copy_and_has_it_replaced(site: SmallSite, fault: str) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    [bad, _] = site.tapes(dataset)
    site.faults(Fault(bad, fault, offset=300_000))  # type: ignore[arg-type]
    asked = check.want_check(site.archive, dataset, person="tester")
    site.drain()
    preserved(site, dataset)
    assert bad not in site.tapes(dataset)
    [lost] = [copy for copy in copies(site, dataset) if copy.tape == bad]
    assert lost.state == "lost"
    assert lost.id in asked.copies


def test_p10_a_file_that_is_bad_on_both_tapes_is_named_and_the_rest_comes(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    flip(site, dataset, *site.tapes(dataset))
    request = site.ask(dataset)
    site.drain(until=lambda: site.request(request).state not in {"waiting", "recalling"})
    found = site.request(request)
    assert (found.state, found.done_files, found.failed_files) == ("delivered", 2, 1)
    [lost] = found.undelivered
    assert lost.path.startswith("sub/")
    assert lost.code in {"damaged", "digest-mismatch"}
    assert not (site.destinations / "back" / lost.path).exists()
    assert found.problem is not None
    assert lost.sentence in found.problem.sentence
    delivered = {path for path in FILES if path != lost.path}
    assert all((site.destinations / "back" / path).read_bytes() == FILES[path] for path in delivered)


def test_p9_a_package_that_is_lost_on_all_tapes_is_said_to_be(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    flip(site, dataset, *site.tapes(dataset))
    shutil.rmtree(site.sources / "run")
    check.want_check(site.archive, dataset, person="tester")
    site.drain(hurry=False)
    for _ in range(6):
        site.hurry()
        site.drain(hurry=False)
    found = site.show(dataset)
    assert found.level == "none"
    assert found.availability == "unavailable"
    assert len(site.events("copy.lost")) == 2
    [lost] = {(event.body["name"], event.body["files"]) for event in site.events("package.lost")}
    assert lost == (found.packages[0].name, len(FILES))
    assert found.pending
    assert {item.problem.who for item in found.pending if item.problem} == {"operator"}
    request = site.ask(dataset)
    site.drain(hurry=False)
    asked = site.request(request)
    assert (asked.state, asked.done_files) == ("failed", 0)
    assert {item.path for item in asked.undelivered} == set(FILES)


def test_p10_a_repair_that_finds_its_source_bad_says_which_copy_it_was(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    [first, second] = site.tapes(dataset)
    flip(site, dataset, first)
    check.want_check(site.archive, dataset, person="tester")
    check.check(site.archive, first)
    site.hurry()
    check.check(site.archive, first)
    assert [event.body["tape"] for event in site.events("copy.lost")] == [first]
    flip(site, dataset, second)
    site.drain(until=lambda: len(site.events("copy.suspect")) == 2)
    assert site.events("copy.suspect")[1].body["tape"] == second
    site.faults()  # it was the drive
    site.drain()
    preserved(site, dataset)
    assert second in site.tapes(dataset)


def test_a_tape_whose_folder_is_gone_is_missing_and_its_copies_are_served_by_the_twin(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    [gone, _] = site.tapes(dataset)
    (site.library / gone).rename(site.library.parent / "away")
    planner.plan(site.archive)
    assert tape_states(site)[gone] == "missing"
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).state == "delivered"
    check.want_check(site.archive, dataset, person="tester")
    site.drain()
    preserved(site, dataset)
    assert gone not in site.tapes(dataset)


@pytest.mark.parametrize("how", ["lost", "cut", "changed"])
def test_p6_a_staged_package_that_is_not_what_it_was_is_packed_again(site: SmallSite, how: str) -> None:
    dataset = site.archive_folder(FILES)
    site.drain(until=lambda: site.show(dataset).state == "closed")
    [name] = site.staged()
    staged = site.archive.settings.staging_path / name
    if how == "lost":
        staged.unlink()
    else:
        content = bytearray(staged.read_bytes())
        content[1000] ^= 1
        staged.write_bytes(content if how == "changed" else content[:1000])
    site.drain()
    preserved(site, dataset)
    assert site.ran.count("pack") == 2
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).undelivered == []
    [problem] = site.events("package.problem")
    assert problem.body["code"] in {"damaged", "digest-mismatch"}


def test_p6_a_staged_package_that_is_lost_after_one_copy_is_copied_from_that(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.faults(Fault("HF0001L8", "write-error", after_bytes=500_000))
    site.drain(until=lambda: len(site.tapes(dataset)) == 1)
    for name in site.staged():
        (site.archive.settings.staging_path / name).unlink()
    shutil.rmtree(site.sources / "run")
    site.drain()
    preserved(site, dataset)
    assert site.ran.count("pack") == 1


def test_p3_release_stops_when_a_copy_was_lost_after_the_plan(site: SmallSite) -> None:
    from holdfast.services import free, show

    dataset = site.archive_folder(FILES)
    site.drain()
    release = free.want_release(site.archive, dataset, person="tester", apply=True)
    site.rows("update copy set state = 'suspect' where number = 1")
    free.free(site.archive, release)
    found = show.release(site.archive, release)
    assert found.state == "failed"
    assert found.problem is not None
    assert "not safe yet" in found.problem.sentence
    assert (site.sources / "run" / "a.txt").exists()
