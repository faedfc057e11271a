# SPDX-License-Identifier: Apache-2.0
"""Tapes that are about to fail warn before they do; new tapes are added, and tapes are exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import client_of
from test_drives import run

from holdfast.errors import Conflict, InvalidInput, MediumFailed
from holdfast.services import planner, tapes
from holdfast.services.mounts import mounted
from holdfast.services.overview import overview
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.wire.tapes import NewTape

FILES = {"a": sample(3_000_000, "a"), "b/c": sample(100_000, "c")}


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("", "tape-alert", drive="D1", flags=1 << 6), "the drive says: media life"),
        (Fault("", "recovered-errors", drive="D1", per_gb=20_000), "errors were corrected in each GB"),
        (Fault("", "read-error", drive="D1", times=None), "errors while reading that could not be corrected: 3"),
    ],
    ids=lambda item: item.fault if isinstance(item, Fault) else "",
)
def test_a_warned_tape_is_read_and_not_written(site: SmallSite, fault: Fault, says: str) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    name = site.show(dataset).packages[0].name
    site.faults(fault)
    with mounted(site.archive, [one], "read", "check") as (session,), suppress(MediumFailed):
        b"".join(session.read(name))
    site.faults()
    found = tapes.tape(site.archive, one)
    assert found.problem is not None
    assert (found.state, found.problem.code, found.problem.who) == ("suspect", "tape-warned", "operator")
    assert says in found.problem.sentence
    [event] = site.events("tape.warned")
    assert (event.body["tape"], event.body["sentence"]) == (one, found.problem.sentence)
    # Written no more, read as before.
    other = site.archive_folder({"x": b"x"}, name="other")
    site.drain()
    assert one not in site.tapes(other)
    request = site.ask(dataset)
    tapes.disable(site.archive, two, person="op", reason="so that the other one is read")
    site.drain()
    assert site.request(request).state == "delivered"
    # Cleared by an operator, and not warned of again for what was.
    assert tapes.enable(site.archive, one, person="op").state == "active"
    with mounted(site.archive, [one], "read", "check") as (session,):
        b"".join(session.read(name))
    planner.plan(site.archive)
    assert tapes.tape(site.archive, one).state == "active"
    assert len(site.events("tape.warned")) == 1


def test_the_survey_notices_what_another_process_met(site: SmallSite) -> None:
    serial = "HF0001L8"
    site.faults(Fault(serial, "tape-alert", flags=1 << 18))
    with site.archive.library.sessions([serial], "read", timeout=0):
        pass
    for _ in range(2):
        planner.plan(site.archive)
    assert [event.body["tape"] for event in site.events("tape.warned")] == [serial]
    with client_of(site) as client:
        _shown(site, client, serial)


def _shown(site: SmallSite, client: httpx.Client, serial: str) -> None:
    status = overview(site.archive)
    assert [tape.serial for tape in status.tapes if tape.warned] == [serial]
    assert any("nearing media life" in error.sentence for error in status.errors)
    metrics = {f.name: f.samples for f in text_string_to_metric_families(client.get("/api/v1/metrics").text)}
    assert metrics["holdfast_tapes_warned"][0].value == 1
    assert f"tapes that may be about to fail: {serial}" in run(site, client, "status")
    shown = run(site, client, "admin", "tape", "show", serial)
    assert "the drive says: nearing media life" in shown
    assert "loaded 1 times; 0 MB written, 0 MB read" in shown
    assert "nearing media life" in run(site, client, "admin", "tape", "list")


def test_counters_that_the_drive_does_not_know_are_no_trouble(site: SmallSite) -> None:
    site.faults(Fault("HF0001L8", "no-health"))
    with mounted(site.archive, ["HF0001L8"], "read", "check"):
        pass
    planner.plan(site.archive)
    found = tapes.tape(site.archive, "HF0001L8")
    assert found.wear is not None
    assert (found.state, found.wear.loads, found.wear.recovered_per_gb) == ("active", None, None)
    assert found.last_mounted is not None


def test_the_limit_is_a_setting(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__warn_errors=50_000)
    site.faults(*(Fault(f"HF000{n}L8", "recovered-errors", per_gb=20_000) for n in range(1, 5)))
    dataset = site.archive_folder(FILES)
    site.drain()
    assert site.events("tape.warned") == []
    wear = tapes.tape(site.archive, site.tapes(dataset)[0]).wear
    assert wear is not None
    assert wear.recovered_per_gb is not None
    assert 10_000 < wear.recovered_per_gb < 50_000
    assert wear.recovered_write_errors
    assert wear.recovered_read_errors


def test_new_tapes_wait_until_they_are_added(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__adopt="none")
    assert {tape.state for tape in tapes.tape_list(site.archive)} == {"new"}
    dataset = site.archive_folder({"x": b"x"})
    site.drain(hurry=False)
    assert site.tapes(dataset) == []
    assert any("No tape" in (p.problem.sentence if p.problem else "") for p in site.show(dataset).pending)
    with pytest.raises(Conflict, match="is new: add it"):
        tapes.enable(site.archive, "HF0001L8", person="op")
    with client_of(site) as client:
        said = run(site, client, "admin", "tape", "add", "HF0001L8", "--batch", "Fuji 2026-03", "--family", "cta")
        assert said == "Tape HF0001L8 is active.\n"
        run(site, client, "admin", "tape", "add", "HF0001L8", "--batch", "Fuji 2026-03")  # changes nothing
        run(site, client, "admin", "tape", "add", "HF0003L8")
        listed = json.loads(run(site, client, "admin", "tape", "list", "--json"))["items"]
    assert [(t["batch"], t["families"]) for t in listed if t["state"] == "active"] == [
        ("Fuji 2026-03", ["cta"]),
        ("", []),
    ]
    first, _second = site.events("tape.added")
    assert (first.person, first.body) == ("admin", {"tape": "HF0001L8", "batch": "Fuji 2026-03", "families": ["cta"]})
    shutil.move(site.library / "HF0004L8", site.library.parent / "away")
    planner.plan(site.archive)
    shutil.move(site.library.parent / "away", site.library / "HF0004L8")
    site.drain()
    assert set(site.tapes(dataset)) == {"HF0001L8", "HF0003L8"}
    assert tapes.tape(site.archive, "HF0004L8").state == "new"


def test_a_simulated_tape_is_made(site: SmallSite) -> None:
    def add(serial: str, capacity: int | None = None, media: str | None = None) -> str:
        wish = NewTape(serial=serial, batch="made", capacity=capacity, media_type=media)
        return tapes.add(site.archive, wish, person="op").state

    assert add("HF0100L8", 50_000_000) == "active"
    assert add("HF0101M8", media="M8") == "active"
    assert [(t.serial, t.media_type, t.batch) for t in tapes.tape_list(site.archive)[-2:]] == [
        ("HF0100L8", "SIM", "made"), ("HF0101M8", "M8", "made"),
    ]  # fmt: skip
    assert tapes.tape(site.archive, "HF0100L8").capacity == 50_000_000
    with pytest.raises(Conflict, match="is there already"):
        add("HF0100L8", 60_000_000)
    for serial, media in (("tape", None), ("HF0102L8", "L9")):
        with pytest.raises(InvalidInput):
            add(serial, media=media)
    with pytest.raises(InvalidInput, match="too small"):
        add("HF0103L8", 5)
    assert add("HF0104L9") == "active"
    assert tapes.tape(site.archive, "HF0104L9").media_type == "L9"  # others have types here, so its bar code counts


def test_an_exported_tape_is_not_missed(site: SmallSite) -> None:
    dataset = site.archive_folder({"x": b"x"})
    site.drain()
    one, two = site.tapes(dataset)
    with client_of(site) as client:
        said = run(site, client, "admin", "tape", "export", one, "--reason", "in the vault")
    assert said.startswith(f"Tape {one} is exported.")
    used = tapes.tape(site.archive, one).used
    shutil.move(site.library / one, site.library.parent / "away")
    for _ in range(2):
        planner.plan(site.archive)
    found = tapes.tape(site.archive, one)
    assert found.problem is not None
    assert (found.state, found.problem.sentence) == ("exported", "Taken out of the library: in the vault")
    assert (found.used, found.copies) == (used, 1)
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).state == "delivered"
    assert site.show(dataset).level == "preserved"
    with pytest.raises(Conflict, match="not in the library"):
        tapes.enable(site.archive, one, person="op")
    shutil.move(site.library.parent / "away", site.library / one)
    planner.plan(site.archive)
    assert tapes.tape(site.archive, one).state == "exported"
    assert tapes.enable(site.archive, one, person="op").state == "active"
    assert [e.body["reason"] for e in site.events("tape.exported")] == ["in the vault"]
    assert two
