# SPDX-License-Identifier: Apache-2.0
"""Bad input: a clear error that names the culprit, and nothing half-done left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import pytest
from powers import without_power

from holdfast.errors import AlreadyArchived, Conflict, InvalidInput, NotFound, OutsideRoots
from holdfast.services import deliver, rebuild
from holdfast.services.pack import pack
from holdfast.services.register import survey
from holdfast.testing.faults import sample
from holdfast.testing.proxy import Proxy
from holdfast.testing.site import SmallSite, small_site

_MB = 1_000_000


def nothing_is_left(site: SmallSite, dataset: str) -> None:
    """Assert that a dataset which could not be archived left a tombstone with its reason, and nothing else."""
    found = site.show(dataset)
    assert found.state == "deleted"
    assert found.problem is not None
    assert (found.level, found.availability, found.pending) == ("none", "unavailable", [])
    assert {package.state for package in found.packages} <= {"retired"}
    assert site.staged() == []
    assert site.on_tapes() == []
    assert site.rows("select * from reservation") == []
    assert site.rows("select * from listing where dataset = %s", dataset) == []
    [failed] = site.events("dataset.failed")
    assert failed.body["sentence"] == found.problem.sentence


def reason(site: SmallSite, dataset: str) -> tuple[str, str]:
    problem = site.show(dataset).problem
    assert problem is not None
    return problem.code, problem.sentence


# ---- refused at once ----


@pytest.mark.parametrize(
    ("wish", "error", "words"),
    [
        (
            {"profile": "gold"},
            InvalidInput,
            "no profile 'gold'. Choose one of: beamline, facility-stream, investigation, personal, plain-twin-tape, single-tape, telescope-products, twin-tape",
        ),
        ({"title": ""}, InvalidInput, "title"),
        ({"title": "  "}, InvalidInput, "title"),
        ({"title": "x" * 1001}, InvalidInput, "title"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused(
    site: SmallSite, wish: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        site.archive_folder({"a": b"a"}, **wish)
    assert site.rows("select * from dataset") == []


def test_a_folder_outside_the_roots_is_refused(site: SmallSite, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (site.sources / "link").symlink_to(outside)
    for path in (outside, site.sources / "link", site.sources / ".." / "outside", Path("/etc")):
        with pytest.raises(OutsideRoots) as caught:
            site.register(path)
        assert str(site.sources) in caught.value.sentence
        assert "roots.source" in caught.value.sentence
    assert site.rows("select * from dataset") == []


@pytest.mark.parametrize("name", ["absent", "file"])
def test_what_is_no_folder_is_refused(site: SmallSite, name: str) -> None:
    (site.sources / "file").write_bytes(b"x")
    with pytest.raises(InvalidInput, match="is not a folder"):
        site.register(site.sources / name)


@pytest.mark.parametrize("path", ["relative", "", "/with\0nul"])
def test_a_path_that_is_none_is_refused(site: SmallSite, path: str) -> None:
    with pytest.raises(InvalidInput):
        site.register(Path(path) if "\0" not in path else path)  # type: ignore[arg-type]


# ---- found by the survey ----


def test_an_empty_folder_ends_the_dataset_and_may_come_again(site: SmallSite) -> None:
    dataset = site.archive_folder({})
    site.drain()
    assert reason(site, dataset)[0] == "invalid-input"
    assert "empty" in reason(site, dataset)[1]
    nothing_is_left(site, dataset)
    again = site.archive_folder({"a": b"a"})
    site.drain()
    assert site.show(again).safe_at


def test_pipes_and_sockets_are_all_named(site: SmallSite) -> None:
    folder = site.fill({"a": b"a", "sub/b": b"b"})
    os.mkfifo(folder / "sub" / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        with chdir(folder):  # a socket's path is short
            listening.bind("socket")
        dataset = site.register(folder)
        site.drain()
    code, sentence = reason(site, dataset)
    assert code == "unsupported-file"
    assert "sub/pipe" in sentence
    assert "socket" in sentence
    assert "pipe or socket" in sentence
    nothing_is_left(site, dataset)


def test_a_folder_that_is_gone_before_the_survey_ends_the_dataset(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a"})
    (site.sources / "run").rename(site.sources / "elsewhere")
    site.drain()
    assert str(site.sources / "run") in reason(site, dataset)[1]
    nothing_is_left(site, dataset)


# ---- found while packing ----


def change(folder: Path) -> None:
    (folder / "sub" / "culprit").write_bytes(b"longer than before")


def rewrite(folder: Path) -> None:
    before = (folder / "sub" / "culprit").stat()
    (folder / "sub" / "culprit").write_bytes(b"other")
    os.utime(folder / "sub" / "culprit", ns=(before.st_atime_ns, before.st_mtime_ns + 1))


def vanish(folder: Path) -> None:
    (folder / "sub" / "culprit").unlink()


def become_a_link(folder: Path) -> None:
    (folder / "sub" / "culprit").unlink()
    (folder / "sub" / "culprit").symlink_to("/etc/hostname")


def become_a_pipe(folder: Path) -> None:
    (folder / "sub" / "culprit").unlink()
    os.mkfifo(folder / "sub" / "culprit")


@pytest.mark.parametrize("what", [change, rewrite, vanish, become_a_link, become_a_pipe])
def test_a_file_that_changes_before_it_is_packed_is_named(site: SmallSite, what: Callable[[Path], None]) -> None:
    dataset = site.archive_folder({"a": b"a", "sub/culprit": b"first"})
    site.drain(until=lambda: site.show(dataset).state == "closing")
    what(site.sources / "run")
    site.drain()
    code, sentence = reason(site, dataset)
    assert code == "source-changed"
    assert "sub/culprit" in sentence
    nothing_is_left(site, dataset)


@pytest.mark.parametrize("culprit", ["sub/culprit", "sub"])
def test_what_may_not_be_read_is_named(tmp_path: Path, proxy: Proxy, culprit: str) -> None:
    # Through the proxy, because the folder of the database's socket is not ours.
    with small_site(tmp_path, proxy.dsn) as site:
        dataset = site.archive_folder({"a": b"a", "sub/culprit": b"c"})
        (site.sources / "run" / culprit).chmod(0)
        try:
            without_power(site.drain)
        finally:
            (site.sources / "run" / culprit).chmod(0o700)
        code, sentence = reason(site, dataset)
        assert code == "source-unreadable"
        assert culprit in sentence
        assert "Permission denied" in sentence
        nothing_is_left(site, dataset)


def test_p10_a_bad_dataset_does_not_hold_up_a_good_one(site: SmallSite) -> None:
    bad = site.archive_folder({"culprit": b"c"}, name="bad")
    good = site.archive_folder({"a": b"a"}, name="good")
    site.drain(until=lambda: site.show(bad).state == "closing")
    (site.sources / "bad" / "culprit").unlink()
    site.drain()
    assert site.show(bad).state == "deleted"
    assert site.show(good).level == "preserved"


def test_a_dataset_that_fails_late_leaves_no_copies_on_tape(
    make_site: Callable[..., SmallSite],
) -> None:
    site = make_site(library__capacity=8 * _MB, library__reserve=1 * _MB)
    dataset = site.archive_folder({f"part{n}/file": sample(1_500_000, f"{n}") for n in range(3)})
    first = f"{dataset}.1"
    survey(site.archive, dataset)
    assert len(site.show(dataset).packages) == 3
    pack(site.archive, first)
    # The job of the first package goes on to the tapes while the source of the last one breaks.
    site.rows("delete from procrastinate_jobs where task_name <> 'write'")
    site.drain(until=lambda: len(site.tapes(dataset)) == 2)
    assert len(site.on_tapes()) == 2
    (site.sources / "run" / "part2" / "file").unlink()
    site.drain()
    nothing_is_left(site, dataset)
    assert site.rows("select count(*) as n from copy where state = 'retired' and erased_at is not null")[0]["n"] == 2
    assert "erase" in site.ran


def test_p11_a_tombstone_is_no_obstacle(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain(until=lambda: site.show(dataset).state == "closing")
    (site.sources / "run" / "a").write_bytes(b"changed")
    site.drain()
    again = site.register(site.sources / "run")
    site.drain()
    assert site.show(again).safe_at
    with pytest.raises(AlreadyArchived, match=again):
        site.register(site.sources / "run")
    with pytest.raises(Conflict, match="deleted"):
        site.ask(dataset)


# ---- asking for what is not there ----


def test_asking_for_what_is_not_there_is_refused(site: SmallSite, tmp_path: Path) -> None:
    dataset = site.archive_folder({"a": b"a", "sub/b": b"b"})
    with pytest.raises(Conflict, match="open"):
        site.ask(dataset)
    site.drain()
    with pytest.raises(NotFound, match="nothing"):
        site.ask(dataset, [b"a", b"nothing"])
    with pytest.raises(NotFound):
        site.ask("0" * 26)
    for path in (b"../a", b"/a", b"", b"sub//b", b"a\0"):
        with pytest.raises(InvalidInput):
            site.ask(dataset, [path])
    (tmp_path / "file").write_bytes(b"")
    for destination in ("relative", str(tmp_path / "file"), str(site.archive.settings.data / "to")):
        with pytest.raises(InvalidInput):
            deliver.ask(site.archive, person="x", dataset=dataset, paths=[], destination=destination)
    assert site.rows("select * from request") == []


def test_a_destination_outside_the_roots_is_refused(make_site: Callable[..., SmallSite], tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to(tmp_path)
    site = make_site(roots__destination=(allowed,))
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    for destination in (tmp_path / "other", allowed / "link" / "other", allowed / ".." / "other"):
        with pytest.raises(OutsideRoots, match="allowed"):
            deliver.ask(site.archive, person="x", dataset=dataset, paths=[], destination=str(destination))


def test_a_rebuild_does_not_bring_a_failed_dataset_back(
    make_site: Callable[..., SmallSite],
) -> None:
    site = make_site(library__capacity=8 * _MB)
    dataset = site.archive_folder({f"part{n}/file": sample(1_500_000, f"{n}") for n in range(2)})
    survey(site.archive, dataset)
    pack(site.archive, f"{dataset}.1")
    site.rows("delete from procrastinate_jobs where task_name <> 'write'")
    site.drain(until=lambda: len(site.tapes(dataset)) == 2)
    (site.sources / "run" / "part1" / "file").unlink()
    site.drain()
    site.rows(
        "truncate dataset, package, copy, listing, request, request_part, request_problem, release, event cascade"
    )
    found = rebuild.rebuild(site.archive, progress=lambda *_: None)
    assert (found.packages, found.datasets, found.problems) == (0, set(), [])
