# SPDX-License-Identifier: Apache-2.0
"""The whole story on the library for real tapes: a folder whose file system has the attributes of LTFS made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from answers import catalogue, forget, rebuild, write_manifests

from holdfast.services import check, planner
from holdfast.tape.faults import Fault
from holdfast.tape.ltfs import LtfsLibrary
from holdfast.tape.watchdog import Limits
from holdfast.testing.faults import sample
from holdfast.testing.ltfs import PretendedLtfs, always, supports_attributes
from holdfast.testing.site import SmallSite

FILES = {"a.txt": b"alpha", "sub/b.bin": sample(3_000_000, "b"), "sub/deep/c": b""}


@pytest.fixture
def site(tmp_path: Path, make_site: Callable[..., SmallSite]) -> SmallSite:
    if not supports_attributes(tmp_path):
        pytest.skip("the file system has no user attributes")
    site = make_site(library__media="L8 x4, M8 x1")
    library = LtfsLibrary(
        site.library, state=tmp_path / "state", drives=[("LTO-8", 1), ("LTO-9", 1)], attributes=PretendedLtfs(),
        mounted=always, limits=Limits(block=3),
    )  # fmt: skip
    library.set_up()
    site.archive = replace(site.archive, library=library)
    return site


def test_a_dataset_is_archived_proven_and_delivered(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    found = site.show(dataset)
    assert (found.level, len(set(site.tapes(dataset)))) == ("preserved", 2)
    assert {serial[-2:] for serial in site.tapes(dataset)} == {"L8"}
    assert {copy.drive for package in found.packages for copy in package.copies} == {"LTO-8-1", "LTO-9-1"}
    site.ask(dataset)
    site.drain()
    assert {path: (site.destinations / "back" / path).read_bytes() for path in FILES} == FILES


def test_a_tape_that_hangs_costs_its_copy_only(site: SmallSite) -> None:
    first = site.archive_folder({"first": b"x"}, name="first")
    site.drain()
    hanging, _ = site.tapes(first)
    site.faults(Fault(hanging, "hangs", name="sync", times=1))
    dataset = site.archive_folder({"second": sample(1_000_000)}, name="second")
    site.drain(until=lambda: "copy.problem" in {event.kind for event in site.events()})
    out = [name for name, loaded in site.archive.library.drives().items() if (loaded or "").startswith("out of use")]
    assert len(out) == 1
    site.archive.library.put_back(out[0])
    site.drain()
    assert site.show(dataset).level == "preserved"
    assert hanging not in site.tapes(dataset)


def test_a_library_that_is_away_stops_nothing_else_and_loses_nothing(site: SmallSite, tmp_path: Path) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    here = site.archive
    away = LtfsLibrary(tmp_path / "nowhere", state=tmp_path / "state", drives=[("", 2)], mounted=always)
    site.archive = replace(here, library=away)
    planner.plan(site.archive)
    first, second = site.rows("select id from copy order by number")
    site.rows("update copy set state = 'suspect' where id = %s", first["id"])
    for row in (first, second):
        check.check(site.archive, str(row["id"]))
    assert [row["state"] for row in site.rows("select state from copy order by number")] == ["suspect", "verified"]
    site.archive = here
    site.drain()
    assert site.show(dataset).level == "preserved"
    assert len(site.rows("select 1 from copy")) == 2


def test_what_has_no_readable_bar_code_is_not_counted(site: SmallSite) -> None:
    (site.library / "UNKN0000").mkdir()
    dataset = site.archive_folder(FILES)
    site.drain()
    assert site.show(dataset).level == "preserved"
    assert site.rows("select state from tape where serial = 'UNKN0000'") == [{"state": "missing"}]


def test_p5_real_tapes_have_manifests_and_are_rebuilt_from_them(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.archive_folder({"plain.h5": b"plain"}, name="plain", profile="plain-twin-tape")
    site.drain()
    write_manifests(site)
    before = catalogue(site)
    forget(site)
    found = rebuild(site)
    assert (found.problems, found.opened, found.packages, found.tapes) == ([], 0, 2, 5)
    after = catalogue(site)
    assert {name: after[name] for name in ("listing", "profile")} == {
        name: before[name] for name in ("listing", "profile")
    }
    assert site.show(dataset).level == "preserved"
    assert rebuild(site).skipped == 5
