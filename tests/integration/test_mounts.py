# SPDX-License-Identifier: Apache-2.0
"""The log of mounts: what was in which drive, what it moved, and what went wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from served import client_of

from holdfast.errors import DigestMismatch, MediumFailed
from holdfast.services import drives, planner
from holdfast.services.mounts import mounted
from holdfast.tape.faults import Fault
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS
from holdfast.testing.faults import sample
from holdfast.testing.proxy import Proxy
from holdfast.testing.site import SmallSite, small_site
from holdfast.wire.drives import Mount

SERIAL, TWIN = "HF0001L8", "HF0002L8"
FILES = {"a": sample(300_000, "a"), "b/c": sample(100_000, "c")}

DIES = """
import os, sys
from pathlib import Path
from holdfast.app import open_archive
from holdfast.services.mounts import mounted
from holdfast.settings.reading import load
with open_archive(load(Path(sys.argv[1])), dsn=sys.argv[2]) as archive:
    with mounted(archive, [sys.argv[3]], "read", "check"):
        print("in", flush=True)
        sys.stdin.read(1)
        os._exit(9)
"""


def log(site: SmallSite, **only: str) -> list[Mount]:
    return drives.mount_list(site.archive, **{"tape": None, "drive": None, **only}, before=None, limit=100)  # type: ignore[arg-type]


def test_each_tape_in_a_drive_is_a_row(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    size = site.show(dataset).packages[0].size
    assert size is not None
    found = log(site)
    assert {m.drive for m in found} == {"D1", "D2"}
    assert {(m.tape, m.mode, m.purpose) for m in found} == {
        (serial, "write", purpose) for serial in (one, two) for purpose in ("write", "check")
    }
    for mount in found:
        moved = {"write": mount.bytes_written, "check": mount.bytes_read}
        assert size <= moved[mount.purpose] < size + 100_000
        assert sum(moved.values()) == mount.bytes_written + mount.bytes_read
        assert mount.problem is None
        assert mount.ended_at is not None
        assert mount.ended_at >= mount.began_at
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).state == "delivered"
    newest = log(site)[0]
    assert (newest.purpose, newest.mode, newest.bytes_written) == ("recall", "read", 0)
    assert newest.bytes_read > 0


def test_a_watched_session_counts_too(site: SmallSite) -> None:
    library = site.archive.library
    assert isinstance(library, SimulatedLibrary)
    watched = SimulatedLibrary(library.root, LIMITS)
    with watched.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write("a", [sample(5_000_000)], {})
        assert b"".join(session.read("a", 0, 1_000_000)) == sample(5_000_000)[:1_000_000]
        assert (session.bytes_written, session.trouble) == (5_000_000, None)
        assert session.bytes_read >= 1_000_000
        site.faults(Fault(SERIAL, "read-error", offset=4_500_000))
        with pytest.raises(MediumFailed):
            b"".join(session.read("a"))
        assert isinstance(session.trouble, MediumFailed)


def test_what_went_wrong_is_told(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    one, two = site.tapes(dataset)
    name = site.show(dataset).packages[0].name
    site.faults(Fault(one, "read-error"), Fault(two, "mount-fails"))
    with mounted(site.archive, [one], "read", "check") as (session,), pytest.raises(MediumFailed):
        b"".join(session.read(name))
    failed = log(site, tape=one)[0]
    assert (failed.problem, failed.bytes_read, failed.permanent_errors) == ("medium-failed", 0, 3)
    with pytest.raises(MediumFailed), mounted(site.archive, [two], "read", "check"):
        pass
    failed = log(site, tape=two)[0]
    assert (failed.problem, failed.drive, failed.ended_at is None) == ("medium-failed", "D1", False)
    site.faults()
    with pytest.raises(DigestMismatch), mounted(site.archive, [one], "read", "check"):
        raise DigestMismatch(name="a")
    assert log(site, tape=one)[0].problem == "digest-mismatch"
    # A tape that failed in a drive is not put there again while another one is free.
    assert {m.drive for m in log(site, tape=one)[:2]} == {"D1", "D2"}


def test_p6_a_mount_whose_process_died_is_closed_by_the_planner(site: SmallSite, dsn: str) -> None:
    command = [sys.executable, "-c", DIES, str(site.archive.settings.data), dsn, SERIAL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"in\n"
        planner.plan(site.archive)
        [mount] = log(site)
        assert (mount.ended_at, mount.problem) == (None, None)
        process.stdin.write(b"x")
        process.stdin.close()
        assert process.wait() == 9
    planner.plan(site.archive)
    [mount] = log(site)
    assert mount.problem == "cut-off"
    assert mount.ended_at is not None


def test_a_catalogue_that_is_away_fails_no_mount(
    make_site: Callable[..., SmallSite], tmp_path: Path, proxy: Proxy
) -> None:
    site = make_site()
    with small_site(tmp_path / "other", proxy.dsn, library__path=str(site.library)) as other:
        other.archive.database._pool.timeout = 0.5
        proxy.cut()
        with mounted(other.archive, [SERIAL], "write", "write") as (session,):
            session.write("a", [b"x"], {})
    with site.archive.library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert [file.name for file in session.list()] == ["a"]
    assert log(site) == []


def test_the_log_is_read_over_rest_in_pages(site: SmallSite) -> None:
    for number in range(5):
        with mounted(site.archive, [SERIAL if number % 2 else TWIN], "read", "check"):
            pass
    with client_of(site) as client:
        assert pages(client, limit=2) == [m.id for m in log(site)]
        assert len(pages(client, limit=2, tape=SERIAL)) == 2
        assert len(pages(client, limit=2, drive="D1")) == 5
        assert pages(client, limit=2, drive="D9") == []
        assert client.get("/api/v1/mounts", params={"cursor": "x"}).status_code == 422
        assert client.get("/api/v1/mounts", headers={"Authorization": ""}).status_code == 401


def pages(client: httpx.Client, **only: str | int) -> list[int]:
    found: list[int] = []
    cursor = None
    while True:
        page = client.get("/api/v1/mounts", params={**only, **({"cursor": cursor} if cursor else {})}).json()
        found += [item["id"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            return found


def test_the_log_is_bounded(site: SmallSite) -> None:
    for _ in range(2):
        with mounted(site.archive, [SERIAL], "read", "check"):
            pass
    site.rows("update mount set began_at = now() - interval '366 days' where id = (select min(id) from mount)")
    planner.plan(site.archive)
    assert len(log(site)) == 1
