# SPDX-License-Identifier: Apache-2.0
"""The whole story, in one process: archive, prove, release, get back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.errors import AlreadyArchived, Conflict
from holdfast.services import check, free, show
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

FILES = {"a.txt": b"alpha", "sub/b.bin": sample(300_000, "b"), "sub/deep/c": b"", "none": None}


def same(one: Path, other: Path) -> bool:
    """Say whether two trees are equal, links compared as links."""
    return subprocess.run(["diff", "-r", "--no-dereference", one, other], check=False).returncode == 0


def test_a_dataset_goes_onto_two_tapes_is_proven_and_frees_staging(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES, metadata={"sample": "LaB6", "energy": 12.4})
    site.drain()
    found = site.show(dataset)
    assert (found.state, found.level, found.availability) == ("closed", "preserved", "online")
    assert (found.files, found.bytes) == (3, 300_005)
    assert found.metadata == {"sample": "LaB6", "energy": 12.4}
    assert found.pending == []
    [package] = found.packages
    assert package.state == "released"
    assert [copy.state for copy in package.copies] == ["verified", "verified"]
    assert len({copy.tape for copy in package.copies}) == 2
    assert {copy.blake3 for copy in package.copies} == {package.blake3}
    assert all(copy.drive and copy.rate and copy.generation for copy in package.copies)
    assert site.staged() == []


def test_p3_safe_is_reported_once_with_the_evidence(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    site.drain()
    [safe] = site.events("dataset.safe")
    assert safe.dataset == dataset
    assert sorted(item["tape"] for item in safe.body["evidence"]) == sorted(site.tapes(dataset))
    assert all(item["verified_at"] and item["blake3"] for item in safe.body["evidence"])
    [released] = site.events("package.released")
    assert len(released.body["evidence"]) == 2


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], ["a.txt", "none", "sub/b.bin", "sub/deep/c"]),
        ([b"sub"], ["sub/b.bin", "sub/deep/c"]),
        ([b"sub/b.bin"], ["sub/b.bin"]),
        ([b"a.txt", b"sub/deep"], ["a.txt", "sub/deep/c"]),
    ],
)
def test_get_brings_all_a_folder_or_a_file(site: SmallSite, paths: list[bytes], expected: list[str]) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    request = site.ask(dataset, paths)
    site.drain()
    found = site.request(request)
    assert (found.state, found.failed_files, found.undelivered) == ("delivered", 0, [])
    assert found.done_files == found.files
    back = site.destinations / "back"
    leaves = [p for p in back.rglob("*") if p.is_file() or not any(p.iterdir())]
    assert sorted(str(p.relative_to(back)) for p in leaves) == expected
    for path in expected:
        if (content := FILES[path]) is not None:
            assert (back / path).read_bytes() == content


def test_the_whole_comes_back_as_it_was(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    folder = site.sources / "run"
    (folder / "link").symlink_to("sub/b.bin")
    (folder / "dangling").symlink_to("not there")
    os.utime(folder / "a.txt", ns=(1, 1_234_567_890_123_456_789))
    (folder / "a.txt").chmod(0o640)
    site.drain()
    site.ask(dataset)
    site.drain()
    back = site.destinations / "back"
    assert same(folder, back)
    assert (back / "a.txt").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (back / "a.txt").stat().st_mode & 0o7777 == 0o640


def test_p10_a_link_that_leads_outside_is_named_and_the_rest_comes(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    (site.sources / "run" / "outside").symlink_to("/etc/passwd")
    site.drain()
    request = site.ask(dataset)
    site.drain()
    found = site.request(request)
    assert (found.state, found.done_files) == ("delivered", 3)
    assert [item.path for item in found.undelivered] == ["outside"]
    assert "/etc/passwd" in found.undelivered[0].sentence or "outside" in found.undelivered[0].sentence
    assert not (site.destinations / "back" / "outside").is_symlink()


def test_odd_names_links_and_depth_survive(site: SmallSite, samples: Path) -> None:
    folder = site.fill({"empty/one": None})
    subprocess.run(["tar", "-xf", samples / "odd-names.tar", "-C", folder], check=True)
    deep = "/".join(f"level{number:02}" for number in range(60))
    site.fill({f"{deep}/bottom": b"deep"})
    dataset = site.register(folder)
    site.drain()
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).undelivered == []
    assert same(folder, site.destinations / "back")


def test_verify_reads_every_copy_again(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    site.drain()
    before = {copy.id: copy.verified_at for copy in site.show(dataset).packages[0].copies}
    site.ran.clear()
    asked = check.want_check(site.archive, dataset, person="tester")
    assert sorted(asked.copies) == sorted(before)
    site.drain()
    after = {copy.id: copy.verified_at for copy in site.show(dataset).packages[0].copies}
    assert all(after[ident] > at for ident, at in before.items() if at)  # type: ignore[operator]
    assert site.ran.count("check") == 2


def test_p11_a_folder_is_archived_once(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    with pytest.raises(AlreadyArchived, match=dataset):
        site.register(site.sources / "run")
    site.drain()
    with pytest.raises(AlreadyArchived, match=dataset):
        site.register(site.sources / "run")


def test_p3_release_is_planned_printed_and_then_applied(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    folder = site.sources / "run"
    site.drain()
    plan = free.want_release(site.archive, dataset, person="tester", apply=False)
    site.drain()
    found = show.release(site.archive, plan)
    assert (found.state, found.files, found.bytes, found.kept, found.removed) == ("planned", 3, 300_005, 0, 0)
    assert len(found.evidence) == 2
    assert (folder / "a.txt").exists()
    done = free.want_release(site.archive, dataset, person="tester", apply=True)
    site.drain()
    found = show.release(site.archive, done)
    assert (found.state, found.removed) == ("done", 3)
    assert list(folder.iterdir()) == []
    assert site.show(dataset).availability == "nearline"
    [released] = site.events("source.released")
    assert released.body["removed"] == 3
    with pytest.raises(AlreadyArchived):
        site.register(folder)


def test_p3_a_source_that_is_not_safe_is_not_released(site: SmallSite) -> None:
    dataset = site.archive_folder(FILES)
    for state in ("open", "closing", "closed"):
        site.drain(until=lambda state=state: site.show(dataset).state == state)  # type: ignore[misc]
        with pytest.raises(Conflict, match="not safe yet"):
            free.want_release(site.archive, dataset, person="tester", apply=True)
    assert (site.sources / "run" / "a.txt").exists()


@pytest.mark.parametrize("when", ["before the plan", "between plan and apply"])
def test_p3_only_what_is_identical_is_removed(site: SmallSite, when: str) -> None:
    dataset = site.archive_folder({**FILES, "same size": b"one", "gone": b"gone", "grown": b"g", "l": b"was a file"})
    folder = site.sources / "run"
    site.drain()

    def change() -> None:
        (folder / "same size").write_bytes(b"two")
        (folder / "grown").write_bytes(b"grown")
        (folder / "gone").unlink()
        (folder / "l").unlink()
        (folder / "l").symlink_to("a.txt")
        (folder / "new").write_bytes(b"came later")

    def planned() -> bool:
        return bool(site.events("source.releasing"))

    if when == "before the plan":
        change()
    ident = free.want_release(site.archive, dataset, person="tester", apply=True)
    if when != "before the plan":
        site.rows("update release set apply = false")
        site.drain()
        assert show.release(site.archive, ident).state == "planned"
        change()
        site.rows("update release set apply = true")
    site.drain()
    assert planned()
    found = show.release(site.archive, ident)
    assert found.state == "done"
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) == ["grown", "l", "new", "same size"]
    if when == "before the plan":
        assert {item.path for item in found.differing} == {"gone", "grown", "l", "same size"}
        assert found.kept == 3


def test_several_archives_of_the_same_words_do_not_meet(make_site: Callable[..., SmallSite]) -> None:
    site = make_site()
    first = site.archive_folder({"x": b"1"}, name="one", title="same")
    second = site.archive_folder({"x": b"2"}, name="two", title="same")
    site.drain()
    site.ask(first, to="first")
    site.ask(second, to="second")
    site.drain()
    assert (site.destinations / "first" / "x").read_bytes() == b"1"
    assert (site.destinations / "second" / "x").read_bytes() == b"2"
