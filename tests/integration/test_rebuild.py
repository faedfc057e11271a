# SPDX-License-Identifier: Apache-2.0
"""P5: the catalogue can be made again from the tapes alone, and then gives the same answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from answers import forget, rebuild, told

from holdfast.errors import Conflict
from holdfast.services import check, deposit, fetch, free, show
from holdfast.services import rebuild as service
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000
FILES = {
    "a/x": b"",
    "a-": b"1",
    "a.txt": b"alpha",
    "sub/b.bin": sample(2_500_000, "b"),
    "sub/c": sample(9_000),
    "e": None,
}


@pytest.fixture
def filled(make_site: Callable[..., SmallSite]) -> tuple[SmallSite, list[str]]:
    site = make_site(library__capacity=8 * _MB, library__tapes=6)
    made = [
        site.archive_folder(
            FILES,
            name="one",
            title="Größe 測定",
            metadata={
                "energy": 12.4,
                "n": 3,
                "ok": True,
                "e": {"value": 9, "unit": "keV"},
                "d": {"date": "2026-03-01"},
            },
        ),
        site.archive_folder({"only": b"x"}, name="two", profile="single-tape"),
    ]
    (site.sources / "one" / "link").symlink_to("a.txt")
    site.drain()
    assert len(site.show(made[0]).packages) > 1
    return site, made


def test_p5_a_rebuilt_catalogue_says_the_same(filled: tuple[SmallSite, list[str]]) -> None:
    site, made = filled
    before = {dataset: told(site, dataset) for dataset in made}
    forget(site)
    found = rebuild(site)
    assert found.problems == []
    assert found.datasets == set(made)
    assert (found.tapes, found.copies) == (6, sum(len(p["tapes"]) for p in tapes_of(before)))
    for dataset in made:
        (about, *others), files = told(site, dataset)
        (about_before, *others_before), files_before = before[dataset]
        assert about == about_before
        assert others == others_before
        assert files == files_before
        assert site.show(dataset).level == "preserved"
    site.drain()
    assert site.ran.count("pack") == len(before[made[0]][0][1]) + 1  # nothing is owed


def test_p5_what_a_dataset_is_to_others_is_on_the_tapes(site: SmallSite) -> None:
    folder = site.fill({"a": b"a"})
    first = site.open_dataset(group="muon", keep_days=0)
    fetch.want_path(site.archive, first, str(folder), into="", person="tester")
    site.drain()
    deposit.close(site.archive, first, person="tester")
    site.drain()
    second = site.open_dataset(extends=first, group="muon")
    fetch.want_path(site.archive, second, str(folder), into="again", person="tester")
    site.drain()
    deposit.close(site.archive, second, person="tester")
    site.drain()
    of_both = 'select id, "group", extends, keep_days, landing, visible_to from dataset order by id'
    before = site.rows(of_both)
    assert [(row["group"], row["extends"], row["keep_days"], row["landing"]) for row in before] == [
        ("muon", None, 0, True),
        ("muon", first, None, True),
    ]
    forget(site)
    assert rebuild(site).problems == []
    assert site.rows(of_both) == before
    site.drain()
    assert [path.path for _, path in show.union(site.archive, second, prefix=b"", after=b"", limit=9, sight=None)] == [
        "again/run/a",
        "run/a",
    ]


def tapes_of(before: dict[str, tuple[Any, Any]]) -> list[dict[str, Any]]:
    return [{"tapes": copies} for about, _ in before.values() for copies in about[3]]


def test_p5_a_rebuilt_archive_gives_everything_back(filled: tuple[SmallSite, list[str]]) -> None:
    site, made = filled
    forget(site)
    rebuild(site)
    request = site.ask(made[0])
    site.drain()
    assert site.request(request).undelivered == []
    for path, content in FILES.items():
        if content is not None:
            assert (site.destinations / "back" / path).read_bytes() == content
    assert (site.destinations / "back" / "e").is_dir()
    assert (site.destinations / "back" / "link").readlink().name == "a.txt"


def test_p11_rebuilding_twice_brings_nothing_new(filled: tuple[SmallSite, list[str]]) -> None:
    site, made = filled
    forget(site)
    rebuild(site)
    before = [told(site, dataset) for dataset in made]
    counts = site.rows("select (select count(*) from copy) as copies, (select count(*) from listing) as blocks")
    found = rebuild(site)
    assert (found.packages, found.copies, found.problems) == (0, 0, [])
    assert [told(site, dataset) for dataset in made] == before
    assert site.rows("select (select count(*) from copy) as copies, (select count(*) from listing) as blocks") == counts


def test_a_catalogue_that_is_in_use_is_not_rebuilt(filled: tuple[SmallSite, list[str]]) -> None:
    site, _ = filled
    with pytest.raises(Conflict, match="not empty"):
        rebuild(site)


def test_a_package_that_is_on_no_tape_is_reported(filled: tuple[SmallSite, list[str]]) -> None:
    site, made = filled
    gone = site.show(made[0]).packages[1]
    forget(site)
    for name in site.on_tapes():
        if gone.name in name:
            (site.library / name).unlink()
            serial = name.partition("/")[0]
            with site.archive.library.sessions([serial], "write") as (session,):
                session.delete(gone.name)
                session.sync("lost")
    found = rebuild(site)
    assert [(what, "2" in why) for what, why in found.problems] == [(made[0], True)]
    about = site.show(made[0])
    assert about.problem is not None
    assert about.problem.code == "packages-missing"
    assert (about.safe_at, about.availability == "unavailable") == (None, False)
    assert site.show(made[1]).level == "preserved"


def test_a_tape_that_cannot_be_read_does_not_hold_up_the_others(filled: tuple[SmallSite, list[str]]) -> None:
    site, made = filled
    [bad, *_] = site.tapes(made[0])
    forget(site)
    site.faults(Fault(bad, "mount-fails"))
    found = rebuild(site)
    assert [what for what, _ in found.problems] == [bad]
    assert found.datasets == set(made) or found.datasets == {made[0]}
    assert site.show(made[0]).level == "ingested"


def test_files_that_are_not_ours_are_reported_and_left_alone(filled: tuple[SmallSite, list[str]]) -> None:
    site, made = filled
    forget(site)
    ident = "0" * 26
    strange = {"notes.txt": b"hello", f"{ident}.1of1.x.tar.zst": b"not a package", "x.tar.zst": sample(5000)}
    with site.archive.library.sessions(["HF0006L8"], "write") as (session,):
        for name, content in strange.items():
            session.write(name, [content], {})
        session.sync("by somebody else")
    found = rebuild(site)
    problems = dict(found.problems)
    assert sorted(problems) == ["HF0006L8", f"HF0006L8/{ident}.1of1.x.tar.zst"]
    assert problems["HF0006L8"] == "2 files are not ours and were left alone: notes.txt, x.tar.zst."
    assert found.datasets == set(made)
    assert [row["id"] for row in site.rows("select id from dataset order by id")] == sorted(made)


def test_p2_a_copy_that_was_never_read_back_is_read_before_it_counts(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    serial = site.tapes(dataset)[0]
    [package] = site.show(dataset).packages[:1]
    with site.archive.library.sessions([serial], "write") as (session,):
        session.set_attributes(package.name, {"evidence": "{}"})
        session.sync("as if the proof had not been written")
    forget(site)
    rebuild(site)
    assert sorted(copy.state for copy in site.show(dataset).packages[0].copies) == ["verified", "written"]
    site.ran.clear()
    site.drain()
    assert site.show(dataset).level == "preserved"
    assert site.ran.count("check") == 1


@pytest.mark.parametrize("evidence", ["no json", '{"verified_at": "yesterday"}', "[]", '{"verified_at": 5}'])
def test_evidence_that_makes_no_sense_is_no_evidence(site: SmallSite, evidence: str) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    serial = site.tapes(dataset)[0]
    [package] = site.show(dataset).packages
    with site.archive.library.sessions([serial], "write") as (session,):
        session.set_attributes(package.name, {"evidence": evidence})
        session.sync("nonsense")
    forget(site)
    rebuild(site)
    site.drain()
    assert site.show(dataset).level == "preserved"


def test_two_datasets_of_one_folder_are_both_rebuilt(site: SmallSite) -> None:
    made = []
    for content in (b"first", b"second"):
        made.append(site.archive_folder({"a": content}))
        site.drain()
        free.want_release(site.archive, made[-1], person="tester", apply=True)
        site.drain()
    forget(site)
    assert rebuild(site).problems == []
    assert [site.show(dataset).level for dataset in made] == ["preserved", "preserved"]
    assert [bool(site.show(dataset).source_released_at) for dataset in made] == [True, False]


def test_p6_a_rebuild_that_was_killed_is_completed_by_the_next(
    filled: tuple[SmallSite, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    site, made = filled
    forget(site)

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(service, "_complete", killed)
        with pytest.raises(Killed):
            rebuild(site)
    rebuild(site)
    assert all(site.show(dataset).safe_at for dataset in made)


def test_p2_a_lost_copy_does_not_come_back_as_verified(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": sample(50_000)})
    site.drain()
    [package] = site.show(dataset).packages
    bad = site.tapes(dataset)[0]
    with (site.library / bad / package.name).open("r+b") as file:
        file.seek(1000)
        file.write(bytes(5000))
    check.want_check(site.archive, dataset, person="tester")
    site.drain()
    assert bad not in site.tapes(dataset)
    forget(site)
    rebuild(site)
    assert bad not in site.tapes(dataset)
