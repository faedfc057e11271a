# SPDX-License-Identifier: Apache-2.0
"""Whatever tree is packed comes back byte for byte, from the packages alone (P5)."""

from __future__ import annotations

import hashlib
import json
import os
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import HoldfastError
from holdfast.model.entry import Entry
from holdfast.model.names import stored_path
from holdfast.model.segments import cut
from holdfast.packaging.check import check_package
from holdfast.packaging.extract import extract, finish_parts
from holdfast.packaging.plain import read_sidecar
from holdfast.packaging.reader import open_package, read_file
from holdfast.packaging.writer import PackOptions
from holdfast.testing.packages import MemorySource, pack, pack_plain, scan

FRAME = 8192
BORDERS = sorted({
    max(base + step, 0)
    for base in (0, 512, FRAME - 1024, FRAME - 512, FRAME, 2 * FRAME - 512, 2 * FRAME)
    for step in (-1, 0, 1)
})  # fmt: skip
components = (
    st.binary(min_size=1, max_size=20).map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    | st.text("abc%= \n\t.é\u0301A\u030a\u2028-", min_size=1, max_size=12).map(str.encode)
    | st.sampled_from([b"=01234567.x", b"x.part-0001-of-0002", b"n" * 255, b".holdfast-x.part", b"data"])
).filter(lambda name: name not in {b".", b".."})
paths = st.lists(components, min_size=1, max_size=4) | st.lists(st.sampled_from([b"d", b"e"]), min_size=60, max_size=60)
nodes = (
    st.tuples(st.just("file"), st.sampled_from(BORDERS) | st.integers(0, 3 * FRAME), st.booleans())
    | st.tuples(st.just("folder"), st.just(0), st.booleans())
    | st.tuples(st.just("link"), st.just(0), st.booleans())
)


def fail(entry: Entry, error: HoldfastError) -> None:
    raise AssertionError((entry, error))


def build(root: bytes, tree: list[tuple[list[bytes], tuple[str, int, bool]]]) -> None:
    for number, (path, (kind, size, flag)) in enumerate(tree):
        full = os.path.join(root, *path)
        try:
            os.makedirs(full if kind == "folder" else os.path.dirname(full), exist_ok=True)
            if kind == "link":
                os.symlink(path[-1], full)
            elif kind == "file":
                with open(full, "xb") as file:
                    if flag:
                        file.truncate(size * 8)
                    else:
                        file.write(random.Random(number).randbytes(size))
                os.chmod(full, 0o400 | number % 0o100)
        except OSError:
            continue  # this name is a file already, or the other way round


@settings(max_examples=60, deadline=None)
@given(tree=st.lists(st.tuples(paths, nodes), max_size=12), threads=st.integers(1, 3))
def test_every_tree_comes_back(tree: list[tuple[list[bytes], tuple[str, int, bool]]], threads: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source").mkdir()
        build(os.fsencode(folder / "source"), tree)
        written = pack(folder / "source", folder / "p", options=PackOptions(frame_size=FRAME, threads=threads))
        source = MemorySource((folder / "p").read_bytes())
        assert check_package(source) == []
        listing = tuple(open_package(source).listing())
        assert listing == written.members
        done: list[bytes] = []
        extract(
            source, listing, folder / "out", threads=threads, on_done=lambda entry: done.append(entry.path),
            on_problem=fail,
        )  # fmt: skip
        assert sorted(done) == sorted(item.entry.path for item in listing)
        assert [item for item in scan(folder / "out") if item.kind != "file"] == [
            item for item in scan(folder / "source") if item.kind != "file"
        ]
        for item in listing:
            if item.entry.kind == "file":
                with open(os.fsencode(folder / "source") + b"/" + item.entry.path, "rb") as original:
                    content = original.read()
                with open(os.fsencode(folder / "out") + b"/" + item.entry.path, "rb") as delivered:
                    assert delivered.read() == content
                assert b"".join(read_file(source, item)) == content


@settings(max_examples=60, deadline=None)
@given(tree=st.lists(st.tuples(paths, nodes), max_size=12))
def test_every_tree_comes_back_from_plain_packages(tree: list[tuple[list[bytes], tuple[str, int, bool]]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "source").mkdir()
        build(os.fsencode(folder / "source"), tree)
        done: list[bytes] = []
        for number, entries in cut(scan(folder / "source"), limit=FRAME, most=100, plain=True):
            package = folder / f"{number}"
            plain = any(entry.kind == "file" for entry in entries)
            written = (
                pack_plain(folder / "source", package, entries)
                if plain
                else pack(folder / "source", package, entries=entries)
            )
            if plain:
                check_sidecar(folder / "source", package, written.sidecar or b"")
                assert read_sidecar(MemorySource(written.sidecar or b"")).members == written.members
            extract(
                MemorySource(package.read_bytes()), written.members, folder / "out", plain=plain, on_problem=fail,
                on_done=lambda entry: done.append(entry.path),
            )  # fmt: skip
            for item in written.members:
                if item.whole_digest:
                    finish_parts(folder / "out", item.entry, item.whole_digest)
        before, after = (
            [(e.path, e.kind, e.size, e.mtime_ns, e.mode, e.target) for e in scan(folder / place)]
            for place in ("source", "out" if done else "source")
        )
        assert after == before
        assert set(done) == {item[0] for item in before}


def check_sidecar(source: Path, package: Path, text: bytes) -> None:
    """Assert that a package is the bytes of its file, and that the sidecar says so to anybody who reads JSON."""
    content, said = package.read_bytes(), json.loads(text)
    assert said["file"]["size"] == len(content)
    assert said["file"]["sha512"] == hashlib.sha512(content).hexdigest()
    [item] = [packed for packed in read_sidecar(MemorySource(text)).members if packed.entry.kind == "file"]
    offset = item.entry.part.offset if item.entry.part else 0
    with open(os.fsencode(source) + b"/" + item.entry.path, "rb") as original:
        original.seek(offset)
        assert original.read(len(content)) == content


@given(st.lists(components, min_size=1, max_size=3, unique=True))
def test_different_names_are_stored_under_different_names(names: list[bytes]) -> None:
    stored = {stored_path(name) for name in names}
    assert len(stored) == len(names)
    assert all(len(name.encode()) <= 255 for name in stored)
