# SPDX-License-Identifier: Apache-2.0
"""Reading a package: from its first frame, from its end, one file of it; and packages that lie."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.errors import Damaged, DigestMismatch, NotAPackage, UnsafePackage
from holdfast.packaging import layout, reader, unit
from holdfast.packaging.check import blake3_of, check_package
from holdfast.packaging.frames import FrameMaker, decoded, skippable
from holdfast.packaging.identity import Identity
from holdfast.packaging.index import parse_index
from holdfast.packaging.reader import identify, open_package, read_file
from holdfast.packaging.tarheader import header, header_size, parse_block, parse_pax
from holdfast.packaging.writer import PackOptions, Written
from holdfast.testing.packages import DOCUMENTS, MemorySource, pack, sample_identity, scan

SMALL_FRAMES = PackOptions(frame_size=8192)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "empty").mkdir(parents=True)
    for number in range(20):
        (folder / f"{number:02}").write_bytes(os.urandom(number * 900))
    (folder / "bad\udcff name ").write_bytes(b"odd")
    (folder / "link").symlink_to("01")
    (folder / "large").write_bytes(os.urandom(100_000))
    return folder


@pytest.fixture
def written(root: Path, tmp_path: Path) -> Written:
    return pack(root, tmp_path / "p", options=SMALL_FRAMES)


@pytest.fixture
def source(written: Written, tmp_path: Path) -> MemorySource:
    assert written.size == (tmp_path / "p").stat().st_size
    return MemorySource((tmp_path / "p").read_bytes())


def test_the_first_frame_identifies_a_package_without_end(source: MemorySource, root: Path) -> None:
    first = open_package(source).frames[0].size
    expected = sample_identity(scan(root))
    assert identify(MemorySource(source.content[:first])) == expected
    assert identify(source) == expected
    assert expected.source_path == b"/data/\xff"


def test_the_listing_is_what_was_packed_and_the_payload_is_not_read(source: MemorySource, written: Written) -> None:
    package = open_package(source)
    source.reads.clear()
    assert tuple(package.listing()) == written.members
    payload_end = max(item.location.frame for item in written.members)
    assert min(offset for offset, _ in source.reads) > payload_end


def test_documents_come_back_as_they_were_given(source: MemorySource) -> None:
    found = open_package(source).documents()
    assert DOCUMENTS.items() <= found.items()
    assert {"holdfast.json", "bagit.txt", "bag-info.txt", "metadata/tree.json"} <= found.keys()
    assert json.loads(found["metadata/tree.json"])["version"] == 1


def test_every_file_is_read_by_its_location(source: MemorySource, written: Written, root: Path) -> None:
    for item in written.members:
        if item.entry.kind == "file":
            content = (os.fsencode(root) + b"/" + item.entry.path,)
            with open(content[0], "rb") as original:
                assert b"".join(read_file(source, item)) == original.read()


def test_a_wrong_digest_is_raised_after_the_last_chunk(source: MemorySource, written: Written) -> None:
    item = next(item for item in written.members if item.entry.path == b"05")
    wrong = item._replace(location=item.location._replace(digest=bytes(64)))
    with pytest.raises(DigestMismatch):
        list(read_file(source, wrong))


def test_reading_beyond_the_package_is_damage(source: MemorySource, written: Written) -> None:
    item = next(item for item in written.members if item.entry.path == b"large")
    with pytest.raises(Damaged):
        list(read_file(MemorySource(source.content[: item.location.frame + 9000]), item))
    with pytest.raises(Damaged):
        list(read_file(source, item._replace(location=item.location._replace(frame=10**9))))


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"\x28\xb5\x2f\xfd" + b"x" * 5000, bytes(20)])
def test_other_files_are_no_packages(content: bytes) -> None:
    for call in (identify, open_package):
        with pytest.raises(NotAPackage):
            call(MemorySource(content))
    assert check_package(MemorySource(content))


def test_a_tar_of_something_else_is_no_package() -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("something"))
    with pytest.raises(NotAPackage, match=r"not holdfast\.json"):
        identify(MemorySource(FrameMaker(1).make(raw.getvalue())))


@pytest.mark.parametrize("change", [{"major": 2}, {"name": "other"}, {"major": None}])
def test_unknown_versions_are_refused(root: Path, change: dict[str, object]) -> None:
    value = json.loads(sample_identity(scan(root)).to_json())
    value["format"].update(change)
    with pytest.raises(NotAPackage):
        Identity.from_json(json.dumps(value).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"format":1}', b"[" * 100_000])
def test_malformed_identities_are_refused(text: bytes) -> None:
    with pytest.raises(NotAPackage):
        Identity.from_json(text)


def test_a_sound_package_has_no_findings(source: MemorySource, written: Written) -> None:
    assert check_package(source) == []
    assert blake3_of(source.read(0, None)) == written.digest


def test_the_deep_check_finds_a_member_that_no_manifest_names(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = unit.manifest_line
    monkeypatch.setattr(unit, "manifest_line", lambda name, sha: b"" if name == b"data/07" else line(name, sha))
    pack(root, tmp_path / "hostile")
    hostile = MemorySource((tmp_path / "hostile").read_bytes())
    assert {finding.code for finding in check_package(hostile)} == {"unsafe-package"}
    with pytest.raises(UnsafePackage, match="no manifest names it"):
        list(open_package(hostile).listing())


def test_the_deep_check_finds_a_manifest_that_lies(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = unit.manifest_line
    monkeypatch.setattr(unit, "manifest_line", lambda name, sha: line(name, sha[::-1] if name == b"data/07" else sha))
    pack(root, tmp_path / "hostile")
    findings = check_package(MemorySource((tmp_path / "hostile").read_bytes()))
    assert [(finding.code, finding.name) for finding in findings] == [("digest-mismatch", "data/07")]


def test_a_tree_that_gives_another_name_is_refused(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = unit.plain_tree_line
    evil = b',"name64":"Li4vLi4vZXRjL3Bhc3N3ZA=="}'  # ../../etc/passwd
    monkeypatch.setattr(
        unit, "plain_tree_line", lambda name, *rest: line(name, *rest)[:-1] + (evil if name == '"data/07"' else b"}")
    )
    pack(root, tmp_path / "hostile")
    hostile = MemorySource((tmp_path / "hostile").read_bytes())
    with pytest.raises(UnsafePackage):
        list(open_package(hostile).listing())
    assert check_package(hostile)


def test_a_frame_that_expands_for_ever_is_taken_in_small_pieces(source: MemorySource) -> None:
    bomb = FrameMaker(1).make(bytes(1 << 30))
    assert len(next(decoded([bomb], "bomb"))) <= 1 << 20
    index = skippable(layout.INDEX_MAGIC, layout.INDEX_MARK + bomb)
    with pytest.raises(Damaged):
        for _ in parse_index(index, "bomb"):
            pass
    package = open_package(source)
    row = replace(package.members[-1], size=1 << 40)
    with pytest.raises(UnsafePackage):
        reader.Package(source, package.identity, package.frames, (row,)).documents()


def test_a_seek_table_that_lies_is_refused(source: MemorySource) -> None:
    for position in (5, 9, 12, 20):
        changed = bytearray(source.content)
        changed[-position] ^= 0x55
        assert check_package(MemorySource(bytes(changed)))


@pytest.mark.parametrize(
    ("name", "size", "uid", "mtime"),
    [
        ("data/plain", 5, 1000, 1_700_000_000),
        ("data/" + "n" * 95, 0, 0, 0),
        ("data/" + "d/" * 60 + "n" * 90, 1, 0, 0),
        ("data/" + "n" * 250, 1, 0, 0),
        ("data/ångström", 1, 0, 0),
        ("data/huge", 8 << 30, 0, 0),
        ("data/owner", 1, 3_000_000, 0),
        ("data/old", 1, 0, -5),
        ("data/" + "é" * 100 + "/" + "x" * 200, 9 << 30, 1 << 31, 1 << 34),
    ],
)
def test_headers_mean_to_tarfile_what_they_mean_to_us(name: str, size: int, uid: int, mtime: int) -> None:
    blocks = header(name.encode(), size, 0o640, uid, 7, mtime)
    assert header_size(name.encode(), size, uid, 7, mtime) == len(blocks)
    assert len(blocks) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(blocks + bytes(1024))) as tar:
        found = tar.next()
    assert found is not None
    assert (found.name, found.size, found.uid, found.gid, found.mtime) == (name, size, uid, 7, mtime)
    assert found.mode == 0o640
    if len(blocks) == 512:
        assert parse_block(blocks, "here").name == name.encode()


@pytest.mark.parametrize("body", [b"x", b"99 a=b\n", b"5 a=b", b"0 a=b\n"])
def test_malformed_pax_headers_are_damage(body: bytes) -> None:
    with pytest.raises(Damaged):
        parse_pax(body, "here")
