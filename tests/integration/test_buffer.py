# SPDX-License-Identifier: Apache-2.0
"""The buffer: files that are brought to the archive's own disk stay as long as they are pinned, and no longer."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from served import client_of

from holdfast.client import Client
from holdfast.errors import Conflict, InvalidInput, NotFound
from holdfast.services import buffer, deliver, tapes
from holdfast.services.overview import overview
from holdfast.services.planner import plan
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

FILES = {"a.txt": b"alpha", "sub/b.bin": sample(300_000, "b"), "e": None}
DAY = 86_400.0


@pytest.fixture
def dataset(site: SmallSite) -> str:
    made = site.archive_folder(FILES)
    site.drain()
    return made


def folder(site: SmallSite, request: str) -> Path:
    return site.archive.settings.buffer_path / request


def over(site: SmallSite, request: str) -> None:
    """Let the pin of a request have ended."""
    site.rows("update request set expires_at = now() - interval '1 second' where id = %s", request)


def buffered(site: SmallSite) -> list[str]:
    return sorted(os.listdir(site.archive.settings.buffer_path))


def fill(site: SmallSite) -> buffer.Fill:
    with site.archive.database.transaction() as conn:
        return buffer.fill(site.archive, conn)


def test_staged_files_are_there_until_the_pin_ends(site: SmallSite, dataset: str) -> None:
    request = site.stage(dataset, keep=DAY)
    site.drain()
    found = site.request(request)
    assert (found.state, found.done_files, found.destination) == ("ready", 2, str(folder(site, request)))
    assert found.expires_at is not None
    assert found.ended_at is not None
    assert (found.expires_at - found.ended_at).total_seconds() == DAY
    assert (folder(site, request) / "sub/b.bin").read_bytes() == FILES["sub/b.bin"]
    assert (folder(site, request) / "e").is_dir()
    assert site.rows("select * from reservation") == []
    site.drain()
    assert buffered(site) == [request]
    over(site, request)
    site.drain()
    assert site.request(request).state == "expired"
    assert buffered(site) == []
    assert fill(site).used == 0
    kinds = [event.kind for event in site.events() if event.kind.startswith("request.")]
    assert kinds == ["request.asked", "request.ready", "request.expired"]
    again = site.stage(dataset, [b"a.txt"])
    site.drain()
    assert os.listdir(folder(site, again)) == ["a.txt"]


def test_a_pin_is_prolonged_and_never_shortened(site: SmallSite, dataset: str) -> None:
    request = site.stage(dataset, keep=60)
    buffer.keep(site.archive, request, person="tester", seconds=DAY)  # before it is there
    site.drain()
    first = site.request(request).expires_at
    buffer.keep(site.archive, request, person="tester", seconds=2 * DAY)
    second = site.request(request).expires_at
    buffer.keep(site.archive, request, person="tester", seconds=1)
    assert first
    assert second
    assert (second - first).total_seconds() == pytest.approx(DAY, abs=60)
    assert site.request(request).expires_at == second
    over(site, request)
    buffer.keep(site.archive, request, person="tester", seconds=DAY)  # over, and not removed yet
    site.drain()
    assert site.request(request).state == "ready"
    assert len(site.events("request.kept")) == 4
    with pytest.raises(InvalidInput, match="30 days at most, not 31"):
        buffer.keep(site.archive, request, person="tester", seconds=31 * DAY)


def test_p11_a_pin_is_ended_early_once(site: SmallSite, dataset: str) -> None:
    request = site.stage(dataset)
    with pytest.raises(Conflict, match="Cancel it instead"):
        buffer.unstage(site.archive, request, person="tester")
    site.drain()
    for _ in range(2):
        buffer.unstage(site.archive, request, person="tester")
    site.drain()
    buffer.unstage(site.archive, request, person="tester")
    assert site.request(request).state == "expired"
    assert (len(site.events("request.unstaged")), len(site.events("request.expired"))) == (1, 1)
    with pytest.raises(Conflict, match="Stage them again"):
        buffer.keep(site.archive, request, person="tester", seconds=60)


def test_only_what_is_staged_can_be_kept_or_unstaged(site: SmallSite, dataset: str) -> None:
    request = site.ask(dataset)
    for attempt in (
        lambda: buffer.keep(site.archive, request, person="tester", seconds=1),
        lambda: buffer.unstage(site.archive, request, person="tester"),
    ):
        with pytest.raises(Conflict, match="a folder of yours"):
            attempt()
    with pytest.raises(NotFound):
        buffer.unstage(site.archive, "nothing", person="tester")
    with pytest.raises(InvalidInput, match="in the buffer are kept"):
        deliver.ask(site.archive, person="t", dataset=dataset, paths=(), destination=str(site.destinations), keep=1)
    with pytest.raises(InvalidInput, match="own folder"):
        site.ask(dataset, to=str(site.archive.settings.buffer_path / "x"))


def test_p9_requests_beyond_the_mark_wait_and_come_in_waves(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(buffer__limit=1_000_000, buffer__high=0.9)
    made = [site.archive_folder({"x": sample(500_000, f"{n}")}, name=f"d{n}") for n in range(3)]
    small = site.archive_folder({"x": b"small"}, name="small")
    site.drain()
    asked = [site.stage(dataset) for dataset in [*made, small]]
    states = lambda: [site.request(request).state for request in asked]  # noqa: E731
    assert states() == ["waiting", "asked", "asked", "asked"]  # a small one does not overtake
    waiting = [site.request(request).problem for request in asked[1:]]
    assert [problem and problem.code for problem in waiting] == ["no-space", "busy", "busy"]
    assert waiting[0]
    assert waiting[0].who == "nobody"
    assert "up to its mark" in waiting[0].sentence
    beyond = site.request(asked[1])
    assert (beyond.reason, beyond.place, beyond.expected) == (waiting[0].sentence, None, None)
    site.drain()
    assert states() == ["ready", "asked", "asked", "asked"]
    over(site, asked[0])
    site.drain()
    assert states() == ["expired", "ready", "asked", "asked"]
    assert site.request(asked[2]).problem
    assert buffered(site) == [asked[1]]
    over(site, asked[1])
    site.drain()
    assert states() == ["expired", "expired", "ready", "ready"]
    assert fill(site).used <= fill(site).mark == 900_000
    assert site.request(asked[3]).problem is None


def test_what_never_fits_is_refused_at_once(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(buffer__limit=1_000_000)
    dataset = site.archive_folder({"x": sample(950_000)})
    other = site.archive_folder({"x": sample(600_000)}, name="other")
    site.drain()
    for _ in range(2):
        with pytest.raises(InvalidInput, match="Stage less at a time"):
            site.stage(dataset)
        site.stage(other)  # the second one waits, and does not hide that the first never fits


def test_p9_without_a_limit_the_disk_decides(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(buffer__limit=0, buffer__high=0.01)
    dataset = site.archive_folder({"x": sample(1000)})
    site.drain()
    disk = os.statvfs(site.archive.settings.buffer_path)
    assert disk.f_bavail < 0.99 * disk.f_blocks  # else this test says nothing
    request = site.stage(dataset)
    problem = site.request(request).problem
    assert problem
    assert problem.code == "no-space"
    object.__setattr__(site.archive.settings.buffer, "high", 1.0)
    site.drain()
    assert site.request(request).state == "ready"


def test_p3_files_stay_while_their_packages_are_proven_nowhere_else(site: SmallSite, dataset: str) -> None:
    request = site.stage(dataset)
    site.drain()
    for serial in site.tapes(dataset):
        tapes.disable(site.archive, serial, person="tester", reason="test")
    over(site, request)
    site.drain()
    found = site.request(request)
    assert found.state == "ready"
    assert found.problem
    assert (found.problem.code, found.problem.who) == ("operator-needed", "operator")
    assert "no verified copy" in found.problem.sentence
    assert (folder(site, request) / "a.txt").exists()
    for serial in site.tapes(dataset):
        tapes.enable(site.archive, serial, person="tester")
    site.rows("update request set problem = problem - 'next_try'")
    site.drain()
    found = site.request(request)
    assert (found.state, found.problem, buffered(site)) == ("expired", None, [])


def test_nothing_outside_of_the_buffer_is_removed(site: SmallSite, dataset: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"x")
    moved, linked = site.stage(dataset), site.stage(dataset)
    site.drain()
    (folder(site, linked) / "out").symlink_to(outside)
    os.rename(folder(site, linked) / "sub", folder(site, linked) / "sub2")
    (folder(site, linked) / "sub").symlink_to(outside, target_is_directory=True)
    site.rows("update request set destination = %s where id = %s", os.fsencode(outside), moved)
    for request in (moved, linked):
        over(site, request)
    site.drain()
    assert os.listdir(outside) == ["precious"]
    assert site.request(linked).state == "expired"
    problem = site.request(moved).problem
    assert problem
    assert "was moved" in problem.sentence


def test_a_folder_that_became_a_link_is_not_followed(site: SmallSite, dataset: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    request = site.stage(dataset)
    site.drain()
    folder(site, request).rename(outside)
    folder(site, request).symlink_to(outside)
    over(site, request)
    site.drain()
    assert (outside / "a.txt").exists()
    assert buffered(site) == []


def test_a_cancelled_or_failed_one_leaves_nothing(site: SmallSite, dataset: str) -> None:
    half = site.stage(dataset)
    (folder(site, half)).mkdir()
    (folder(site, half) / "a.txt").write_bytes(b"alpha")
    deliver.cancel(site.archive, half, person="tester")
    site.drain()
    assert (site.request(half).state, buffered(site)) == ("cancelled", [])
    assert site.rows("select id from request where evicted_at is null") == []


def test_a_worker_that_is_still_in_the_folder_is_waited_for(site: SmallSite, dataset: str) -> None:
    request = site.stage(dataset)
    [package] = [part.package for part in site.request(request).parts]
    folder(site, request).mkdir()
    with site.archive.database.claim(f"deliver:{request}/{package}") as held:
        assert held
        deliver.cancel(site.archive, request, person="tester")
        site.drain()
        assert buffered(site) == [request]
    site.drain()
    assert buffered(site) == []


def test_p10_what_could_not_be_brought_is_told_and_the_rest_is_ready(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": sample(9_000_000, "a"), "b": sample(9_000_000, "b")})
    site.drain()
    request = site.stage(dataset)
    packages = site.show(dataset).packages
    lost = packages[0].name
    site.faults(*[Fault(serial, "read-error", name=lost, offset=4_000_000) for serial in set(site.tapes(dataset))])
    site.drain(until=lambda: site.request(request).state == "ready")
    found = site.request(request)
    assert len(packages) == 2
    assert (found.done_files, found.failed_files) == (1, 1)
    assert found.problem
    [ready] = site.events("request.ready")
    assert (ready.body["files"], ready.body["failed"]) == (1, 1)


def test_p6_an_eviction_that_was_told_and_not_done_is_done(site: SmallSite, dataset: str) -> None:
    site.stage(dataset)
    site.drain()
    site.rows("update request set state = 'expired', expires_at = now()")
    site.drain()
    assert buffered(site) == []


def test_the_oldest_pin_goes_first(site: SmallSite, dataset: str) -> None:
    asked = [site.stage(dataset) for _ in range(3)]
    site.drain()
    for request, hours in zip(asked, (1, 3, 2), strict=True):
        site.rows("update request set expires_at = now() - make_interval(hours => %s) where id = %s", hours, request)
    plan(site.archive)
    site.drain()
    order = [event.body["request"] for event in site.events("request.expired")]
    assert order == [asked[1], asked[2], asked[0]]


def test_promises_last_as_long_as_their_requests(site: SmallSite, dataset: str) -> None:
    open_one, ended = site.stage(dataset), site.ask(dataset)
    site.rows("update reservation set expires_at = now() + interval '1 minute'")
    site.rows("update request set state = 'delivered' where id = %s", ended)
    plan(site.archive)
    [row] = site.rows("select id, expires_at > now() + interval '23 hours' as renewed from reservation")
    assert row == {"id": f"request:{open_one}", "renewed": True}


def test_status_and_metrics_tell_how_full_it_is(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(buffer__limit=1_000_000, staging__limit=50_000_000)
    dataset = site.archive_folder({"x": sample(100_000)})
    site.drain()
    site.stage(dataset)
    areas = {area.name: area for area in overview(site.archive).areas}
    assert (areas["buffer"].limit, areas["buffer"].mark) == (1_000_000, 900_000)
    assert areas["buffer"].used == 104_096
    assert (areas["staging"].mark, areas["staging"].used) == (50_000_000, 0)


def test_over_rest_and_the_client(site: SmallSite, dataset: str) -> None:
    with client_of(site) as http:
        api = f"{PREFIX}/requests"
        asked = http.post(api, json={"dataset": dataset, "paths": ["sub"], "keep": 3600}).json()
        assert (asked["state"], asked["keep"], asked["destination"]) == (
            "waiting",
            3600,
            str(folder(site, asked["id"])),
        )
        assert http.post(f"{api}/{asked['id']}/unstage").status_code == 409
        site.drain()
        kept = http.post(f"{api}/{asked['id']}/keep", json={"seconds": DAY}).json()
        assert (kept["state"], kept["keep"]) == ("ready", DAY)
        assert http.post(f"{api}/{asked['id']}/keep", json={"seconds": -1}).status_code == 422
        assert http.post(f"{api}/nothing/keep", json={"seconds": 1}).status_code == 404
        wrong = {"dataset": dataset, "destination": str(site.destinations), "keep": 1}
        assert http.post(api, json=wrong).status_code == 422
        token = site.archive.settings.token_file.read_text().strip()
        with Client(str(http.base_url), token) as client:
            assert client.unstage(asked["id"]).state == "ready"
            site.drain()
            assert client.request(asked["id"]).state == "expired"
            second = client.stage(dataset, keep=60)
            assert client.keep(second.id, 120).keep == 120
        metrics = http.get(f"{PREFIX}/metrics").text
        assert 'holdfast_area_used{area="buffer"}' in metrics
        assert 'holdfast_area_mark{area="staging"}' in metrics
