# SPDX-License-Identifier: Apache-2.0
"""Drives: operators take them out of use and back; one that fails with tapes that are well elsewhere is taken out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from served import client_of

from holdfast.cli.main import commands
from holdfast.errors import Busy, HoldfastError, MediumFailed, NotFound
from holdfast.services import drives, planner, tapes
from holdfast.services.check import want_check
from holdfast.services.mounts import mounted
from holdfast.services.overview import overview
from holdfast.tape.faults import Fault
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.wire.drives import Drive

FILES = {"a": sample(300_000, "a"), "b/c": sample(100_000, "c")}
SERIAL = "HF0001L8"


@pytest.fixture
def client(site: SmallSite) -> Iterator[httpx.Client]:
    with client_of(site) as served:
        yield served


def run(site: SmallSite, client: httpx.Client, *arguments: str) -> str:
    """Run a command against the served archive and return what it says."""
    token = site.archive.settings.token_file.read_text().strip()
    env = {"HOLDFAST_URL": str(client.base_url), "HOLDFAST_TOKEN": token}
    done = CliRunner().invoke(commands, list(arguments), env=env, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def drive(site: SmallSite, name: str) -> Drive:
    return next(found for found in drives.drive_list(site.archive) if found.drive == name)


def look(site: SmallSite, serial: str, name: str) -> str:
    """Read a file of a tape and return the drive that it was in."""
    with mounted(site.archive, [serial], "read", "check") as (session,):
        try:
            b"".join(session.read(name))
        except MediumFailed:
            return f"failed in {session.drive}"
        return str(session.drive)


def test_a_drive_is_taken_out_of_use_and_back(site: SmallSite, client: httpx.Client) -> None:
    cli = partial(run, site, client)
    assert "Drive D1 is out of use." in cli("admin", "drive", "disable", "D1", "--reason", "it squeaks")
    cli("admin", "drive", "disable", "D1", "--reason", "again")  # idempotent, the first reason stays
    found = json.loads(cli("admin", "drive", "list", "--json"))["items"][0]
    assert (found["drive"], found["state"], found["reason"], found["tape"]) == ("D1", "disabled", "it squeaks", None)
    assert [(e.person, e.body) for e in site.events("drive.disabled")] == [
        ("admin", {"drive": "D1", "reason": "it squeaks"})
    ]
    assert "D1     any   -" in cli("admin", "drive", "list")
    assert "disabled: it squeaks" in cli("status")
    assert "1 of 2 drives out of use" in cli("status")
    # No process gets it, and who wants two drives waits and is told why.
    other = SimulatedLibrary(site.library)
    with other.sessions([SERIAL], "read", timeout=0) as (session,):
        assert session.drive == "D2"
    with pytest.raises(Busy, match="1 of 2 are out of use"), other.sessions([SERIAL, "HF0002L8"], "read", timeout=0):
        pass
    assert "D1 is empty" in cli("admin", "drive", "enable", "D1")
    cli("admin", "drive", "enable", "D1")
    assert [e.body for e in site.events("drive.enabled")] == [{"drive": "D1", "was": "it squeaks"}]
    assert (drive(site, "D1").state, drive(site, "D1").reason) == ("empty", None)
    assert client.post("/api/v1/drives/D7/disable", json={"reason": "x"}).status_code == 404
    assert client.post("/api/v1/drives/D7/enable").status_code == 404


def test_a_drive_in_use_is_out_when_its_tape_is(site: SmallSite, client: httpx.Client) -> None:
    library = site.archive.library
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        said = run(site, client, "admin", "drive", "disable", session.drive, "--reason", "it squeaks")
        assert f"is in use with tape {SERIAL}; when that is out, the drive is out of use" in said
        found = drive(site, session.drive)
        assert (found.state, found.tape, found.reason) == ("in use", SERIAL, "it squeaks")
        session.write("a", [b"x"], {})
        used = session.drive
    assert drive(site, used).state == "disabled"
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert session.drive != used


def test_what_is_locked_out_or_put_back_at_the_library_is_told(site: SmallSite) -> None:
    site.archive.library.lock_out("D2", "tape X in drive D2 did not answer")
    for _ in range(2):
        planner.plan(site.archive)
    assert drive(site, "D2").state == "locked out"
    assert [e.body["reason"] for e in site.events("drive.disabled")] == ["tape X in drive D2 did not answer"]
    site.archive.library.put_back("D2")
    planner.plan(site.archive)
    assert len(site.events("drive.enabled")) == 1
    with pytest.raises(NotFound):
        site.archive.library.lock_out("D9", "no such drive")


def test_a_drive_that_fails_with_sound_tapes_is_to_blame(site: SmallSite, client: httpx.Client) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    site.faults(Fault("", "read-error", drive="D1"))
    want_check(site.archive, dataset, person="op")
    site.work()
    assert tapes.tape(site.archive, one).undecided == ["D1"]
    assert drive(site, "D1").undecided == [one]
    planner.plan(site.archive)
    assert site.archive.library.drives_out() == {}  # one failure blames nobody
    assert tapes.tape(site.archive, one).state == "suspect"  # for a place could not be read
    site.drain()
    assert site.archive.library.drives_out() == {
        "D1": f"it failed with tapes {one} and {two}, which are well in other drives"
    }
    assert [e.body["tapes"] for e in site.events("drive.disabled")] == [[one, two]]
    assert {e.body["tape"] for e in site.events("tape.cleared")} == {one, two}
    assert {tapes.tape(site.archive, serial).state for serial in (one, two)} == {"active"}
    assert site.show(dataset).level == "preserved"
    assert (drive(site, "D1").state, drive(site, "D1").failures) == ("disabled", 2)
    assert drive(site, "D1").permanent_errors > 0
    # Once mended it is trusted again.
    site.faults()
    drives.enable(site.archive, "D1", person="op")
    planner.plan(site.archive)
    assert site.archive.library.drives_out() == {}
    metrics = {f.name: f.samples for f in text_string_to_metric_families(client.get("/api/v1/metrics").text)}
    assert {s.labels["drive"]: s.value for s in metrics["holdfast_drive_out"]} == {"D1": 0, "D2": 0}
    assert sum(s.value for s in metrics["holdfast_drive_mounts"]) == overview(site.archive).mounts_last_day == 8
    assert all(0 < s.value <= 1 for s in metrics["holdfast_drive_busy"])


def test_a_drive_that_loads_nothing_breaks_no_tapes(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(library__drives="3")
    site.faults(Fault("", "mount-fails", drive="D1"))
    made = []
    for number in range(4):
        made.append(site.archive_folder({"f": sample(9_000_000, f"{number}")}, name=f"run{number}"))
        site.drain()
    assert {site.show(dataset).level for dataset in made} == {"preserved"}
    assert {tape.state for tape in tapes.tape_list(site.archive)} <= {"active", "full"}
    assert site.events("tape.fenced") == []
    assert "it failed with tapes" in site.archive.library.drives_out()["D1"]
    assert 2 <= drive(site, "D1").mounts == drive(site, "D1").failures


def test_a_tape_that_fails_in_sound_drives_is_to_blame(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    name = site.show(dataset).packages[0].name
    with site.archive.library.sessions(["HF0003L8"], "read", timeout=0):  # keeps D1
        assert look(site, two, name) == "D2"
    assert look(site, two, name) == "D1"
    site.faults(Fault(one, "mount-fails"))
    for _ in range(2):
        with pytest.raises(HoldfastError), mounted(site.archive, [one], "read", "check"):
            pass
        planner.plan(site.archive)
    assert {m.drive for m in drives.mount_list(site.archive, tape=one, drive=None, before=None, limit=2)} == {
        "D1",
        "D2",
    }
    found = tapes.tape(site.archive, one)
    assert found.problem is not None
    assert (found.state, found.problem.code) == ("suspect", "tape-blamed")
    assert "It failed in drives D1 and D2" in found.problem.sentence
    assert len(site.events("tape.warned")) == 1
    assert site.archive.library.drives_out() == {}
    site.faults()
    assert tapes.enable(site.archive, one, person="op").state == "active"
    planner.plan(site.archive)
    assert tapes.tape(site.archive, one).state == "active"  # what was is forgiven


def test_flags_of_a_drive_are_shown_with_it(site: SmallSite) -> None:
    site.faults(Fault("", "tape-alert", drive="D1", flags=1 << 19))
    with mounted(site.archive, [SERIAL], "read", "check"):
        pass
    assert drive(site, "D1").alerts == ["clean now"]
    assert [e.body for e in site.events("drive.warned")] == [{"drive": "D1", "tape": SERIAL, "alerts": ["clean now"]}]
    assert tapes.tape(site.archive, SERIAL).state == "active"
