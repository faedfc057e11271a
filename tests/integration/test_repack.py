# SPDX-License-Identifier: Apache-2.0
"""Emptying tapes: plan, begin, go on after whatever happened; the old copies count until the new ones are proven."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.errors import Conflict, NotFound
from holdfast.services import tapes
from holdfast.services.planner import plan
from holdfast.services.repack import repack
from holdfast.services.show import dataset_list
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000


@pytest.fixture
def full(make_site: Callable[..., SmallSite]) -> SmallSite:
    """Four datasets on one pair of tapes."""
    site = make_site(library__tapes=6)
    for number in range(4):
        site.archive_folder({"f": sample(300_000, f"{number}")}, name=f"run{number}")
    site.drain()
    return site


def begin(site: SmallSite, *serials: str) -> None:
    repack(site.archive, serials, person="op", apply=True)


def levels(site: SmallSite) -> set[str]:
    return {item.level for item in dataset_list(site.archive, before=None, limit=100)}


def state(site: SmallSite, serial: str) -> str:
    return tapes.tape(site.archive, serial).state


def places(site: SmallSite) -> set[str]:
    return {row["tape"] for row in site.rows("select tape from copy where state = 'verified'")}


def test_a_plan_says_what_it_means_and_changes_nothing(full: SmallSite) -> None:
    found = repack(full.archive, ["HF0001L8"], person="op", apply=False)
    [tape] = found.tapes
    assert (tape.serial, tape.copies, found.applied) == ("HF0001L8", 4, False)
    assert found.bytes == tape.bytes > 4 * 300_000
    assert found.room > found.bytes
    full.drain()
    assert state(full, "HF0001L8") == "active"
    assert full.events("tape.repacking") == []


def test_a_pair_is_emptied_and_every_dataset_is_preserved_all_the_time(full: SmallSite) -> None:
    old = places(full)
    begin(full, *old)
    seen: list[set[str]] = []
    full.drain(until=lambda: seen.append(levels(full)) is not None)
    full.drain()
    assert all(found == {"preserved"} for found in seen)
    assert places(full) & old == set()
    assert {state(full, serial) for serial in old} == {"disabled"}
    assert sorted(event.body["tape"] for event in full.events("tape.emptied")) == sorted(old)
    assert len(full.events("copy.retired")) == 8
    assert [name for name in full.on_tapes() if name.split("/")[0] in old and ".tar." in name] == []
    assert full.staged() == []
    assert full.rows("select * from reservation") == []
    request = full.ask(full.rows("select id from dataset limit 1")[0]["id"])
    full.drain()
    assert full.request(request).state == "delivered"


def test_a_broken_tape_is_emptied_from_itself_or_its_twin_and_counts_no_more(full: SmallSite) -> None:
    serial = min(places(full))
    other = full.archive_folder({"x": sample(300_000, "x")}, name="later")
    full.faults(Fault(serial, "write-error", after_bytes=1))
    full.drain()
    assert state(full, serial) == "broken"
    begin(full, serial)
    full.drain()
    assert levels(full) == {"preserved"}
    assert serial not in places(full)
    assert state(full, serial) == "disabled"  # what a frozen tape holds cannot be deleted
    assert full.show(other).level == "preserved"


def test_what_cannot_be_read_from_the_old_tape_comes_from_its_twin(full: SmallSite) -> None:
    serial = min(places(full))
    name = full.rows("select name from package order by id limit 1")[0]["name"]
    full.faults(Fault(serial, "read-error", offset=100, name=name))
    begin(full, serial)
    full.drain()
    assert levels(full) == {"preserved"}
    assert serial not in places(full)


def test_waves_are_as_large_as_staging(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__tapes=6, staging__limit=700_000)
    for number in range(5):
        site.archive_folder({"f": sample(300_000, f"{number}")}, name=f"run{number}")
    site.drain()
    old = places(site)
    begin(site, *old)
    most = 0

    def watch() -> bool:
        nonlocal most
        most = max(most, sum(f.stat().st_size for f in site.archive.settings.staging_path.iterdir()))
        return False

    site.drain(until=watch)
    assert 0 < most <= 700_000
    assert places(site) & old == set()


def test_it_ends_when_the_tape_is_enabled_and_what_was_not_begun_is_not_done(full: SmallSite) -> None:
    serial = min(places(full))
    begin(full, serial)
    plan(full.archive)
    assert full.rows("select count(*) as owed from copy where state = 'planned'") == [{"owed": 4}]
    tapes.enable(full.archive, serial, person="op")
    full.drain()
    assert state(full, serial) == "active"
    assert levels(full) == {"preserved"}
    assert full.rows("select count(*) as copies from copy where state = 'verified'") == [{"copies": 8}]


def test_what_makes_no_sense_is_refused(full: SmallSite) -> None:
    with pytest.raises(NotFound, match="NOSUCHL8"):
        begin(full, "NOSUCHL8")
    with pytest.raises(NotFound, match="M8"):
        repack(full.archive, [], media="M8", person="op", apply=False)
    with pytest.raises(Conflict, match="Add tapes first"):
        begin(full, *[tape.serial for tape in tapes.tape_list(full.archive)])
    assert full.events("tape.repacking") == []
    unused = next(tape.serial for tape in tapes.tape_list(full.archive) if not tape.copies)
    tapes.retire(full.archive, unused, person="op", apply=True)
    with pytest.raises(Conflict, match="is retired"):
        begin(full, unused)
