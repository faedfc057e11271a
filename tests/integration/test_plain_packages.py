# SPDX-License-Identifier: Apache-2.0
"""Files stored as they are, each with its sidecar, through their whole life."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from answers import copies, forget, preserved, rebuild, told
from blake3 import blake3

from holdfast.catalog import listings
from holdfast.catalog.queries import tapes
from holdfast.model.names import sidecar_name
from holdfast.services import check, free, planner, show
from holdfast.tape.faults import Fault
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite
from holdfast.wire.datasets import Package

_MB = 1_000_000
PROFILE = "plain-twin-tape"
BIG = sample(2_300_000, "big")
IMAGE = sample(700_000, "image")
FILES = {"a/night.image.fits": IMAGE, "b/empty.h5": b"", "b/scan.h5": sample(300_000, "scan"), "none": None}


@pytest.fixture
def small(make_site: Callable[..., SmallSite]) -> SmallSite:
    """An archive whose packages hold at most 1 MB."""
    return make_site(library__capacity=5 * _MB, library__reserve=1 * _MB, library__tapes=16)


@pytest.fixture
def odd(samples: Path) -> Callable[[SmallSite], str]:
    """A function that archives odd names, links, an empty file, folders and a file in parts."""

    def archive(site: SmallSite) -> str:
        folder = site.fill({**FILES, "big": BIG})
        subprocess.run(["tar", "-xf", samples / "odd-names.tar", "-C", folder], check=True)
        (folder / "a" / "link").symlink_to("night.image.fits")
        (folder / "zz-last").symlink_to("a")
        return site.register(folder, profile=PROFILE)

    return archive


def content_of(folder: Path) -> dict[bytes, bytes | str]:
    """Return every path below a folder with its bytes, "folder" or where the link leads."""
    found: dict[bytes, bytes | str] = {}
    for path in folder.rglob("*"):
        name = os.fsencode(path.relative_to(folder))
        link = os.readlink(path) if path.is_symlink() else None
        found[name] = link or (path.read_bytes() if path.is_file() else "folder")
    return found


def on_tape(site: SmallSite, package: Package) -> list[tuple[str, bytes, bytes]]:
    """Return (tape, payload, sidecar) of each verified copy."""
    serials = [copy.tape for copy in package.copies if copy.state == "verified" and copy.tape]
    return [
        (
            serial,
            (site.library / serial / package.name).read_bytes(),
            (site.library / serial / sidecar_name(package.name)).read_bytes(),
        )
        for serial in serials
    ]


def blocks(site: SmallSite, serial: str) -> dict[str, int]:
    with site.archive.library.sessions([serial], "read") as (session,):
        return {file.name: file.start_block for file in session.list()}


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def one(site: SmallSite) -> tuple[str, Package]:
    """Archive one file and return the dataset and its package."""
    dataset = site.archive_folder({"n.fits": IMAGE}, profile=PROFILE)
    site.drain()
    [package] = site.show(dataset).packages
    return dataset, package


def test_p5_what_is_on_the_tapes_are_the_files_themselves(small: SmallSite, odd: Callable[[SmallSite], str]) -> None:
    dataset = odd(small)
    small.drain()
    preserved(small, dataset)
    source = content_of(small.sources / "run")
    stored: dict[bytes, bytes] = {}
    for package in small.show(dataset).packages:
        assert package.packaging == "plain"
        [(first, payload, text), (second, *others)] = on_tape(small, package)
        assert others == [payload, text]  # the twins are identical
        said = json.loads(text)
        assert (said["dataset"], said["segment"]) == (dataset, package.segment)
        assert said["file"]["sha512"] == hashlib.sha512(payload).hexdigest()
        assert said["file"]["blake3"] == blake3(payload).hexdigest() == package.blake3
        [path] = [item.entry.path for item in _files(small, package)]
        stored[path] = stored.get(path, b"") + payload
        for serial in (first, second):
            places = blocks(small, serial)
            assert not payload or places[sidecar_name(package.name)] < places[package.name]
    assert stored == {path: content for path, content in source.items() if isinstance(content, bytes)}
    names = [package.name for package in small.show(dataset).packages]
    assert sum(name.endswith("+a+night.image.fits") for name in names) == 1
    assert sum(name.endswith("+big.part-0003-of-0003") for name in names) == 1
    known = {f"{copy.tape}/{name}" for p in small.show(dataset).packages for copy in p.copies for name in both(p)}
    assert set(small.on_tapes()) == known


def both(package: Package) -> list[str]:
    return [package.name, sidecar_name(package.name)]


def _files(site: SmallSite, package: Package) -> list[Any]:
    dataset, _, _ = package.id.partition(".")
    with site.archive.database.transaction() as conn:
        return [p for p in listings.of_segment(conn, dataset, package.segment) if p.entry.kind == "file"]


def test_everything_comes_back_is_checked_and_its_source_released(
    small: SmallSite, odd: Callable[[SmallSite], str]
) -> None:
    dataset = odd(small)
    small.drain()
    folder = small.sources / "run"
    source = content_of(folder)
    check.want_check(small.archive, dataset, person="tester")
    request = small.ask(dataset)
    small.drain()
    done = small.request(request)
    assert (done.state, done.undelivered) == ("delivered", [])
    assert done.files == done.done_files == sum(isinstance(content, bytes) for content in source.values())
    assert content_of(small.destinations / "back") == source
    preserved(small, dataset)
    release = free.want_release(small.archive, dataset, person="tester", apply=True)
    small.drain()
    found = show.release(small.archive, release)
    assert (found.state, found.kept) == ("done", 0)
    assert [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()] == []


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([b"a/night.image.fits"], [b"a", b"a/night.image.fits"]),
        ([b"b"], [b"b", b"b/empty.h5", b"b/scan.h5"]),
        ([b"none"], [b"none"]),
    ],
)
def test_one_file_or_one_folder_comes_back(site: SmallSite, asked: list[bytes], expected: list[bytes]) -> None:
    dataset = site.archive_folder(FILES, profile=PROFILE)
    site.drain()
    request = site.ask(dataset, asked)
    site.drain()
    assert site.request(request).state == "delivered"
    back = content_of(site.destinations / "back")
    assert sorted(back) == expected
    assert back.items() <= content_of(site.sources / "run").items()


def test_links_without_any_file_are_packed_as_a_bag(site: SmallSite) -> None:
    folder = site.fill({"none": None})
    (folder / "link").symlink_to("none")
    dataset = site.register(folder, profile=PROFILE)
    site.drain()
    preserved(site, dataset)
    [package] = site.show(dataset).packages
    assert (package.packaging, package.name.endswith(".tar.zst")) == ("bag", True)
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).undelivered == []
    assert content_of(site.destinations / "back") == content_of(folder)
    before = told(site, dataset)
    forget(site)
    assert rebuild(site).problems == []
    assert told(site, dataset) == before


# ---- bad media ----


@pytest.mark.parametrize("which", ["file", "sidecar"])
def test_p2_a_copy_of_which_one_bit_flips_is_found_and_replaced_with_its_sidecar(site: SmallSite, which: str) -> None:
    dataset, package = one(site)
    bad = site.tapes(dataset)[0]
    flip(site.library / bad / (package.name if which == "file" else sidecar_name(package.name)), 300)
    check.want_check(site.archive, dataset, person="tester")
    site.drain()
    preserved(site, dataset)
    assert bad not in site.tapes(dataset)
    [(_, *first), (_, *second)] = on_tape(site, site.show(dataset).packages[0])
    assert first == second
    assert first[0] == IMAGE
    assert [event.body["tape"] for event in site.events("copy.lost")] == [bad]


def test_a_sidecar_that_is_gone_costs_the_copy(site: SmallSite) -> None:
    dataset, package = one(site)
    bad = site.tapes(dataset)[0]
    with site.archive.library.sessions([bad], "write") as (session,):
        session.delete(sidecar_name(package.name))
    check.want_check(site.archive, dataset, person="tester")
    site.drain()
    preserved(site, dataset)
    assert bad not in site.tapes(dataset)


def test_p10_a_damaged_file_is_delivered_from_the_twin(site: SmallSite) -> None:
    dataset, package = one(site)
    flip(site.library / site.tapes(dataset)[0] / package.name, 300)
    request = site.ask(dataset)
    site.drain()
    assert site.request(request).undelivered == []
    assert (site.destinations / "back" / "n.fits").read_bytes() == IMAGE


@pytest.mark.parametrize("kind", ["full", "write-error"])
def test_p10_a_tape_that_ends_within_the_file_does_not_keep_the_sidecar_alone(site: SmallSite, kind: Any) -> None:
    dataset = site.archive_folder({"n.fits": IMAGE}, profile=PROFILE)
    site.faults(Fault("HF0001L8", kind, after_bytes=400_000))
    site.drain()
    preserved(site, dataset)
    assert "HF0001L8" not in site.tapes(dataset)
    left = [name for name in site.on_tapes() if name.startswith("HF0001L8/")]
    assert (left == []) == (kind == "full")  # a broken tape keeps what it has
    forget(site)
    found = rebuild(site)
    assert {name for name, _ in found.problems} == {name for name in left if not name.endswith(".json")}
    assert site.show(dataset).level == "preserved"


# ---- crashes ----


@pytest.mark.parametrize("left", ["sidecar", "file", "another sidecar"])
def test_p6_an_attempt_that_left_one_of_the_two_is_cleaned_and_repeated(site: SmallSite, left: str) -> None:
    dataset = site.archive_folder({"n.fits": IMAGE}, profile=PROFILE)
    site.drain(until=lambda: site.show(dataset).state == "closed")
    [row] = site.rows("select name, digest, sidecar from package")
    beside = (row["sidecar"] if left == "sidecar" else "{}").encode()
    with site.archive.library.sessions(["HF0001L8"], "write") as (session,):
        if left != "file":
            attributes = {"ltfs.hash.blake3sum": blake3(beside).hexdigest()}
            session.write(sidecar_name(row["name"]), [beside], attributes)
        if left != "sidecar":
            session.write(row["name"], [IMAGE], {"ltfs.hash.blake3sum": row["digest"]})
    site.drain()
    preserved(site, dataset)
    [(first, *content), (_, *twin)] = on_tape(site, site.show(dataset).packages[0])
    assert (first, content) == ("HF0001L8", twin)
    assert blocks(site, first)[sidecar_name(row["name"])] < blocks(site, first)[row["name"]]
    assert content[0] == IMAGE


def test_a_retired_copy_leaves_neither_file_nor_sidecar(site: SmallSite) -> None:
    dataset, package = one(site)
    [gone, _] = site.tapes(dataset)
    site.rows("update copy set state = 'retired' where tape = %s", gone)
    planner.plan(site.archive)
    site.drain()
    preserved(site, dataset)
    assert not any(f"{gone}/{name}" in site.on_tapes() for name in both(package))


# ---- rebuild ----


def test_p5_a_rebuild_reads_the_sidecars_alone_and_says_the_same(
    small: SmallSite, odd: Callable[[SmallSite], str]
) -> None:
    dataset = odd(small)
    small.drain()
    before, sidecars = told(small, dataset), small.rows("select id, sidecar from package order by id")
    source = content_of(small.sources / "run")
    small.drop_manifests()
    forget(small)
    names = {name for name in small.on_tapes() if not name.endswith(".holdfast.json")}
    small.faults(*(Fault(tape, "read-error", name=name) for tape, _, name in (n.partition("/") for n in names)))
    assert rebuild(small).problems == []
    small.faults()
    assert told(small, dataset) == before
    assert small.rows("select id, sidecar from package order by id") == sidecars
    small.drain()
    ran = len(small.ran)
    request = small.ask(dataset)
    small.drain()
    assert small.request(request).undelivered == []
    assert content_of(small.destinations / "back") == source
    assert set(small.ran[ran:]) == {"recall"}


@pytest.mark.parametrize("how", ["no sidecar", "no file", "damaged sidecar", "nonsense sidecar", "other file"])
def test_p10_a_copy_without_its_other_half_is_reported_and_replaced(site: SmallSite, how: str) -> None:
    dataset, package = one(site)
    site.drop_manifests()
    [bad, good] = site.tapes(dataset)
    beside = sidecar_name(package.name)
    expected = beside if how == "no file" else package.name
    if how == "damaged sidecar":
        flip(site.library / bad / beside, 300)
    else:
        with site.archive.library.sessions([bad], "write") as (session,):
            session.delete(package.name if how in {"no file", "other file"} else beside)
            if how == "nonsense sidecar":
                session.write(beside, [b"[1, 2"], {})
            if how == "other file":
                session.write(package.name, [b"something else"], {})
    forget(site)
    # One tape after the other: what the twin has told already is not read again, so its damage is left to the next check.
    drive = next(iter(site.archive.library.drives()))
    site.archive.library.lock_out(drive, "one tape at a time")
    found = rebuild(site)
    site.archive.library.put_back(drive)
    assert [name for name, _ in found.problems] == [f"{bad}/{expected}"]
    assert site.tapes(dataset) == [good]
    site.drain()
    preserved(site, dataset)


def test_a_package_under_the_name_of_another_is_reported(site: SmallSite) -> None:
    _, package = one(site)
    name = package.name.replace(".1of1.", ".2of2.")
    [(_, payload, text), _] = on_tape(site, package)
    forget(site)
    with site.archive.library.sessions(["HF0004L8"], "write") as (session,):
        session.write(sidecar_name(name), [text], {})
        session.write(name, [payload], {})
    assert [what for what, _ in rebuild(site).problems] == [f"HF0004L8/{name}"]


def test_the_sidecar_counts_when_room_on_a_tape_is_counted(site: SmallSite) -> None:
    dataset, _ = one(site)
    assert len(copies(site, dataset)) == 2
    with site.archive.database.transaction() as conn:
        before = {row["serial"]: int(row["free"]) for row in tapes.all(conn, "rooms", site=site.archive.site)}
        conn.execute("update copy set state = 'writing'")
        after = {row["serial"]: int(row["free"]) for row in tapes.all(conn, "rooms", site=site.archive.site)}
        [row] = conn.execute("select size + octet_length(sidecar) as bytes from package").fetchall()
    taken = [before[serial] - after[serial] for serial in sorted(before)]
    assert taken == [row["bytes"], row["bytes"], 0, 0]
