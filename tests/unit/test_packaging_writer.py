# SPDX-License-Identifier: Apache-2.0
"""Writing a package: what tools see of it (P5), and what happens when the source or the disk does not play along."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import indexed_zstd
import pytest
import pyzstd
from blake3 import blake3

from holdfast.errors import Cancelled, Conflict, InvalidInput, NoSpace, SourceChanged, SourceUnreadable
from holdfast.model.entry import Entry, Part
from holdfast.packaging import pipeline, unit, writer
from holdfast.packaging.reader import FileSource, open_package, read_file
from holdfast.packaging.writer import PackOptions, write_package
from holdfast.testing.packages import DOCUMENTS, pack, sample_identity, scan

ODD_NAMES = Path(__file__).parents[1] / "data" / "odd-names.tar"
SMALL_FRAMES = PackOptions(frame_size=8192)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "none" / "at all").mkdir(parents=True)
    for number in range(40):
        (root / "deep" / f"{number:02}.raw").write_bytes(os.urandom(number * 700))
    (root / "deep" / "er" / "large.raw").write_bytes(os.urandom(100_000) + bytes(100_000))
    (root / "zero").write_bytes(b"")
    (root / "link").symlink_to("deep/00.raw")
    return root


def unpacked(package: Path, folder: Path) -> Path:
    folder.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", package, "-C", folder], check=True)
    return folder


def check_with_tools(folder: Path) -> None:
    manifests = ["manifest-sha512.txt", "tagmanifest-sha512.txt"]
    if not (folder / manifests[0]).stat().st_size:
        manifests.pop(0)  # sha512sum calls a list of nothing an error
    subprocess.run(["sha512sum", "--check", "--strict", "--quiet", *manifests], cwd=folder, check=True)
    bagit = Path(sys.executable).with_name("bagit.py")
    subprocess.run([sys.executable, bagit, "--validate", "--quiet", folder], check=True)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: a full disk for everybody, root too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_odd_names_satisfy_tar_sha512sum_and_bagit(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    subprocess.run(["tar", "-xf", ODD_NAMES, "-C", root], check=True)
    written = pack(root, tmp_path / "p.tar.zst")
    folder = unpacked(tmp_path / "p.tar.zst", tmp_path / "bag")
    check_with_tools(folder)
    lines = (folder / "manifest-sha512.txt").read_bytes().splitlines()
    assert len(lines) == len(written.members)
    assert any(line.endswith(b"data/odd-names/back\\slash.fits") and line[:1] != b"\\" for line in lines)
    assert sum(len(files) for _, _, files in os.walk(folder / "data")) == len(lines)


def test_tools_read_an_ordinary_package(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "p.tar.zst", options=SMALL_FRAMES)
    subprocess.run(["zstd", "-tq", tmp_path / "p.tar.zst"], check=True)
    folder = unpacked(tmp_path / "p.tar.zst", tmp_path / "bag")
    check_with_tools(folder)
    assert (folder / "data/deep/er/large.raw").read_bytes() == (source / "deep/er/large.raw").read_bytes()
    assert (folder / "data/deep/07.raw").stat().st_mtime == int((source / "deep/07.raw").stat().st_mtime)
    assert not (folder / "data/link").exists()


def test_a_package_without_files_is_a_bag(tmp_path: Path) -> None:
    (tmp_path / "source" / "empty").mkdir(parents=True)
    pack(tmp_path / "source", tmp_path / "p.tar.zst")
    check_with_tools(unpacked(tmp_path / "p.tar.zst", tmp_path / "bag"))


def test_the_first_member_is_the_identity_and_the_last_the_tag_manifest(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "p.tar.zst")
    plain = tmp_path / "p.tar"
    subprocess.run(["zstd", "-dq", tmp_path / "p.tar.zst", "-o", plain], check=True)
    with tarfile.open(plain) as tar:
        names = tar.getnames()
    assert names[:3] == ["holdfast.json", "bagit.txt", "bag-info.txt"]
    assert names[-1] == "tagmanifest-sha512.txt"
    payload = [name for name in names if name.startswith("data/")]
    assert payload == sorted(payload)


def test_other_seekable_readers_find_the_same_bytes(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.tar.zst"
    pack(source, path, options=SMALL_FRAMES)
    with FileSource(path) as package_file:
        rows = [row for row in open_package(package_file).members if row.size]
    first = pyzstd.SeekableZstdFile(path)
    second = indexed_zstd.IndexedZstdFile(os.fspath(path))
    for row in rows:
        first.seek(row.offset)
        second.seek(row.offset)
        found = first.read(row.size)
        assert found == second.read(row.size)
        if row.name.startswith("data/"):
            assert found == (source / row.name.removeprefix("data/")).read_bytes()
    first.close()
    second.close()


def test_the_same_input_gives_the_same_package_whatever_the_threads(source: Path, tmp_path: Path) -> None:
    digests = set()
    for number, (threads, direct) in enumerate([(1, True), (2, False), (7, True)]):
        options = replace(SMALL_FRAMES, threads=threads, direct=direct)
        digests.add(pack(source, tmp_path / f"{number}.tar.zst", options=options).digest)
    assert len(digests) == 1


def test_all_sinks_get_the_bytes_that_the_digest_names(source: Path, tmp_path: Path) -> None:
    sinks = [tmp_path / "one", tmp_path / "two"]
    written = pack(source, *sinks)
    assert sinks[0].read_bytes() == sinks[1].read_bytes()
    assert blake3(sinks[0].read_bytes()).hexdigest() == written.digest
    assert sinks[0].stat().st_size == written.size


@pytest.mark.parametrize("program", [None, "/bin/false", "/nonexistent"])
def test_child_processes_change_no_byte_and_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None
) -> None:
    root = tmp_path / "source"
    root.mkdir()
    for number in range(600):
        (root / f"{number:04}").write_bytes(os.urandom(number))
    alone = pack(root, tmp_path / "alone")
    monkeypatch.setattr(writer, "_CHILDREN_FROM", 1)
    asked: list[str] = []
    if program is None:
        make = unit.UnitChild.make
        monkeypatch.setattr(
            pipeline.UnitChild, "make", lambda self, *what: (asked.append("child"), make(self, *what))[1]
        )
    else:
        monkeypatch.setattr(sys, "executable", program)
    assert pack(root, tmp_path / "children").digest == alone.digest
    assert bool(asked) == (program is None)


def test_a_change_seen_by_a_child_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "source"
    root.mkdir()
    for number in range(30):
        (root / f"{number:04}").write_bytes(b"x")
    entries = scan(root)
    (root / "0007").unlink()
    monkeypatch.setattr(writer, "_CHILDREN_FROM", 1)
    with pytest.raises(SourceChanged, match="0007 vanished"):
        pack(root, tmp_path / "p", entries=entries)


def test_random_data_grows_by_less_than_a_thousandth(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "random").write_bytes(os.urandom(12_000_000))
    written = pack(tmp_path / "source", tmp_path / "p")
    assert written.size < 12_000_000 * 1.001


def test_large_members_begin_with_a_frame_and_small_ones_are_not_cut(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "p", options=SMALL_FRAMES)
    with FileSource(tmp_path / "p") as package_file:
        package = open_package(package_file)
        starts = {frame.start for frame in package.frames}
        for row in package.members:
            if row.name.startswith("data/") and row.size > 8192 - 2 * 512:
                assert row.offset - 512 in starts
            elif row.name.startswith("data/") and row.size:
                assert not any(row.offset < start < row.offset + row.size for start in starts)


def test_a_file_in_parts_joins_to_the_whole(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    content = os.urandom(50_000)
    (root / "huge").write_bytes(content)
    whole = scan(root)[0]
    parts = [
        whole._replace(size=size, part=Part(number, 3, offset), whole_size=len(content))
        for number, offset, size in [(1, 0, 20_000), (2, 20_000, 20_000), (3, 40_000, 10_000)]
    ]
    joined = b""
    for number, entry in enumerate(parts):
        written = pack(root, tmp_path / f"{number}", entries=[entry], options=SMALL_FRAMES)
        folder = unpacked(tmp_path / f"{number}", tmp_path / f"bag{number}")
        check_with_tools(folder)
        joined += (folder / f"data/huge.part-000{number + 1}-of-0003").read_bytes()
        expected = hashlib.sha512(content).digest() if number == 2 else b""
        assert written.members[0].whole_digest == expected
        with FileSource(tmp_path / f"{number}") as package_file:
            assert tuple(open_package(package_file).listing()) == written.members
            assert b"".join(read_file(package_file, written.members[0])) == content[number * 20_000 :][: entry.size]
    assert joined == content


def test_names_that_look_like_parts_or_are_too_long_keep_apart(tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    long = "n" * 250
    for name in ("a", "a.part-0001-of-0002", long):
        (root / name).write_bytes(name.encode())
    entries = [
        entry._replace(part=Part(1, 2, 0), whole_size=entry.size) if entry.path in {b"a", long.encode()} else entry
        for entry in scan(root)
    ]
    pack(root, tmp_path / "p", entries=entries)
    check_with_tools(unpacked(tmp_path / "p", tmp_path / "bag"))


def test_an_existing_sink_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "two").write_bytes(b"precious")
    with pytest.raises(Conflict):
        pack(source, tmp_path / "one", tmp_path / "two")
    assert not (tmp_path / "one").exists()
    assert (tmp_path / "two").read_bytes() == b"precious"


def spoil(path: Path, how: str) -> None:
    if how == "grown":
        path.write_bytes(path.read_bytes() + b"x")
    elif how == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
        if how == "a link":
            path.symlink_to("/etc/passwd")
        elif how == "a pipe":
            os.mkfifo(path)
        elif how == "a folder":
            path.mkdir()


@pytest.mark.parametrize("name", ["deep/07.raw", "deep/er/large.raw"])
@pytest.mark.parametrize("how", ["grown", "touched", "gone", "a link", "a pipe", "a folder"])
def test_a_source_file_that_changed_stops_the_package(source: Path, tmp_path: Path, name: str, how: str) -> None:
    entries = scan(source)
    spoil(source / name, how)
    what = "vanished" if how == "gone" else "changed"
    with pytest.raises(SourceChanged, match=f"{name} {what}"):
        pack(source, tmp_path / "p", entries=entries, options=SMALL_FRAMES)
    assert not (tmp_path / "p").exists()


def test_a_folder_that_became_a_link_is_not_followed(source: Path, tmp_path: Path) -> None:
    entries = scan(source)
    (source / "deep").rename(tmp_path / "elsewhere")
    (source / "deep").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SourceChanged):
        pack(source, tmp_path / "p", entries=entries)


def test_a_file_that_changes_while_it_is_read_is_noticed(source: Path, tmp_path: Path) -> None:
    entries = scan(source)
    large = source / "deep" / "er" / "large.raw"

    def touch(files: int, _: int) -> None:
        os.utime(large, ns=(files, files))

    with pytest.raises(SourceChanged, match="large"):
        write_package(
            sample_identity(entries), entries, root=source, documents=DOCUMENTS, sinks=[tmp_path / "p"],
            options=replace(SMALL_FRAMES, threads=1), progress=touch,
        )  # fmt: skip


def test_a_file_without_the_right_to_read_it_is_told() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        (folder / "source").mkdir()
        (folder / "source").chmod(0o755)
        (folder / "source" / "secret").write_bytes(b"x")
        (folder / "source" / "secret").chmod(0)
        entries = scan(folder / "source")
        before = os.geteuid()
        if before == 0:
            os.seteuid(65534)  # rights do not bind root
        try:
            with pytest.raises(SourceUnreadable, match=r"secret cannot be read: Permission denied"):
                pack(folder / "source", folder / "p", entries=entries)
        finally:
            os.seteuid(before)
        assert not (folder / "p").exists()


def test_a_root_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable):
        pack(tmp_path / "nowhere", tmp_path / "p", entries=[])


@pytest.mark.parametrize("direct", [True, False])
def test_a_full_sink_removes_all_sinks(source: Path, tmp_path: Path, direct: bool) -> None:  # noqa: FBT001
    (source / "random").write_bytes(os.urandom(9_000_000))
    with largest_file(5 << 20), pytest.raises(NoSpace, match="has no room"):
        pack(source, tmp_path / "one", tmp_path / "two", options=PackOptions(direct=direct))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_cancelling_removes_the_sinks(source: Path, tmp_path: Path) -> None:
    entries = scan(source)
    with pytest.raises(Cancelled):
        write_package(
            sample_identity(entries), entries, root=source, documents=DOCUMENTS, sinks=[tmp_path / "p"],
            options=SMALL_FRAMES, cancelled=lambda: True,
        )  # fmt: skip
    assert not (tmp_path / "p").exists()


def test_progress_counts_up_to_the_payload(source: Path, tmp_path: Path) -> None:
    entries = scan(source)
    seen: list[tuple[int, int]] = []
    write_package(
        sample_identity(entries), entries, root=source, documents=DOCUMENTS, sinks=[tmp_path / "p"],
        options=SMALL_FRAMES, progress=lambda files, size: seen.append((files, size)),
    )  # fmt: skip
    assert seen == sorted(seen)
    files = [entry for entry in entries if entry.kind == "file"]
    assert seen[-1] == (len(files), sum(entry.size for entry in files))


@pytest.mark.parametrize("name", ["holdfast.json", "data/x", "metadata/tree.json", "dataset.json"])
def test_documents_cannot_take_names_of_the_format(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        write_package(sample_identity([]), [], root=tmp_path, documents={name: b""}, sinks=[tmp_path / "p"])
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("path", [b"../x", b"/etc/passwd", b"a//b", b"", b"a/./b"])
def test_paths_outside_are_refused(tmp_path: Path, path: bytes) -> None:
    with pytest.raises(InvalidInput):
        pack(tmp_path, tmp_path / "p", entries=[Entry(path, "file", 0, 0, 0o644)])


MEMORY = """
import re, sys
from pathlib import Path
from holdfast.testing.packages import pack
pack(Path(sys.argv[1]), Path(sys.argv[2]))
# Not ru_maxrss: a new process inherits that from the one that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def test_a_huge_file_needs_less_than_256_mb_of_memory(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "huge").open("wb") as huge:
        huge.truncate(2 << 30)
        for at in range(0, 2 << 30, 64 << 20):
            huge.seek(at)
            huge.write(os.urandom(4 << 20))
    command = [sys.executable, "-c", MEMORY, tmp_path / "source", tmp_path / "p"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert int(done.stdout) < 256
