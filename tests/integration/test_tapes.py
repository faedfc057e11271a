# SPDX-License-Identifier: Apache-2.0
"""What operators do with tapes: look, disable, enable, retire."""

from __future__ import annotations

import shutil

import pytest

from holdfast.errors import Conflict, NotFound
from holdfast.services import planner, tapes
from holdfast.services.check import want_check
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

FILES = {"a": sample(300_000, "a"), "b/c": sample(100_000, "c")}


def test_a_tape_tells_what_it_holds_and_whose_twin_it_is(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    found = tapes.tape(site.archive, one)
    assert (found.state, found.twin, found.copies, found.lock_state) == ("active", two, 1, "0x0")
    assert found.used + found.free == found.capacity
    assert 0 <= found.dead < 100_000  # indexes and block ends
    assert found.last_verified is not None
    assert [(held.state, held.count) for held in found.held] == [("verified", 1)]
    assert found.health["mediaLoads"] >= 1
    unused = [tape for tape in tapes.tape_list(site.archive) if tape.serial not in {one, two}]
    assert unused
    assert all((tape.copies, tape.used, tape.twin, tape.last_verified) == (0, 0, None, None) for tape in unused)
    with pytest.raises(NotFound):
        tapes.tape(site.archive, "HF9999L8")


def test_a_disabled_tape_is_neither_written_nor_read_and_says_why(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    for serial in (one, two):
        found = tapes.disable(site.archive, serial, person="op", reason="it rattles")
        assert found.problem is not None
        assert found.problem.sentence == "Taken out of use: it rattles"
    tapes.disable(site.archive, one, person="op", reason="again")  # idempotent, the first reason stays
    assert [event.body["reason"] for event in site.events("tape.disabled")] == ["it rattles"] * 2
    want_check(site.archive, dataset, person="op")
    other = site.archive_folder({"x": b"x"}, name="other")
    request = site.ask(dataset)
    site.drain(hurry=False)
    assert not {one, two} & set(site.tapes(other))
    waits = site.request(request).parts[0].problem
    assert waits is not None
    assert f"{one} is disabled (Taken out of use: it rattles)" in waits.sentence
    assert site.request(request).reason == waits.sentence
    assert site.rows("select * from copy where check_wanted is not null") != []
    tapes.enable(site.archive, two, person="op")
    site.drain()
    assert site.request(request).state == "delivered"
    assert site.show(dataset).level == "preserved"


def test_what_an_operator_decided_stays_when_a_tape_comes_back(site: SmallSite) -> None:
    site.drain()
    serial = site.archive.library.inventory()[0].serial
    tapes.disable(site.archive, serial, person="op", reason="cleaning")
    away = site.library.parent / "away"
    shutil.move(site.library / serial, away)
    planner.plan(site.archive)
    with pytest.raises(Conflict, match="not in the library"):
        tapes.enable(site.archive, serial, person="op")
    shutil.move(away, site.library / serial)
    planner.plan(site.archive)
    assert tapes.tape(site.archive, serial).state == "disabled"
    assert tapes.enable(site.archive, serial, person="op").state == "active"


def test_a_suspect_tape_is_taken_into_use_again_and_a_frozen_one_is_not(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    site.faults(Fault(one, "mount-fails"))
    site.archive_folder({"x": b"x"}, name="other")
    site.drain()
    assert tapes.tape(site.archive, one).state == "broken"
    site.faults()
    assert tapes.enable(site.archive, one, person="op").state == "active"
    assert tapes.enable(site.archive, one, person="op").problem is None
    site.faults(Fault(two, "write-error", after_bytes=1))
    site.archive_folder({"y": b"y"}, name="third")
    site.drain()
    with pytest.raises(Conflict, match="lock state 0x60"):
        tapes.enable(site.archive, two, person="op")
    assert tapes.tape(site.archive, two).state == "broken"


def test_p3_a_tape_is_retired_only_when_its_packages_are_proven_elsewhere(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    plan = tapes.retire(site.archive, one, person="op", apply=False)
    assert (plan.copies, len(plan.short), plan.applied) == (1, 1, False)
    with pytest.raises(Conflict, match="too few verified copies"):
        tapes.retire(site.archive, one, person="op", apply=True)
    _lose(site, dataset, one)
    replaced = set(site.tapes(dataset))
    assert one not in replaced
    assert tapes.retire(site.archive, one, person="op", apply=False).short == []
    done = tapes.retire(site.archive, one, person="op", apply=True)
    assert (done.state, done.applied) == ("retired", True)
    assert tapes.retire(site.archive, one, person="op", apply=True).applied  # idempotent
    assert len(site.events("tape.retired")) == 1
    shutil.rmtree(site.library / one)
    site.drain()
    assert tapes.tape(site.archive, one).state == "retired"
    assert site.show(dataset).level == "preserved"
    with pytest.raises(Conflict, match="not in the library"):
        tapes.enable(site.archive, one, person="op")
    assert two in replaced


def _lose(site: SmallSite, dataset: str, serial: str) -> None:
    """Destroy the copy on a tape and have it replaced."""
    [package] = site.show(dataset).packages
    with (site.library / serial / package.name).open("r+b") as file:
        file.write(bytes(50_000))
    want_check(site.archive, dataset, person="op")
    site.drain()
