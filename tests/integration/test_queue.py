# SPDX-License-Identifier: Apache-2.0
"""Recalls: one mount serves all who wait for a tape, and what one tape cannot give comes from its twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from holdfast.catalog.queries import requests
from holdfast.services import deliver, tapes
from holdfast.services.queue import queue_of
from holdfast.tape.faults import Fault
from holdfast.tape.library import Mode, TapeLibrary
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000


@pytest.fixture
def busy(make_site: Callable[..., SmallSite]) -> SmallSite:
    """Ten datasets on two pairs of tapes, five packages on each."""
    site = make_site(library__capacity=4 * _MB, library__reserve=_MB, library__tapes=8)
    for number in range(10):
        site.archive_folder({"f": sample(500_000, f"{number}")}, name=f"run{number}")
        site.drain()
    return site


def mounts(site: SmallSite) -> dict[str, int]:
    """Return how often each tape was mounted."""
    return {
        tape.serial: tapes.tape(site.archive, tape.serial).health["mediaLoads"]
        for tape in tapes.tape_list(site.archive)
    }


def ask_for_all(site: SmallSite) -> list[str]:
    datasets = [row["id"] for row in site.rows("select id from dataset order by id")]
    return [site.ask(dataset, to=f"to{number}") for number, dataset in enumerate(datasets)]


def test_one_mount_serves_all_who_wait_for_a_tape(busy: SmallSite) -> None:
    assert len(busy.rows("select distinct tape from copy")) == 4
    before = mounts(busy)
    asked = ask_for_all(busy)
    busy.drain()
    assert {busy.request(request).state for request in asked} == {"delivered"}
    after = mounts(busy)
    assert sum(after.values()) - sum(before.values()) == 2, (before, after)
    for number in range(10):
        assert (busy.destinations / f"to{number}" / "f").read_bytes() == sample(500_000, f"{number}")


class Asking:
    """A library in which somebody asks for more the moment a tape is mounted."""

    def __init__(self, library: TapeLibrary, ask: Callable[[], object]) -> None:
        self._library, self._ask = library, ask

    def __getattr__(self, name: str) -> object:
        return getattr(self._library, name)

    @contextmanager
    def sessions(self, serials: Sequence[str], mode: Mode, **how: Any) -> Iterator[object]:
        with self._library.sessions(serials, mode, **how) as opened:
            self._ask()
            yield opened


def test_what_is_asked_for_while_a_tape_is_mounted_is_read_in_the_same_mount(busy: SmallSite) -> None:
    first, second = [row["id"] for row in busy.rows("select id from dataset order by id limit 2")]
    asked = [busy.ask(first, to="to0")]
    [serial] = queue_of(busy.archive, requests_now(busy)).queues
    before = mounts(busy)
    library = busy.archive.library
    object.__setattr__(busy.archive, "library", Asking(library, lambda: asked.append(busy.ask(second, to="to1"))))
    busy.drain()
    object.__setattr__(busy.archive, "library", library)
    assert mounts(busy)[serial] == before[serial] + 1
    assert [busy.request(request).state for request in asked] == ["delivered"] * 2


def requests_now(site: SmallSite) -> list[dict[str, object]]:
    with site.archive.database.transaction() as conn:
        return requests.all(conn, "recallable", tape=None, limit=100)


def test_p10_a_tape_that_cannot_be_mounted_leaves_its_requests_to_the_twin(busy: SmallSite) -> None:
    asked = ask_for_all(busy)
    first = next(iter(queue_of(busy.archive, requests_now(busy)).ranked(0.0, 2)))
    busy.faults(Fault(first, "mount-fails"))
    busy.drain()
    assert {busy.request(request).state for request in asked} == {"delivered"}
    assert {row["state"] for row in busy.rows("select state from copy where tape = %s", first)} <= {"lost", "suspect"}


def test_p10_a_damaged_copy_is_delivered_from_the_twin_in_the_same_go(busy: SmallSite) -> None:
    asked = ask_for_all(busy)
    serial = next(iter(queue_of(busy.archive, requests_now(busy)).ranked(0.0, 2)))
    name = busy.rows(
        "select name from package join copy on copy.package = package.id where tape = %s order by copy.id limit 1",
        serial,
    )[0]["name"]
    busy.faults(Fault(serial, "bit-flip", offset=200_000, name=name))
    busy.drain()
    assert {busy.request(request).state for request in asked} == {"delivered"}
    assert [event.body["code"] for event in busy.events("copy.suspect")] != []


def test_p9_who_waits_for_a_drive_is_told(busy: SmallSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.services.mounts._PATIENCE", 0.0)
    [request] = ask_for_all(busy)[:1]
    others = [row["tape"] for row in busy.rows("select distinct tape from copy order by tape")][:2]
    with busy.archive.library.sessions(others, "read"):
        busy.drain(hurry=False)
        waits = busy.request(request)
    assert waits.state == "waiting"
    problem = waits.parts[0].problem
    assert problem is not None
    assert (problem.code, problem.who) == ("busy", "nobody")
    busy.drain()
    assert busy.request(request).state == "delivered"


def test_p9_a_library_that_is_away_is_waited_for_with_a_reason(busy: SmallSite) -> None:
    [request] = ask_for_all(busy)[:1]
    away = busy.library.with_name("away")
    busy.library.rename(away)
    assert busy.work() == "recall"
    problem = busy.request(request).parts[0].problem
    assert problem is not None
    assert (problem.code, problem.who) == ("library-unavailable", "operator")
    away.rename(busy.library)
    busy.drain()
    assert busy.request(request).state == "delivered"


def test_p9_a_tape_that_no_drive_takes_is_told(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(
        library__media="L8 x2", library__drives="LTO-8 x2", library__capacity=8 * _MB, library__reserve=_MB
    )
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    layout = site.library / ".library" / "library.json"
    layout.write_text(layout.read_text().replace('"LTO-8"', '"LTO-7"'))
    request = site.ask(dataset)
    site.drain(hurry=False)
    problem = site.request(request).parts[0].problem
    assert problem is not None
    assert "No drive reads tape" in problem.sentence
    layout.write_text(layout.read_text().replace('"LTO-7"', '"LTO-8"'))
    site.drain()
    assert site.request(request).state == "delivered"


def test_p7_what_somebody_else_delivers_is_no_reason_to_mount_a_tape(busy: SmallSite) -> None:
    [request] = ask_for_all(busy)[:1]
    for other in busy.rows("select id from request where id <> %s", request):
        deliver.cancel(busy.archive, other["id"], person="tester")
    [part] = busy.request(request).parts
    before = mounts(busy)
    with busy.archive.database.claim(f"deliver:{request}/{part.package}") as held:
        assert held
        assert requests_now(busy) == []
        busy.drain()
    assert mounts(busy) == before
    busy.drain()
    assert busy.request(request).state == "delivered"
