# SPDX-License-Identifier: Apache-2.0
"""Scrubbing: twins are read in turn, the oldest first, and what is bad is replaced before anybody needs it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from holdfast.services import tapes
from holdfast.services.scrub import scrub
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite


@pytest.fixture
def old(make_site: Callable[..., SmallSite]) -> SmallSite:
    """Three datasets that were read back 400, 500 and 600 days ago."""
    site = make_site(planner__scrub_at_once=2)
    for number in range(3):
        site.archive_folder({"f": sample(200_000, f"{number}")}, name=f"run{number}")
    site.drain()
    for days, row in zip((400, 500, 600), site.rows("select id from package order by id"), strict=True):
        site.rows("update copy set verified_at = now() - make_interval(days => %s) where package = %s", days, row["id"])
    return site


def read_lately(site: SmallSite) -> list[tuple[str, int]]:
    """Return (dataset, number of the copy) of what was read today."""
    rows = site.rows(
        "select package.dataset, copy.number from copy join package on package.id = copy.package "
        "where verified_at > now() - interval '1 day' order by package.id, copy.number"
    )
    return [(row["dataset"], row["number"]) for row in rows]


def test_the_oldest_are_read_first_a_few_at_a_time_and_one_twin_of_each(old: SmallSite) -> None:
    datasets = [row["id"] for row in old.rows("select id from dataset order by id")]
    assert scrub(old.archive) == 2
    assert scrub(old.archive) == 0  # two wait already
    old.drain()
    assert read_lately(old) == [(datasets[1], 1), (datasets[2], 1)]
    assert scrub(old.archive) == 1
    old.drain()
    assert scrub(old.archive) == 0
    assert {number for _, number in read_lately(old)} == {1}
    old.rows("update copy set verified_at = verified_at - interval '400 days'")
    assert scrub(old.archive) == 2
    old.drain()
    assert {number for _, number in read_lately(old)} == {2}  # the twins take turns


def test_p3_what_went_bad_is_found_and_replaced(old: SmallSite) -> None:
    dataset = old.rows("select id from dataset order by id desc limit 1")[0]["id"]
    [package] = old.show(dataset).packages
    with (old.library / str(package.copies[0].tape) / package.name).open("r+b") as file:
        file.seek(1000)
        file.write(bytes(5000))
    scrub(old.archive)
    old.drain()
    assert [event.dataset for event in old.events("copy.lost")] == [dataset]
    assert old.show(dataset).level == "preserved"


def test_what_cannot_be_mounted_is_left_alone_and_scrubbing_can_be_switched_off(old: SmallSite) -> None:
    for tape in tapes.tape_list(old.archive):
        tapes.disable(old.archive, tape.serial, person="op", reason="moving house")
    assert scrub(old.archive) == 0
    for tape in tapes.tape_list(old.archive):
        tapes.enable(old.archive, tape.serial, person="op")
    object.__setattr__(old.archive.settings.planner, "scrub_days", 0)
    assert scrub(old.archive) == 0
