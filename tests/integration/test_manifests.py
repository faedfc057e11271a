# SPDX-License-Identifier: Apache-2.0
"""P5: manifests make a rebuild quick and change nothing of what it finds."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from answers import catalogue, forget, rebuild, write_manifests, writing

from holdfast.services.manifest import write_manifest
from holdfast.testing.faults import sample
from holdfast.testing.site import SmallSite

_MB = 1_000_000
FILES = {
    "a/x": b"",
    "a-": b"1",
    "sub/b.bin": sample(2_500_000, "b"),
    "sub/c": sample(9_000),
    "e": None,
    "big": sample(4_000_000),
}


@pytest.fixture
def filled(make_site: Callable[..., SmallSite], samples: Path) -> SmallSite:
    """An archive with bags and plain packages, odd names and a file in parts."""
    site = make_site(library__capacity=12 * _MB, library__tapes=6)
    folder = site.fill(FILES, name="one")
    subprocess.run(["tar", "-xf", samples / "odd-names.tar", "-C", folder], check=True)
    (folder / "link").symlink_to("a-")
    os.setxattr(folder / "a-", "user.key", b"\0value")
    site.register(folder, title="Größe 測定", metadata={"energy": 12.4, "n": 3})
    site.archive_folder({"only": b"x"}, name="two", profile="single-tape")
    site.archive_folder(
        {"image.fits": sample(70_000), "b/none": None, "c.h5": b""}, name="three", profile="plain-twin-tape"
    )
    site.drain()
    return site


def test_p5_each_write_session_leaves_a_manifest_from_which_its_packages_are_known(filled: SmallSite) -> None:
    before = catalogue(filled)
    assert {name.partition("/")[0] for name in filled.manifests()} == {
        row["tape"] for row in filled.rows("select tape from copy")
    }
    forget(filled)
    found = rebuild(filled)
    assert (found.opened, found.problems) == (0, [])
    assert {key: len(rows) for key, rows in catalogue(filled).items()} == {
        key: len(rows) for key, rows in before.items()
    }


def test_p5_with_manifests_or_without_the_catalogue_is_the_same(filled: SmallSite) -> None:
    filled.drop_manifests()
    forget(filled)
    plain = rebuild(filled)
    assert (plain.problems, plain.manifests, plain.opened) == ([], 0, plain.packages)
    before = catalogue(filled)
    assert len(before["package"]) > 6
    write_manifests(filled)
    forget(filled)
    found = rebuild(filled)
    assert found.problems == []
    assert found.opened == 0
    assert found.manifests == len(filled.manifests()) > 1
    assert (found.packages, found.copies, found.datasets) == (plain.packages, plain.copies, plain.datasets)
    assert catalogue(filled) == before
    filled.drop_manifests()
    forget(filled)
    assert rebuild(filled).opened == plain.packages
    assert catalogue(filled) == before


def test_no_packages_make_no_manifest(filled: SmallSite) -> None:
    filled.drop_manifests()
    with writing(filled, "HF0001L8") as session:
        write_manifest(filled.archive, session, [])
        write_manifest(filled.archive, session, ["0" * 26 + ".1"])
    assert filled.manifests() == []


def test_a_damaged_manifest_is_reported_and_the_packages_are_opened(filled: SmallSite) -> None:
    write_manifests(filled)
    name, *_ = filled.manifests()
    with (filled.library / name).open("r+b") as file:
        file.seek(50)
        file.write(b"\0\1\2\3")
    forget(filled)
    found = rebuild(filled)
    assert [(what, "checksum" in why) for what, why in found.problems] == [(name, True)]
    assert all(row["safe_at"] for row in filled.rows("select safe_at from dataset"))


def test_a_manifest_is_believed_only_where_the_tape_has_the_same(filled: SmallSite) -> None:
    """A package that was written again, or is gone, is what the tape has and not what a manifest said."""
    write_manifests(filled)
    [gone, moved, *_] = filled.rows("select name, tape from copy join package on package.id = copy.package "
                                    "where packaging = 'bag' and tape = (select min(tape) from copy) order by name")  # fmt: skip
    with writing(filled, gone["tape"]) as session:
        session.delete(gone["name"])
        content = [bytes(chunk) for chunk in session.read(moved["name"])]
        file = session.find(moved["name"])
        assert file
        session.delete(moved["name"])
        session.write(moved["name"], content, file.attributes)
    forget(filled)
    found = rebuild(filled)
    assert found.problems == []
    rows = filled.rows("select name from copy join package on package.id = copy.package where tape = %s", gone["tape"])
    names = {row["name"] for row in rows}
    assert moved["name"] in names
    assert gone["name"] not in names


def test_a_newer_manifest_adds_to_the_older_ones(filled: SmallSite) -> None:
    filled.drop_manifests()
    rows = filled.rows("select tape, array_agg(package) as packages from copy group by tape order by tape")
    for row in rows:
        with writing(filled, row["tape"]) as session:
            for package in row["packages"]:
                write_manifest(filled.archive, session, [package])
            write_manifest(filled.archive, session, row["packages"][:1])
    assert len(filled.manifests()) == sum(len(row["packages"]) + 1 for row in rows)
    forget(filled)
    found = rebuild(filled)
    assert (found.opened, found.problems) == (0, [])
