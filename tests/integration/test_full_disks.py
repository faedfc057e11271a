# SPDX-License-Identifier: Apache-2.0
"""Full disks: what does not fit waits and says so, and goes on when there is room (P6, P9)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.errors import NoSpace
from holdfast.services import deliver
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000


def test_p9_packing_waits_for_room_in_staging_and_says_so(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(staging__limit=100_000)
    dataset = site.archive_folder({"a": sample(300_000)})
    site.drain(until=lambda: "pack" in site.ran)
    [package] = site.show(dataset).packages
    assert package.problem is not None
    assert (package.state, package.problem.code, package.problem.who) == ("planned", "no-space", "nobody")
    assert str(site.archive.settings.staging_path) in package.problem.sentence
    since = package.problem.since
    site.hurry()
    site.drain(hurry=False)
    [package] = site.show(dataset).packages
    assert package.problem is not None
    assert package.problem.since == since
    assert package.problem.tries > 1
    assert len(site.events("package.problem")) == 1
    assert any(item.problem and item.problem.code == "no-space" for item in site.show(dataset).pending)
    object.__setattr__(site.archive.settings.staging, "limit", 10 * _MB)
    site.drain()
    assert site.show(dataset).safe_at


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"mounting a small file system needs root: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_p6_a_full_staging_disk_is_waited_for(make_site: Callable[..., SmallSite], small_disk: Path) -> None:
    site = make_site(staging__path=str(small_disk))
    dataset = site.archive_folder({"a": sample(1_500_000)})
    site.drain(until=lambda: site.show(dataset).state == "closing")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3_500_000))
    site.drain(until=lambda: "pack" in site.ran)
    [package] = site.show(dataset).packages
    assert package.problem is not None
    assert package.problem.code == "no-space"
    assert [file.name for file in small_disk.iterdir()] == ["ballast"]
    ballast.unlink()
    site.drain()
    assert site.show(dataset).safe_at


def test_p6_a_destination_without_room_is_refused_before_anything_moves(site: SmallSite, small_disk: Path) -> None:
    dataset = site.archive_folder({"a": sample(5_000_000)})
    site.drain()
    with pytest.raises(NoSpace, match=str(small_disk)):
        deliver.ask(site.archive, person="x", dataset=dataset, paths=[], destination=str(small_disk / "deep" / "er"))
    assert list(small_disk.iterdir()) == []
    assert site.rows("select * from request") == []


def test_two_requests_cannot_both_count_the_same_room(site: SmallSite, small_disk: Path) -> None:
    dataset = site.archive_folder({"a": sample(2_500_000)})
    site.drain()

    def ask(to: str) -> str:
        return deliver.ask(site.archive, person="x", dataset=dataset, paths=[], destination=str(small_disk / to))

    first = ask("one")
    with pytest.raises(NoSpace):
        ask("two")
    deliver.cancel(site.archive, first, person="x")
    second = ask("three")
    site.drain()
    assert site.request(second).state == "delivered"
    assert not (small_disk / "one").exists()
    assert site.rows("select * from reservation") == []


def test_p10_a_destination_that_fills_up_on_the_way_is_waited_for(site: SmallSite, small_disk: Path) -> None:
    dataset = site.archive_folder({"a": sample(2_500_000), "b": b"small"})
    site.drain()
    request = deliver.ask(site.archive, person="x", dataset=dataset, paths=[], destination=str(small_disk / "to"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2_500_000))
    site.drain(until=lambda: "recall" in site.ran)
    found = site.request(request)
    assert found.state == "recalling"
    assert found.parts[0].problem is not None
    assert found.parts[0].problem.code == "no-space"
    ballast.unlink()
    site.drain()
    assert site.request(request).state == "delivered"
    assert (small_disk / "to" / "a").read_bytes() == sample(2_500_000)
    assert sorted(p.name for p in (small_disk / "to").iterdir()) == ["a", "b"]
