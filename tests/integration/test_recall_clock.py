# SPDX-License-Identifier: Apache-2.0
"""Recalls on a library that takes time: what they teach of the tapes, their order, and what people are told before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import numpy as np
import pytest

from holdfast.catalog.queries import requests
from holdfast.errors import Conflict, NotFound
from holdfast.scheduling.asks import Tape
from holdfast.scheduling.cost import locate
from holdfast.scheduling.geometry import WrapMap, medium_of
from holdfast.services import deliver, show, tapes
from holdfast.services.queue import queue_of
from holdfast.services.wraps import learned
from holdfast.tape.clock import hidden_wraps
from holdfast.tape.index import TAPE_BLOCK, load_index, save_index
from holdfast.tape.library import Located
from holdfast.tape.locks import try_lock
from holdfast.tape.ltfs import LtfsLibrary
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.volume import index_path
from holdfast.testing.faults import sample
from holdfast.testing.ltfs import PretendedLtfs, always, supports_attributes
from holdfast.testing.site import SmallSite

CAPACITY = 2_000_000_000
MEDIUM = medium_of("SIM", CAPACITY)
BLOCKS = CAPACITY // TAPE_BLOCK


def plain(site: SmallSite, count: int, *, name: str) -> str:
    """Archive so many small files, each a package of its own."""
    files = {f"f{number:02}": sample(20_000, f"{name}{number}") for number in range(count)}
    dataset = site.archive_folder(files, name=name, profile="plain-twin-tape")
    site.drain()
    assert site.show(dataset).level == "preserved"
    return dataset


def scatter(site: SmallSite, seed: int) -> None:
    """Have what is on the tapes lie all over them, as if the tapes were full."""
    chance = Random(seed)
    for serial in {row["tape"] for row in site.rows("select distinct tape from copy")}:
        path = index_path(site.library, serial)
        index = load_index(path)
        places = chance.sample(range(100, BLOCKS - 100), len(index.files))
        files = {name: replace(file, start_block=at) for (name, file), at in zip(index.files.items(), places)}  # noqa: B905
        save_index(path, replace(index, files=files, next_block=BLOCKS - 50))
        for name, file in files.items():
            site.rows(
                "update copy set start_block = %s where tape = %s and package in (select id from package where name = %s)",
                file.start_block, serial, name,
            )  # fmt: skip


def set_speed(site: SmallSite, speed: float) -> None:
    SimulatedLibrary.create(site.library, tapes=2, drives=2, speed=speed)


@pytest.fixture
def scattered(make_site: Callable[..., SmallSite]) -> tuple[SmallSite, str]:
    """Twenty-four files all over a pair of tapes, in a library that is a hundred thousand times faster than real ones."""
    site = make_site(library__capacity=CAPACITY, library__tapes=2)
    dataset = plain(site, 24, name="run")
    scatter(site, 1)
    set_speed(site, 1e5)
    return site, dataset


def ways(site: SmallSite, *, after: int = 0) -> list[Located]:
    rows = site.rows("select from_byte, to_byte, seconds from locate where number > %s order by number", after)
    return [Located(row["from_byte"], row["to_byte"], row["seconds"]) for row in rows]


def tape_read(site: SmallSite) -> str:
    [row] = site.rows("select distinct tape from locate")
    return str(row["tape"])


def error(table: WrapMap, serial: str) -> float:
    """Return how far the ends of a table are from the hidden ones, in wraps."""
    return float(np.abs(table.ends - hidden_wraps(serial, MEDIUM).ends).mean() / MEDIUM.wrap)


def test_recalls_teach_where_the_wraps_of_a_tape_end(scattered: tuple[SmallSite, str]) -> None:
    site, dataset = scattered
    for number in range(2):
        request = site.ask(dataset, to=f"to{number}")
        site.drain()
        assert site.request(request).state == "delivered"
    serial = tape_read(site)
    nominal = Tape(serial, MEDIUM, WrapMap.nominal(MEDIUM))
    assert len(ways(site)) > 30
    assert error(learned(site.archive, nominal).table, serial) < 0.5 * error(nominal.table, serial)
    assert learned(site.archive, nominal).table is learned(site.archive, nominal).table  # computed once
    site.ask(dataset, to="again")
    site.drain()
    assert len(ways(site)) == 60  # the older ones are forgotten


def test_a_mount_follows_the_tape_and_not_the_list(scattered: tuple[SmallSite, str]) -> None:
    site, dataset = scattered
    for number in range(2):
        site.ask(dataset, to=f"to{number}")
        site.drain()
    [last] = site.rows("select max(number) as number from locate")
    site.ask(dataset, to="again")
    site.drain()
    taken, table = ways(site, after=last["number"]), hidden_wraps(tape_read(site), MEDIUM)
    listed = sorted({way.to_byte for way in taken})
    assert len(listed) > 15
    in_list = [locate(table, one + 20_000, two, rate=MEDIUM.rate) for one, two in zip([0, *listed], listed)]  # noqa: B905
    assert sum(way.seconds for way in taken) < 0.75 * sum(in_list)


def test_without_a_clock_nothing_is_learned(scattered: tuple[SmallSite, str]) -> None:
    site, dataset = scattered
    set_speed(site, 0)
    site.ask(dataset)
    site.drain()
    assert ways(site) == []


def test_real_tapes_teach_too(tmp_path: Path, make_site: Callable[..., SmallSite]) -> None:
    if not supports_attributes(tmp_path):
        pytest.skip("the file system has no user attributes")
    site = make_site(library__media="L8 x2", library__capacity=100_000_000)
    state = tmp_path / "state"
    library = LtfsLibrary(site.library, state=state, drives=[("LTO-8", 1)], attributes=PretendedLtfs(), mounted=always)
    library.set_up()
    serial = library.inventory()[0].serial
    with library.sessions([serial], "write", timeout=0) as (session,):
        starts = [session.write(f"f{n}", [sample(6_000_000)], {}).start_block for n in range(3)]
        session.sync("test")
        before = time.monotonic()
        for number in (2, 0):
            b"".join(session.read(f"f{number}"))
        took = time.monotonic() - before
        [way] = session.locates()
    # Where the head was after the mount, and after writing, nobody knows.
    assert (way.from_byte, way.to_byte) == (starts[2] * TAPE_BLOCK + 6_000_000, starts[0] * TAPE_BLOCK)
    assert 0 < way.seconds < took


# ---- what people are told ----


@pytest.fixture
def pairs(make_site: Callable[..., SmallSite]) -> tuple[SmallSite, list[str]]:
    """Four files on each of three pairs of tapes, a hundred times faster than real ones."""
    site = make_site(library__capacity=CAPACITY, library__tapes=6)
    datasets = []
    for number in range(3):
        datasets.append(plain(site, 4, name=f"run{number}"))
        for serial in set(site.tapes(datasets[-1])):
            tapes.disable(site.archive, serial, person="op", reason="test")
    for tape in tapes.tape_list(site.archive):
        tapes.enable(site.archive, tape.serial, person="op")
    scatter(site, 2)
    set_speed(site, 100)
    return site, datasets


def test_p9_a_request_is_told_its_place_and_when_it_comes(pairs: tuple[SmallSite, list[str]]) -> None:
    site, datasets = pairs
    asked = [
        site.ask(dataset, [b"f%02d" % number], to=f"{dataset}{number}") for dataset in datasets for number in range(4)
    ]
    told = {request: site.request(request) for request in asked}
    assert {one.place for one in told.values()} == {f"number {place} of 3 tapes that wait" for place in (1, 2, 3)}
    for one in told.values():
        assert one.earliest is not None
        assert one.expected is not None
        assert one.latest is not None
        assert one.created_at < one.earliest <= one.expected < one.latest < one.created_at + timedelta(minutes=5)
        assert one.reason is not None
        assert "is number" in one.reason
    site.drain()
    kept = 0
    for request in asked:
        ended = site.request(request)
        assert (ended.state, ended.place, ended.expected, ended.reason) == ("delivered", None, None, None)
        assert ended.ended_at is not None
        earliest, latest = told[request].earliest, told[request].latest
        assert earliest is not None
        assert latest is not None
        kept += earliest <= ended.ended_at <= latest
    assert kept >= 10, f"{kept} of 12 came within their range"


def test_p9_what_is_read_now_is_told_so(pairs: tuple[SmallSite, list[str]]) -> None:
    site, datasets = pairs
    one, other = site.ask(datasets[0], to="one"), site.ask(datasets[1], to="other")
    first = site.rows("select tape from copy where number = 1 and package like %s", f"{datasets[0]}%")[0]["tape"]
    with site.archive.database.claim(f"recall:{first}"), site.archive.library.sessions([first], "read"):
        read, waits = site.request(one), site.request(other)
    assert (read.place, waits.place) == ("being read", "number 1 of 1 tapes that wait")
    assert f"Tape {first} is in D" in str(read.reason)
    assert read.expected is not None
    assert waits.expected is not None
    assert read.expected < waits.expected


def test_p9_where_nothing_is_known_no_time_is_told_but_why(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    request = site.ask(dataset)
    found = site.request(request)
    assert (found.place, found.expected) == ("number 1 of 1 tapes that wait", None)  # a library without a clock
    away = site.library.with_name("away")
    site.library.rename(away)
    other = site.ask(dataset, to="other")  # so that it is looked at anew
    for found in (site.request(request), site.request(other)):
        assert (found.place, found.expected, found.earliest, found.latest) == (None, None, None, None)
        assert "library" in str(found.reason)
    away.rename(site.library)
    for serial in site.tapes(dataset):
        tapes.disable(site.archive, serial, person="op", reason="test")
    site.ask(dataset, to="third")
    assert site.request(request).reason == "None of the tapes with a proven copy can be mounted now."
    for drive in site.archive.library.drives():
        lock = try_lock(site.library / ".library" / "locks" / f"drive-{drive}")
        assert lock is not None
        lock.lock_out("it rattles")
    site.ask(dataset, to="fourth")
    assert "All drives are out of use" in str(site.request(request).reason)


def test_a_page_of_requests_looks_at_the_queue_once(site: SmallSite, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    for number in range(20):
        site.ask(dataset, to=f"to{number}")
    looks = []
    monkeypatch.setattr(
        "holdfast.services.estimates.queue_of", lambda *given: looks.append(1) or queue_of(*given)  # type: ignore[func-returns-value]
    )  # fmt: skip
    for _ in range(3):
        assert {item.place for item in show.request_list(site.archive, before=None, limit=100)} != {None}
    assert len(looks) == 1


# ---- whose turn it is ----


def ranked(site: SmallSite) -> list[str]:
    """Return the tapes that wait, the next one first."""
    with site.archive.database.transaction() as conn:
        rows = requests.all(conn, "recallable", tape=None, limit=1000)
    return list(queue_of(site.archive, rows).ranked(time.time(), 2))


def tape_of(site: SmallSite, dataset: str) -> str:
    rows = site.rows("select tape from copy where number = 1 and package like %s", f"{dataset}%")
    return str(rows[0]["tape"])


def test_priority_goes_first_and_an_operator_may_change_it(pairs: tuple[SmallSite, list[str]]) -> None:
    site, datasets = pairs
    site.ask(datasets[0], to="a")
    later = site.ask(datasets[1], [b"f00"], to="b", priority=5)
    assert ranked(site) == [tape_of(site, datasets[1]), tape_of(site, datasets[0])]
    for _ in range(2):
        deliver.prioritise(site.archive, later, priority=-5, person="op")
    assert ranked(site) == [tape_of(site, datasets[0]), tape_of(site, datasets[1])]
    [event] = site.events("request.prioritised")
    assert (event.person, event.body) == ("op", {"request": later, "priority": -5, "was": 5})
    site.drain()
    assert site.request(later).priority == -5
    with pytest.raises(Conflict, match="does not wait any more"):
        deliver.prioritise(site.archive, later, priority=1, person="op")
    with pytest.raises(NotFound):
        deliver.prioritise(site.archive, "none", priority=1, person="op")


def test_who_had_much_lets_others_go_first_unless_their_share_is_larger(
    pairs: tuple[SmallSite, list[str]],
) -> None:
    site, datasets = pairs
    site.ask(datasets[2], to="before", person="alice")
    site.drain()
    first, second = tape_of(site, datasets[0]), tape_of(site, datasets[1])
    site.ask(datasets[0], [b"f00"], to="a", person="alice")
    site.ask(datasets[1], [b"f00"], to="b", person="bob")
    assert ranked(site) == [second, first]
    settings = site.archive.settings
    recall = replace(settings.recall, shares="alice=50, bob=0.1")
    object.__setattr__(site.archive, "settings", replace(settings, recall=recall))
    assert ranked(site) == [first, second]
