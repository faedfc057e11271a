# SPDX-License-Identifier: Apache-2.0
"""The manifest of a tape, as a file: what was put in comes out, and what is wrong with it is found."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from holdfast.errors import Damaged, NotAPackage
from holdfast.model.entry import Entry, Location, Packed, Part
from holdfast.packaging.tapemanifest import Head, Listed, Manifest, is_manifest, manifest_bytes, manifest_name
from holdfast.testing.packages import DOCUMENTS, sample_identity

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEAD = Head("HF0001L8", "alpha", AT, 7)
DIGEST = bytes(range(64))
MEMBERS = [
    Packed(Entry(b"a", "file", 5, 1_700_000_000_123_456_789, 0o644, 1, 2), Location(100, 512, DIGEST)),
    Packed(Entry(b"a\xff\n%", "file", 0, -1, 0o600, sparse=True, xattrs=(("user.x", b"\0"),)), Location(0, 0, DIGEST)),
    Packed(Entry(b"e", "directory", 0, 1, 0o755), Location(0, 0, b"")),
    Packed(Entry(b"l", "link", 0, 1, 0o777, target=b"a\xff"), Location(0, 0, b"")),
    Packed(Entry(b"p", "file", 3, 1, 0o644, part=Part(2, 2, 4), whole_size=7), Location(9, 1, DIGEST), DIGEST),
]
BAG = Listed(
    "x.tar.zst",
    1000,
    6,
    "ab" * 32,
    sample_identity([]),
    DOCUMENTS,
    evidence={"written_at": "now"},
    members=len(MEMBERS),
)
NEXT = replace(BAG, name="y.tar.zst", start_block=9)
PLAIN = Listed("z.fits", 5, 12, "cd" * 32, sidecar='{"any":"text\n"}')
ALL = [(BAG, MEMBERS), (NEXT, MEMBERS), (PLAIN, [])]


def canonical(listed: Listed) -> Listed:
    """Return it as it comes back: documents are canonical JSON."""
    documents = {name: text.replace(b"\n", b"") for name, text in listed.documents.items()}
    documents = {name: text + b"\n" if name.endswith("l") else text for name, text in documents.items()}
    return replace(listed, documents=documents)


def whole() -> bytes:
    return b"".join(manifest_bytes(HEAD, ALL))


def read(data: bytes, *, members: bool = True) -> list[tuple[Listed, list[Packed]]]:
    manifest = Manifest([data], "m")
    return [(listed, list(manifest.members()) if members else []) for listed in manifest.packages()]


def test_what_was_put_in_comes_out() -> None:
    assert Manifest([whole()], "m").head == HEAD
    assert read(whole()) == [(canonical(listed), list(members)) for listed, members in ALL]


def test_members_that_nobody_asks_for_are_passed_over() -> None:
    assert [listed.name for listed, _ in read(whole(), members=False)] == ["x.tar.zst", "y.tar.zst", "z.fits"]


def test_p5_zstd_and_any_json_tool_read_it(tmp_path: Path) -> None:
    path = tmp_path / manifest_name(AT, 1)
    path.write_bytes(whole())
    text = subprocess.run(["zstd", "-dc", path], capture_output=True, check=True).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["name"] for line in lines if "blake3" in line] == ["x.tar.zst", "y.tar.zst", "z.fits"]
    assert ["documents" in line for line in lines if "blake3" in line] == [True, False, False]


def test_its_name() -> None:
    assert manifest_name(AT, 2) == "holdfast-manifest.20260102T030405Z-2.jsonl.zst"
    assert is_manifest(manifest_name(AT, 2))
    assert not is_manifest("holdfast-manifest.txt")


WRONG = [MEMBERS[0]._replace(location=Location(0, 0, b"x"))] * 5


@pytest.mark.parametrize(
    "data",
    [
        whole()[:-40],
        whole()[:200] + bytes([whole()[200] ^ 1]) + whole()[201:],
        b"".join(manifest_bytes(HEAD, [(BAG, MEMBERS[:-1])])),
        b"".join(manifest_bytes(HEAD, [(BAG, WRONG)])),
    ],
    ids=["cut", "bit", "member missing", "digest"],
)
def test_what_is_wrong_with_it_is_found(data: bytes) -> None:
    with pytest.raises(Damaged):
        read(data)


@pytest.mark.parametrize(
    "text", [b"", b"{}\n", b"[]\n", b'{"format":{"name":"holdfast-manifest","major":2}}\n', b"x\n"]
)
def test_something_else_is_no_manifest(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other"
    path.write_bytes(text)
    with pytest.raises(NotAPackage):
        read(subprocess.run(["zstd", "-c", path], capture_output=True, check=True).stdout)
