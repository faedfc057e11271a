# SPDX-License-Identifier: Apache-2.0
"""Getting files back: what is there stays, what is asked twice is done once, and a late worker harms nobody (P7, P11)."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.catalog.queries import copies, packages, releases, requests
from holdfast.errors import NotFound
from holdfast.services import deliver, finish, free, show
from holdfast.services.check import check
from holdfast.services.pack import pack
from holdfast.services.planner import plan
from holdfast.services.queue import recall
from holdfast.services.register import survey
from holdfast.services.write import write
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

FILES = {"a.txt": b"alpha", "sub/b.bin": sample(300_000, "b"), "sub/c.bin": sample(300_000, "c")}


@pytest.fixture
def dataset(site: SmallSite) -> str:
    made = site.archive_folder(FILES)
    site.drain()
    return made


def back(site: SmallSite) -> Path:
    return site.destinations / "back"


def test_p11_files_that_are_there_already_are_done(site: SmallSite, dataset: str) -> None:
    site.ask(dataset)
    site.drain()
    before = {path: (back(site) / path).stat().st_ino for path in FILES}
    again = site.ask(dataset)
    site.drain()
    found = site.request(again)
    assert (found.state, found.done_files, found.undelivered) == ("delivered", 3, [])
    assert {path: (back(site) / path).stat().st_ino for path in FILES} == before


def test_another_file_of_the_same_name_is_listed_and_never_overwritten(site: SmallSite, dataset: str) -> None:
    (back(site) / "sub").mkdir(parents=True)
    (back(site) / "a.txt").write_bytes(b"mine!")
    (back(site) / "sub" / "b.bin").mkdir()
    request = site.ask(dataset)
    site.drain()
    found = site.request(request)
    assert (found.state, found.done_files, found.failed_files) == ("delivered", 1, 2)
    assert {(item.path, item.code) for item in found.undelivered} == {("a.txt", "conflict"), ("sub/b.bin", "conflict")}
    assert (back(site) / "a.txt").read_bytes() == b"mine!"
    assert (back(site) / "sub" / "c.bin").read_bytes() == FILES["sub/c.bin"]
    assert site.events("copy.suspect") == []


def test_a_link_at_the_destination_is_not_followed(site: SmallSite, dataset: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    back(site).mkdir(parents=True)
    (back(site) / "sub").symlink_to(outside)
    request = site.ask(dataset)
    site.drain()
    assert list(outside.iterdir()) == []
    assert {item.path for item in site.request(request).undelivered} == {"sub/b.bin", "sub/c.bin"}


def test_p6_a_delivery_that_was_broken_off_goes_on(site: SmallSite, dataset: str) -> None:
    back(site).mkdir(parents=True)
    (back(site) / "a.txt").write_bytes(FILES["a.txt"])
    request = site.ask(dataset)
    site.rows("delete from procrastinate_jobs")
    # A worker claimed the part and died.
    site.rows("update request_part set state = 'recalling', attempt = 7")
    site.rows("update request set state = 'recalling'")
    site.drain()
    assert site.request(request).state == "delivered"
    assert site.rows("select attempt from request_part")[0]["attempt"] == 8


def test_p6_a_request_whose_parts_ended_but_which_nobody_closed_is_closed(site: SmallSite, dataset: str) -> None:
    request = site.ask(dataset)
    site.drain()
    site.rows("update request set state = 'recalling', ended_at = null")
    site.drain()
    assert site.request(request).state == "delivered"


def test_a_cancelled_request_ends_gives_its_room_back_and_delivers_nothing_more(site: SmallSite, dataset: str) -> None:
    request = site.ask(dataset)
    assert len(site.rows("select * from reservation")) == 1
    deliver.cancel(site.archive, request, person="tester")
    deliver.cancel(site.archive, request, person="tester")
    site.drain()
    found = site.request(request)
    assert (found.state, found.done_files) == ("cancelled", 0)
    assert site.rows("select * from reservation") == []
    assert len(site.events("request.cancelled")) == 1
    assert not back(site).exists()
    with pytest.raises(NotFound):
        deliver.cancel(site.archive, "0" * 26, person="tester")


def test_a_request_that_has_ended_cannot_be_cancelled_any_more(site: SmallSite, dataset: str) -> None:
    request = site.ask(dataset)
    site.drain()
    deliver.cancel(site.archive, request, person="tester")
    assert site.request(request).state == "delivered"
    assert site.events("request.cancelled") == []


@pytest.mark.parametrize("paths", [[b"sub", b"sub/b.bin"], [b"a.txt", b"a.txt"]])
def test_files_that_are_asked_for_twice_are_counted_once(site: SmallSite, dataset: str, paths: list[bytes]) -> None:
    request = site.ask(dataset, paths)
    site.drain()
    found = site.request(request)
    assert found.files == found.done_files == (2 if paths[0] == b"sub" else 1)
    assert found.bytes == found.done_bytes


def test_p11_every_job_may_run_again(site: SmallSite, dataset: str) -> None:
    request = site.ask(dataset)
    release = free.want_release(site.archive, dataset, person="tester", apply=False)
    site.drain()
    before = (site.show(dataset), site.request(request), show.release(site.archive, release), len(site.events()))
    package = site.show(dataset).packages[0].id
    for _ in range(2):
        survey(site.archive, dataset)
        pack(site.archive, package)
        write(site.archive, package)
        deliver.deliver(site.archive, f"{request}/{package}")
        finish.finish(site.archive, request)
        free.free(site.archive, release)
        site.drain()
    after = (site.show(dataset), site.request(request), show.release(site.archive, release), len(site.events()))
    assert after == before


def test_p11_jobs_for_things_that_are_not_there_do_nothing(site: SmallSite) -> None:
    for job in (survey, pack, write, free.free):
        job(site.archive, "nothing")
    check(site.archive, "4711")
    deliver.deliver(site.archive, "no/thing")
    assert site.events() == []


def test_p7_an_old_attempt_changes_nothing(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    request = site.ask(dataset)
    package = site.show(dataset).packages[0].id
    site.rows("update package set state = 'packing', attempt = 5")
    site.rows("update copy set state = 'writing', attempt = 5")
    site.rows("update request_part set state = 'recalling', attempt = 5")
    site.rows("update request set state = 'recalling'")
    problem = {"problem": None, "next_try": "2020-01-01"}
    [copy, _] = site.rows("select id from copy order by id")
    with site.archive.database.transaction() as conn:
        for attempt in (4, 6):
            key = {"id": package, "attempt": attempt}
            assert packages.move(conn, "staged", to="staged", **key, size=1, digest="x", sidecar=None) is None
            assert packages.move(conn, "again", to="planned", **key, **problem) is None
            assert packages.run(conn, "progress", **key, files=1, bytes=1) == 0
            key = {"id": copy["id"], "attempt": attempt}
            written = {"size": 1, "start_block": 1, "generation": 1, "drive": "D1", "rate": 1.0}
            assert copies.move(conn, "written", to="written", **key, **written) is None
            assert copies.move(conn, "verified", to="verified", **key, digest="x") is None
            assert copies.move(conn, "again", to="planned", **key, tape=None, **problem) is None
            assert copies.move(conn, "lost", to="lost", **key, problem=None) is None
            assert copies.move(conn, "suspect", to="suspect", **key, **problem) is None
            assert copies.first(conn, "checked", **key, digest="x") is None
            part = {"request": request, "package": package, "attempt": attempt}
            ended = requests.first(conn, "end_part", **part, state="delivered", files=1, bytes=1, problem=None)
            assert ended is None
            assert requests.run(conn, "part_again", **part, **problem) == 0
            assert requests.first(conn, "progress", **part, files=1, bytes=1) is None
    assert {row["state"] for row in site.rows("select state from copy")} == {"writing"}


def test_p7_an_old_attempt_at_a_release_changes_nothing(site: SmallSite, dataset: str) -> None:
    release = free.want_release(site.archive, dataset, person="tester", apply=True)
    site.rows("update release set attempt = 5")
    with site.archive.database.transaction() as conn:
        for attempt in (4, 6):
            key = {"id": release, "attempt": attempt}
            planned = {"files": 1, "bytes": 1, "kept": 0, "differing": None}
            assert releases.move(conn, "planned", to="planned", **key, **planned) is None
            assert releases.move(conn, "failed", to="failed", **key, problem=None) is None
            assert releases.run(conn, "progress", **key, removed=9) == 0
            assert releases.run(conn, "problem", **key, problem=None) == 0
    site.drain()
    assert show.release(site.archive, release).state == "done"


def test_p7_a_worker_that_was_overtaken_while_it_packed_leaves_nothing(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain(until=lambda: site.show(dataset).state == "closing")
    package = f"{dataset}.1"
    with site.archive.database.claim(f"package:{package}") as held:
        assert held
        pack(site.archive, package)  # somebody else has the claim
    assert site.show(dataset).packages[0].state == "planned"
    assert site.staged() == []
    site.drain()
    assert site.show(dataset).safe_at


def test_p6_the_planner_brings_back_every_job_that_was_lost(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    for _ in range(12):
        site.rows("delete from procrastinate_jobs")
        if not plan(site.archive):
            break
        site.work()
    assert site.show(dataset).level == "preserved"
    assert site.ran == ["survey", "pack", "extract", "write", "check", "check"]


def test_p11_planning_twice_defers_nothing_twice(site: SmallSite) -> None:
    site.archive_folder(FILES)
    site.rows("delete from procrastinate_jobs")
    assert plan(site.archive) == 1
    assert plan(site.archive) == 0
    assert len(site.rows("select * from procrastinate_jobs")) == 1


def test_p9_who_asks_before_it_is_on_tape_waits_until_it_is(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain(until=lambda: site.show(dataset).state == "closed")
    site.rows("delete from procrastinate_jobs")
    request = site.ask(dataset)
    recall(site.archive, "next")
    [part] = site.request(request).parts
    assert part.problem
    assert "not on any tape yet" in part.problem.sentence
    site.drain()
    assert (site.request(request).state, site.request(request).undelivered) == ("delivered", [])
