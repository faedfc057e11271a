# SPDX-License-Identifier: Apache-2.0
"""`holdfast inspect` on packages, on what is left of packages, and on tapes, without any archive."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.packaging.tapemanifest import Head, Listed, manifest_bytes, manifest_name
from holdfast.testing.packages import pack, pack_plain, sample_identity, scan
from holdfast.testing.program import holdfast

BLOCK = 524_288  # bytes; of LTFS
DATASET = "01arz3ndektsv4rrffq69g5fav"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("source")
    (folder / "empty").mkdir()
    (folder / "big").write_bytes(os.urandom(1_500_000))
    (folder / "small").write_bytes(b"x")
    (folder / "link").symlink_to("small")
    target = folder.with_name("package")
    pack(folder, target)
    return target.read_bytes()


def inspected(path: Path, *options: str, code: int = 0) -> list[dict[str, object]]:
    done = holdfast("inspect", path, "--json", *options)
    assert done.returncode == code, done.stdout + done.stderr
    items: list[dict[str, object]] = json.loads(done.stdout.splitlines()[-1])["items"]
    return items


def test_a_whole_package(package: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any name"
    path.write_bytes(package)
    (found,) = inspected(path, "--deep")
    assert (found["whole"], found["checked"], found["findings"]) == (True, True, [])
    assert (found["files"], found["links"], found["folders"], found["payload"]) == (2, 1, 1, 1_500_001)
    identity = found["identity"]
    assert isinstance(identity, dict)
    assert (identity["dataset"], identity["segment"], identity["segments"]) == (DATASET, 1, 1)
    text = holdfast("inspect", path).stdout
    for words in ("any name", DATASET, "segment 1 of 1", "default, version 3", "2026-01-02", "2 files", "whole; its"):
        assert words in text


def test_a_package_that_was_cut_short(package: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(package[:600_000])
    (found,) = inspected(path, code=7)
    assert not found["whole"]
    assert found["identity"]
    text = holdfast("inspect", path).stdout
    assert "only its beginning can be read" in text
    assert "was to hold 4 entries, 1.5 MB" in text


def test_a_wrong_byte_is_found_by_the_deep_look_only(package: bytes, tmp_path: Path) -> None:
    path = tmp_path / "wrong"
    wrong = bytearray(package)
    wrong[700_000] ^= 1
    path.write_bytes(wrong)
    assert inspected(path)[0]["whole"]
    (found,) = inspected(path, "--deep", code=7)
    assert found["findings"]
    assert "things are wrong" in holdfast("inspect", path, "--deep").stdout


def test_a_tape(package: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar.zst").write_bytes(package)
    (tmp_path / "notes.txt").write_text("not a package")
    (tmp_path / ".hidden").write_text("")
    assert [(item["name"], item["whole"]) for item in inspected(tmp_path)] == [
        ("a.tar.zst", True),
        ("notes.txt", False),
    ]
    text = holdfast("inspect", tmp_path).stdout
    assert "not a package of Holdfast" in text
    assert f"dataset {DATASET}: 1 of 1 packages are here, all of it" in text


def test_what_a_full_recovery_leaves(package: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "_ltfs_lostandfound"
    folder.mkdir()

    def leave(content: bytes, block: int) -> None:
        for begin in range(0, len(content), BLOCK):
            piece = content[begin : begin + BLOCK]
            number = block + begin // BLOCK
            (folder / f"partition1_block{number}_{len(piece)}bytes").write_bytes(piece)

    leave(package, 8)  # so that names do not sort as numbers do
    leave(package[: 2 * BLOCK], 8 + 10)  # cut off; the next one follows at once
    leave(package, 8 + 12)
    leave(b"<index/>", 50)
    names = ["block8_", "block18_", "block20_", "block50_"]
    found = inspected(tmp_path, "--deep", code=7)
    assert [
        str(item["name"]).partition("partition1_")[2][: len(n)] for item, n in zip(found, names, strict=True)
    ] == names
    assert [(bool(item["identity"]), item["whole"]) for item in found] == [
        (True, True), (True, False), (True, True), (False, False),
    ]  # fmt: skip
    assert [item["pieces"] for item in found] == [-(-len(package) // BLOCK), 2, -(-len(package) // BLOCK), 1]
    assert [item["findings"] for item in found] == [[], [], [], []]
    middle = folder / f"partition1_block9_{BLOCK}bytes"
    middle.unlink()
    found = inspected(tmp_path, code=7)
    assert [(item["pieces"], item["whole"]) for item in found][:2] == [
        (1, False),
        (-(-len(package) // BLOCK) - 2, False),
    ]


def test_what_is_not_there_or_no_package(tmp_path: Path) -> None:
    assert holdfast("inspect", tmp_path / "nowhere").returncode == 4
    (tmp_path / "empty").write_bytes(b"")
    assert inspected(tmp_path / "empty", code=2)[0]["why"]


def test_a_plain_package_is_known_by_its_sidecar(tmp_path: Path) -> None:
    source, tape = tmp_path / "source", tmp_path / "tape"
    source.mkdir()
    tape.mkdir()
    (source / "image.fits").write_bytes(os.urandom(300_000))
    written = pack_plain(source, tape / "image.fits", scan(source))
    sidecar = tape / "image.fits.holdfast.json"
    sidecar.write_bytes(written.sidecar or b"")
    for path in (tape, tape / "image.fits", sidecar):
        (found,) = inspected(path, "--deep")
        assert (found["whole"], found["checked"], found["findings"], found["files"]) == (True, True, [], 1)
        assert (found["size"], found["payload"]) == (300_000, 300_000)
    with (tape / "image.fits").open("r+b") as file:
        file.write(b"other")
    (found,) = inspected(tape, "--deep", code=7)
    assert found["findings"]
    (tape / "image.fits").unlink()
    (found,) = inspected(tape, code=7)
    assert (found["whole"], bool(found["identity"])) == (False, True)
    sidecar.write_bytes(b"{}")
    (found,) = inspected(sidecar, code=2)
    assert found["identity"] is None


def test_the_manifest_of_a_tape(tmp_path: Path) -> None:
    head = Head("HF0001L8", "alpha", datetime(2026, 1, 2, tzinfo=UTC), 3)
    listed = Listed("x.tar.zst", 10, 6, "ab" * 32, sample_identity([]))
    data = b"".join(manifest_bytes(head, [(listed, []), (listed, [])]))
    path = tmp_path / manifest_name(head.time, 1)
    path.write_bytes(data)
    (found,) = inspected(path)
    assert (found["whole"], found["packages"]) == (True, 2)
    assert found["manifest"] == {
        "serial": "HF0001L8",
        "site": "alpha",
        "time": "2026-01-02T00:00:00+00:00",
        "generation": 3,
    }
    text = holdfast("inspect", tmp_path).stdout
    assert "manifest of tape HF0001L8, site alpha, 2026-01-02" in text
    assert "it names 2 packages" in text
    path.write_bytes(data[:-20])
    (found,) = inspected(path, code=2)
    assert not found["whole"]
