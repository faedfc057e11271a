# SPDX-License-Identifier: Apache-2.0
"""Datasets of many packages, and files larger than one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from unittest.mock import Mock

import pytest

from holdfast.errors import NoSpace
from holdfast.services import check, finish, free, show
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000
BIG = sample(3_300_000, "big")
FILES = {"a/first": b"first", "big": BIG, **{f"many/{n:03}": sample(40_000, f"{n}") for n in range(60)}, "z": b"last"}


@pytest.fixture
def small(make_site: Callable[..., SmallSite]) -> Iterator[SmallSite]:
    """An archive whose packages hold at most 1 MB."""
    return make_site(library__capacity=5 * _MB, library__reserve=1 * _MB, library__tapes=12)


def test_a_big_file_and_many_small_ones_are_cut_packed_and_come_back(small: SmallSite) -> None:
    dataset = small.archive_folder(FILES)
    small.drain()
    found = small.show(dataset)
    assert found.level == "preserved"
    assert (found.files, found.bytes) == (len(FILES), sum(map(len, FILES.values())))
    assert len(found.packages) >= 6
    assert [package.segment for package in found.packages] == list(range(1, len(found.packages) + 1))
    assert all(package.payload <= _MB for package in found.packages)
    assert sum(package.files for package in found.packages) == len(FILES)
    assert len(small.events("dataset.safe")) == 1
    assert len(small.events("package.released")) == len(found.packages)
    request = small.ask(dataset)
    small.drain()
    done = small.request(request)
    assert (done.state, done.files, done.done_files, done.undelivered) == ("delivered", len(FILES), len(FILES), [])
    assert (done.done_bytes, done.bytes) == (found.bytes, found.bytes)
    for path, content in FILES.items():
        assert (small.destinations / "back" / path).read_bytes() == content
    assert sorted(p.name for p in (small.destinations / "back").iterdir()) == ["a", "big", "many", "z"]


def test_a_single_file_in_parts_comes_back_whole(small: SmallSite) -> None:
    dataset = small.archive_folder(FILES)
    small.drain()
    request = small.ask(dataset, [b"big"])
    small.drain()
    done = small.request(request)
    assert (done.state, done.files, done.done_files, done.done_bytes) == ("delivered", 1, 1, len(BIG))
    assert [p.name for p in (small.destinations / "back").iterdir()] == ["big"]
    assert (small.destinations / "back" / "big").read_bytes() == BIG
    again = small.ask(dataset, [b"big"])
    small.drain()
    assert (small.request(again).state, small.request(again).done_files) == ("delivered", 1)


def test_p9_joining_parts_without_room_says_so_and_waits(small: SmallSite, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = small.archive_folder(FILES)
    small.drain()
    request = small.ask(dataset, [b"big"])
    # A disk that is full only when a file is synced, as a quota on a network file system is.
    full = NoSpace(area="the destination", needed=1, free=0)
    with monkeypatch.context() as broken:
        broken.setattr(finish, "finish_parts", Mock(side_effect=full))
        small.drain(hurry=False)
    waits = small.request(request)
    assert waits.state == "recalling"
    assert waits.problem is not None
    assert (waits.problem.code, waits.problem.tries) == ("no-space", 1)
    small.drain()
    done = small.request(request)
    assert (done.state, done.done_files, done.problem) == ("delivered", 1, None)


def test_a_file_in_parts_is_shown_once_with_its_whole_size_and_checksum(small: SmallSite) -> None:
    import hashlib

    dataset = small.archive_folder(FILES)
    small.drain()
    archive = small.archive
    listed = [item for _, item in show.files(archive, dataset, prefix=b"", after=b"", limit=1000)]
    assert [item.path for item in listed] == sorted(FILES)
    top = [item for _, item in show.folder(archive, dataset, path=b"", after=b"", limit=1000) if item.path == "big"]
    found = [item.file for item in show.find(archive, b"big", limit=10)]
    for item in (next(item for item in listed if item.path == "big"), *top, *found):
        assert (item.size, item.sha512) == (len(BIG), hashlib.sha512(BIG).hexdigest())
    assert (len(top), len(found)) == (1, 1)


def test_p10_a_part_that_is_bad_everywhere_costs_its_file_only(small: SmallSite) -> None:
    dataset = small.archive_folder({"big": BIG, "z/small": b"small"})
    small.drain()
    second = small.show(dataset).packages[1]
    small.faults(
        *(
            Fault(copy.tape or "", "bit-flip", offset=(second.size or 0) // 2, name=second.name)
            for copy in second.copies
        )
    )
    request = small.ask(dataset)
    small.drain(until=lambda: small.request(request).state not in {"waiting", "recalling"})
    done = small.request(request)
    assert (done.state, done.done_files, done.failed_files) == ("delivered", 1, 1)
    assert [item.path for item in done.undelivered] == ["big"]
    assert not (small.destinations / "back" / "big").exists()
    assert (small.destinations / "back" / "z" / "small").read_bytes() == b"small"


@pytest.mark.parametrize("how", ["files gone", "files cut", "tapes gone"])
def test_p10_both_twins_of_a_package_are_destroyed_the_rest_comes_and_the_loss_is_named(
    small: SmallSite, how: str
) -> None:
    files = {f"{n:03}": sample(40_000, f"{n}") for n in range(60)}
    dataset = small.archive_folder(files)
    small.drain()
    free.want_release(small.archive, dataset, person="tester", apply=True)
    small.drain()
    victim = small.show(dataset).packages[1]
    twins = [copy.tape or "" for copy in victim.copies]
    gone = {victim.name}
    if how == "tapes gone":
        for serial in twins:
            (small.library / serial).rename(small.library.parent / serial)
        gone = {p.name for p in small.show(dataset).packages if {copy.tape for copy in p.copies} <= {*twins}}
    else:
        for serial in twins:
            file = small.library / serial / victim.name
            file.unlink() if how == "files gone" else os.truncate(file, 5000)
    request = small.ask(dataset)
    small.drain()
    asked = small.request(request)
    missing = {item.path for item in asked.undelivered}
    here = {path.name for path in (small.destinations / "back").glob("*")}
    assert asked.state in {"delivered", "failed"}
    assert missing | here == set(files)
    assert missing & here == set()
    assert 0 < len(missing) == sum(p.files for p in small.show(dataset).packages if p.name in gone)
    check.want_check(small.archive, dataset, person="tester")
    small.drain()
    assert {event.body["name"] for event in small.events("package.lost")} == gone
    assert small.show(dataset).availability == "unavailable"


def test_p3_release_of_a_file_in_parts_compares_the_whole(small: SmallSite) -> None:
    dataset = small.archive_folder({"big": BIG, "other": BIG[:2_500_000]})
    small.drain()
    folder = small.sources / "run"
    changed = bytearray(BIG)
    changed[-1] ^= 1
    (folder / "big").write_bytes(changed)
    release = free.want_release(small.archive, dataset, person="tester", apply=True)
    small.drain()
    found = show.release(small.archive, release)
    assert (found.state, found.removed, found.kept) == ("done", 1, 1)
    assert [(item.path, item.why) for item in found.differing] == [("big", "has other content")]
    assert [p.name for p in folder.iterdir()] == ["big"]


def test_p6_packages_of_one_dataset_close_it_only_together(small: SmallSite) -> None:
    dataset = small.archive_folder(FILES)
    small.drain(until=lambda: small.ran.count("pack") == 1)
    assert small.show(dataset).state == "closing"
    small.drain()
    assert small.show(dataset).state == "closed"
    kinds = [event.kind for event in small.events() if event.dataset == dataset]
    assert kinds.index("dataset.closed") > max(n for n, kind in enumerate(kinds) if kind == "package.staged")
    assert kinds.index("dataset.safe") > max(n for n, kind in enumerate(kinds) if kind == "copy.verified")


def test_tapes_are_filled_one_pair_after_the_other(small: SmallSite) -> None:
    for number in range(4):
        small.archive_folder({"x": sample(900_000, f"{number}")}, name=f"run{number}")
        small.drain()
    used = {tuple(sorted(small.tapes(row["id"]))) for row in small.rows("select id from dataset")}
    assert len(used) <= 2
