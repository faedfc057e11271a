# SPDX-License-Identifier: Apache-2.0
"""Plain packages: a file as it is, and a sidecar that says what it is and is not believed blindly."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from holdfast.errors import (
    Cancelled,
    Conflict,
    Damaged,
    DigestMismatch,
    HoldfastError,
    IntegrityError,
    InvalidInput,
    NotAPackage,
    SourceChanged,
    SourceUnreadable,
)
from holdfast.model.entry import Entry
from holdfast.packaging import layout
from holdfast.packaging.extract import extract
from holdfast.packaging.plain import read_sidecar, write_plain
from holdfast.packaging.writer import Written
from holdfast.testing.faults import sample
from holdfast.testing.packages import DOCUMENTS, MemorySource, pack_plain, sample_identity, scan

CONTENT = sample(9_000_000, "image")  # more than two reads


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "sub" / "empty").mkdir(parents=True)
    (root / "sub" / "image.fits").write_bytes(CONTENT)
    (root / "sub" / "link").symlink_to("image.fits")
    return root


@pytest.fixture
def written(source: Path, tmp_path: Path) -> Written:
    return pack_plain(source, tmp_path / "package", scan(source))


def text_of(written: Written) -> bytes:
    assert written.sidecar is not None
    return written.sidecar


def test_the_package_is_the_file_and_the_sidecar_says_so(source: Path, written: Written, tmp_path: Path) -> None:
    assert (tmp_path / "package").read_bytes() == CONTENT
    assert (written.size, written.digest) == (len(CONTENT), blake3(CONTENT).hexdigest())
    said = json.loads(text_of(written))
    assert said["file"] == {
        "name": "sub/image.fits",
        "size": len(CONTENT),
        "sha512": hashlib.sha512(CONTENT).hexdigest(),
        "blake3": written.digest,
    }
    assert said["format"] == {"major": 1, "minor": 0, "name": "holdfast-package"}
    assert [entry["path"] for entry in said["tree"]["entries"]] == ["sub/empty", "sub/image.fits", "sub/link"]
    assert said["documents"]["metadata/dataset.json"] == {"title": "Sample"}
    assert said["documents"]["metadata/events.jsonl"] == [{"type": "close"}]
    read = read_sidecar(MemorySource(text_of(written)))
    assert read.identity == sample_identity(scan(source))
    assert (read.members, read.size, read.digest) == (written.members, written.size, written.digest)
    assert {name: json.loads(text) for name, text in read.documents.items()} == {
        name: json.loads(text) for name, text in DOCUMENTS.items()
    }


def test_the_same_source_gives_the_same_sidecar(source: Path, written: Written, tmp_path: Path) -> None:
    assert text_of(pack_plain(source, tmp_path / "again", scan(source))) == text_of(written)


def test_attributes_with_any_name_stand_in_valid_json(source: Path, tmp_path: Path) -> None:
    attributes = (("user.m\udcff", b"\0\xff"), ("user.ok", b"x"))
    entries = [entry._replace(xattrs=attributes) if entry.kind == "file" else entry for entry in scan(source)]
    text = text_of(pack_plain(source, tmp_path / "odd", entries))
    text.decode()
    [item] = [packed for packed in read_sidecar(MemorySource(text)).members if packed.entry.kind == "file"]
    assert item.entry.xattrs == attributes


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda file: file.write_bytes(CONTENT[:-1]), SourceChanged),
        (lambda file: os.utime(file, ns=(1, 1)), SourceChanged),
        (lambda file: file.unlink(), SourceChanged),
        (lambda file: (file.unlink(), file.symlink_to("link")), SourceChanged),
        (lambda file: (file.parent / "link").rename(file), SourceChanged),
    ],
)
def test_a_source_that_changed_since_the_scan_is_refused(
    source: Path, tmp_path: Path, spoil: Callable[[Path], object], error: type[HoldfastError]
) -> None:
    entries = scan(source)
    spoil(source / "sub" / "image.fits")
    with pytest.raises(error):
        pack_plain(source, tmp_path / "package", entries)
    assert not (tmp_path / "package").exists()


def test_a_source_that_changes_while_it_is_read_is_refused(source: Path, tmp_path: Path) -> None:
    entries = scan(source)

    def change(_files: int, done: int) -> None:
        if done < len(CONTENT):
            (source / "sub" / "image.fits").write_bytes(CONTENT)  # a new time

    with pytest.raises(SourceChanged):
        write_plain(
            sample_identity(entries), entries, root=source, documents={}, sinks=[tmp_path / "package"], progress=change
        )
    assert not (tmp_path / "package").exists()


def test_a_source_that_is_not_there_is_unreadable(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable):
        pack_plain(tmp_path / "elsewhere", tmp_path / "package", scan(source))


def test_cancelling_leaves_nothing(source: Path, tmp_path: Path) -> None:
    entries = scan(source)
    with pytest.raises(Cancelled):
        write_plain(
            sample_identity(entries), entries, root=source, documents={}, sinks=[tmp_path / "package"],
            cancelled=lambda: True,
        )  # fmt: skip
    assert not (tmp_path / "package").exists()


@pytest.mark.usefixtures("written")
def test_a_file_that_is_there_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        pack_plain(source, tmp_path / "package", scan(source))
    assert (tmp_path / "package").read_bytes() == CONTENT


def test_a_plain_package_holds_exactly_one_file(source: Path, tmp_path: Path) -> None:
    (source / "second").write_bytes(b"2")
    for entries in (scan(source), [entry for entry in scan(source) if entry.kind != "file"]):
        with pytest.raises(InvalidInput, match="holds one file"):
            pack_plain(source, tmp_path / "package", entries)


def delivered(source: MemorySource, written: Written, target: Path) -> dict[bytes, HoldfastError]:
    problems: dict[bytes, HoldfastError] = {}

    def problem(entry: Entry, error: HoldfastError) -> None:
        problems[entry.path] = error

    extract(source, written.members, target, plain=True, on_done=lambda _: None, on_problem=problem)
    return problems


def test_delivery_brings_file_link_and_folder(written: Written, tmp_path: Path) -> None:
    assert delivered(MemorySource(CONTENT), written, tmp_path / "out") == {}
    assert (tmp_path / "out" / "sub" / "image.fits").read_bytes() == CONTENT
    assert (tmp_path / "out" / "sub" / "link").readlink() == Path("image.fits")
    assert (tmp_path / "out" / "sub" / "empty").is_dir()
    assert delivered(MemorySource(b""), written, tmp_path / "out") == {}  # it is there: nothing is read


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_file_gets_no_name(written: Written, tmp_path: Path, damage: str) -> None:
    content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]) if damage == "flip" else CONTENT[:-1]
    problems = delivered(MemorySource(content), written, tmp_path / "out")
    assert {path: type(error) for path, error in problems.items()} == {
        b"sub/image.fits": DigestMismatch if damage == "flip" else Damaged
    }
    assert sorted(path.name for path in (tmp_path / "out" / "sub").iterdir()) == ["empty", "link"]


# ---- a sidecar is input ----


def set_to(*keys: str, to: object) -> Callable[[dict[str, Any]], object]:
    def change(value: dict[str, Any]) -> None:
        *outer, last = keys
        for key in outer:
            value = value[int(key)] if isinstance(value, list) else value[key]
        value[last] = to

    return change


@pytest.mark.parametrize(
    "change",
    [
        set_to("file", to=None),
        set_to("file", to=[]),
        set_to("file", "sha512", to="00"),
        set_to("file", "sha512", to="x" * 128),
        set_to("file", "blake3", to=""),
        set_to("file", "size", to=-1),
        set_to("file", "size", to=float("inf")),
        set_to("file", "name", to="other"),
        set_to("tree", to=5),
        set_to("tree", "entries", to=5),
        set_to("tree", "entries", to=[]),
        set_to("tree", "entries", "1", "path", to="../../etc/passwd"),
        set_to("tree", "entries", "1", "name64", to="Li4v"),
        set_to("tree", "entries", "1", "mtime_ns", to=float("inf")),
        set_to("tree", "entries", "1", "kind", to="link"),
        set_to("tree", "entries", "0", "kind", to="file"),
        set_to("tree", "entries", "1", "xattrs", to={"security.capability": ""}),
        set_to("documents", to=3),
        set_to("documents", "metadata/events.jsonl", to=3),
        set_to("format", "major", to=2),
        set_to("format", "name", to="other"),
        set_to("title", to="\ud800"),
        set_to("created", to="yesterday"),
    ],
)
def test_a_sidecar_that_makes_no_sense_is_refused(written: Written, change: Callable[[Any], object]) -> None:
    value = json.loads(text_of(written))
    change(value)
    with pytest.raises((IntegrityError, NotAPackage)):
        read_sidecar(MemorySource(json.dumps(value).encode()))


@pytest.mark.parametrize("text", [b"", b"\xff", b"[]", b"null", b"{}", b"[" * 100_000, b"9" * 5000])
def test_what_is_no_sidecar_is_refused(text: bytes) -> None:
    with pytest.raises((Damaged, NotAPackage)):
        read_sidecar(MemorySource(text))


def test_a_sidecar_larger_than_any_real_one_is_not_read() -> None:
    huge = MemorySource(b"")
    huge.size = layout.SIDECAR_LIMIT + 1
    with pytest.raises(Damaged, match="larger"):
        read_sidecar(huge)
    assert huge.reads == []
