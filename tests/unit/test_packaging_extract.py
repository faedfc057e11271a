# SPDX-License-Identifier: Apache-2.0
"""Delivery: verified, resumable, never over or through anything that is there, and partial when a frame is damaged."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from holdfast.errors import Cancelled, Conflict, DigestMismatch, HoldfastError, NoSpace, NotFound
from holdfast.model.entry import Entry, Location, Packed, Part
from holdfast.packaging.extract import extract, finish_parts
from holdfast.packaging.writer import PackOptions, Written
from holdfast.testing.packages import MemorySource, pack, scan

SMALL_FRAMES = PackOptions(frame_size=8192)


@dataclass
class Told:
    """What a delivery told."""

    done: list[bytes] = field(default_factory=list)
    problems: dict[bytes, str] = field(default_factory=dict)


def deliver(source: MemorySource, wanted: Sequence[Packed], target: Path, *, preserve_owner: bool = False) -> Told:
    told = Told()

    def problem(entry: Entry, error: HoldfastError) -> None:
        assert entry.path not in told.problems
        told.problems[entry.path] = error.code

    extract(
        source, wanted, target, on_done=lambda entry: told.done.append(entry.path), on_problem=problem,
        preserve_owner=preserve_owner,
    )  # fmt: skip
    assert not [name for _, _, names in os.walk(target) for name in names if name.endswith(".part")]
    return told


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub" / "empty").mkdir(parents=True)
    for number in range(40):
        (folder / "sub" / f"{number:02}").write_bytes(os.urandom(number * 300))
    (folder / "zero").write_bytes(b"")
    (folder / "large").write_bytes(os.urandom(90_000))
    (folder / "link").symlink_to("sub/01")
    (folder / "sub" / "up").symlink_to("../large")
    return folder


@pytest.fixture
def written(root: Path, tmp_path: Path) -> Written:
    return pack(root, tmp_path / "p", options=SMALL_FRAMES)


@pytest.fixture
def source(written: Written, tmp_path: Path) -> MemorySource:
    assert written.members
    return MemorySource((tmp_path / "p").read_bytes(), chunk=4096)


def member(written: Written, path: bytes) -> Packed:
    return next(item for item in written.members if item.entry.path == path)


def test_everything_comes_back_as_it_was(source: MemorySource, written: Written, root: Path, tmp_path: Path) -> None:
    told = deliver(source, written.members, tmp_path / "out")
    assert sorted(told.done) == [item.entry.path for item in written.members]
    assert not told.problems
    assert scan(tmp_path / "out") == scan(root)
    for item in scan(root):
        if item.kind == "file":
            name = os.fsdecode(item.path)
            assert (tmp_path / "out" / name).read_bytes() == (root / name).read_bytes()


def test_a_second_delivery_reads_nothing(source: MemorySource, written: Written, tmp_path: Path) -> None:
    deliver(source, written.members, tmp_path / "out")
    source.reads.clear()
    told = deliver(source, written.members, tmp_path / "out")
    assert len(told.done) == len(written.members)
    assert source.reads == []


def test_one_small_file_reads_little(source: MemorySource, written: Written, tmp_path: Path) -> None:
    item = member(written, b"sub/39")
    deliver(source, [item], tmp_path / "out")
    assert min(offset for offset, _ in source.reads) == item.location.frame
    assert sum(count for _, count in source.reads) < 500_000
    assert (tmp_path / "out" / "sub" / "39").stat().st_size == item.entry.size


def test_the_order_of_the_wish_does_not_matter(source: MemorySource, written: Written, tmp_path: Path) -> None:
    told = deliver(source, written.members[::-3], tmp_path / "out")
    assert sorted(told.done) == sorted(item.entry.path for item in written.members[::-3])


@pytest.mark.parametrize("other", ["content", "size", "folder", "pipe", "link"])
def test_what_is_there_is_never_overwritten(source: MemorySource, written: Written, tmp_path: Path, other: str) -> None:
    target = tmp_path / "out"
    target.mkdir()
    large = target / "large"
    if other in {"content", "size"}:
        large.write_bytes(bytes(90_000 if other == "content" else 5))
    elif other == "folder":
        large.mkdir()
    elif other == "pipe":
        os.mkfifo(large)
    else:
        large.symlink_to(tmp_path / "elsewhere")
    before = large.lstat()
    told = deliver(source, written.members, target)
    assert told.problems == {b"large": "conflict"}
    assert len(told.done) == len(written.members) - 1
    assert (large.lstat().st_mode, large.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert not (tmp_path / "elsewhere").exists()


def test_links_in_the_target_are_not_followed(source: MemorySource, written: Written, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    told = deliver(source, written.members, tmp_path / "out")
    assert {path for path in told.problems if path.startswith(b"sub/")} == set(told.problems)
    assert set(told.problems.values()) == {"conflict"}
    assert {b"large", b"zero", b"link"} <= set(told.done)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("path", [b"../evil", b"/tmp/evil", b"a/../../evil", b"a/./b", b""])
def test_paths_that_leave_are_refused(source: MemorySource, written: Written, tmp_path: Path, path: bytes) -> None:
    item = member(written, b"large")
    told = deliver(source, [item._replace(entry=item.entry._replace(path=path))], tmp_path / "out")
    assert told.problems == {path: "unsafe-package"}


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../x", b"sub/../../x", b"../../x", b"", b"a/../b"])
def test_links_that_leave_are_refused(source: MemorySource, tmp_path: Path, target: bytes) -> None:
    item = Packed(Entry(b"link", "link", 0, 0, 0o777, target=target), Location(0, 0, b""))
    told = deliver(source, [item], tmp_path / "out")
    assert told.problems == {b"link": "unsafe-package"}
    assert not os.path.lexists(tmp_path / "out" / "link")


def test_no_file_is_written_through_a_link_of_the_same_package(
    source: MemorySource, written: Written, tmp_path: Path
) -> None:
    item = member(written, b"large")
    wanted = [
        Packed(Entry(b"d", "link", 0, 0, 0o777, target=b"."), Location(0, 0, b"")),
        item._replace(entry=item.entry._replace(path=b"d/file")),
    ]
    told = deliver(source, wanted, tmp_path / "out")
    assert told.problems == {b"d": "conflict"}
    assert (tmp_path / "out" / "d" / "file").is_file()


def test_a_file_with_another_digest_gets_no_name(source: MemorySource, written: Written, tmp_path: Path) -> None:
    item = member(written, b"large")
    for wrong in (
        item._replace(location=item.location._replace(digest=bytes(64))),
        item._replace(entry=item.entry._replace(size=item.entry.size + 700)),
        item._replace(location=item.location._replace(skip=7)),
    ):
        assert deliver(source, [wrong], tmp_path / "out").problems == {b"large": "digest-mismatch"}
    assert not list((tmp_path / "out").iterdir())


def test_a_size_beyond_the_package_is_refused(source: MemorySource, written: Written, tmp_path: Path) -> None:
    item = member(written, b"large")
    told = deliver(source, [item._replace(entry=item.entry._replace(size=1 << 50))], tmp_path / "out")
    assert told.problems == {b"large": "damaged"}


def test_files_that_overlap_are_refused(source: MemorySource, written: Written, tmp_path: Path) -> None:
    item = member(written, b"large")
    other = item._replace(entry=item.entry._replace(path=b"other"))
    told = deliver(source, [item, other], tmp_path / "out")
    assert told.done == [b"large"]
    assert told.problems == {b"other": "unsafe-package"}


def test_a_damaged_frame_costs_only_its_own_files(source: MemorySource, written: Written, tmp_path: Path) -> None:
    hit = member(written, b"sub/20").location.frame
    content = bytearray(source.content)
    content[hit : hit + 200] = bytes(200)
    told = deliver(MemorySource(bytes(content), chunk=4096), written.members, tmp_path / "out")
    lost = {item.entry.path for item in written.members if item.entry.size and item.location.frame == hit}
    assert b"sub/20" in lost
    assert told.problems == dict.fromkeys(lost, "damaged")
    assert len(told.done) == len(written.members) - len(lost)


def test_a_package_without_end_gives_what_it_has(source: MemorySource, written: Written, tmp_path: Path) -> None:
    cut = member(written, b"sub/20").location.frame
    told = deliver(MemorySource(source.content[:cut]), written.members, tmp_path / "out")
    lost = {item.entry.path for item in written.members if item.location.frame >= cut}
    assert told.problems == dict.fromkeys(lost, "damaged")
    assert len(told.done) == len(written.members) - len(lost)


class UnreadableStretch(MemorySource):
    """A medium that fails in one place."""

    bad = 0

    def read(self, offset: int, length: int | None):  # type: ignore[no-untyped-def]  # noqa: ANN201
        for chunk in super().read(offset, length):
            if offset <= self.bad < offset + len(chunk):
                from holdfast.errors import Damaged

                raise Damaged(name=self.name, why="Input/output error")
            offset += len(chunk)
            yield chunk


def test_a_stretch_that_cannot_be_read_costs_only_its_own_files(
    source: MemorySource, written: Written, tmp_path: Path
) -> None:
    item = member(written, b"sub/20")
    broken = UnreadableStretch(source.content, chunk=512)
    broken.bad = item.location.frame + 10
    told = deliver(broken, written.members, tmp_path / "out")
    # A chunk may begin in the frame before.
    near = sorted({other.location.frame for other in written.members if other.location.frame <= item.location.frame})
    lost = {other.entry.path for other in written.members if other.location.frame in near[-2:]}
    assert b"sub/20" in told.problems
    assert told.problems.keys() <= lost
    assert set(told.problems.values()) == {"damaged"}


def test_a_full_target_is_told_and_finished_files_stay(source: MemorySource, written: Written, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    done: list[Entry] = []
    try:
        with pytest.raises(NoSpace):
            extract(source, written.members[::-1], tmp_path / "out", on_done=done.append, on_problem=pytest.fail)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [name for _, _, names in os.walk(tmp_path / "out") for name in names if name.startswith(".holdfast")]
    assert all((tmp_path / "out" / os.fsdecode(entry.path)).exists() for entry in done)


def test_cancelling_stops_and_leaves_no_temporaries(source: MemorySource, written: Written, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        extract(
            source, written.members, tmp_path / "out", on_done=lambda _: None, on_problem=pytest.fail,
            cancelled=lambda: True,
        )  # fmt: skip
    assert not [name for _, _, names in os.walk(tmp_path / "out") for name in names if name.startswith(".holdfast")]


def test_an_error_of_the_caller_ends_the_delivery(source: MemorySource, written: Written, tmp_path: Path) -> None:
    def refuse(_: Entry) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        extract(source, written.members, tmp_path / "out", on_done=refuse, on_problem=pytest.fail)


def test_holes_are_made_again(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "holes").open("wb") as file:
        file.write(b"begin")
        file.seek(20 << 20)
        file.write(b"middle")
        file.truncate(40 << 20)
    written = pack(tmp_path / "source", tmp_path / "p")
    assert written.members[0].entry.sparse
    assert written.size < 100_000
    deliver(MemorySource((tmp_path / "p").read_bytes()), written.members, tmp_path / "out")
    found = tmp_path / "out" / "holes"
    assert found.read_bytes() == (tmp_path / "source" / "holes").read_bytes()
    assert found.stat().st_blocks * 512 < 1 << 20


def test_modes_and_attributes_come_back_but_set_user_id_only_with_the_owner(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "tool").write_bytes(b"x")
    attributes = (("user.run", b"\x00\xff"),)
    entries = [scan(tmp_path / "source")[0]._replace(mode=0o4751, xattrs=attributes, mtime_ns=1_234_567_891)]
    os.utime(tmp_path / "source" / "tool", ns=(1_234_567_891, 1_234_567_891))
    written = pack(tmp_path / "source", tmp_path / "p", entries=entries)
    source = MemorySource((tmp_path / "p").read_bytes())
    deliver(source, written.members, tmp_path / "plain")
    deliver(source, written.members, tmp_path / "owned", preserve_owner=True)
    assert stat.S_IMODE((tmp_path / "plain" / "tool").stat().st_mode) == 0o751
    assert stat.S_IMODE((tmp_path / "owned" / "tool").stat().st_mode) == 0o4751
    assert (tmp_path / "plain" / "tool").stat().st_mtime_ns == 1_234_567_891
    assert written.members[0].entry.xattrs == attributes


def in_parts(root: Path, content: bytes) -> list[Entry]:
    (root / "huge").write_bytes(content)
    whole = scan(root)[0]
    third = len(content) // 3
    return [
        whole._replace(size=third, part=Part(number + 1, 3, number * third), whole_size=len(content))
        for number in range(3)
    ]


def test_parts_are_collected_checked_and_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    content = os.urandom(90_000)
    entries = in_parts(tmp_path / "source", content)
    digest = hashlib.sha512(content).digest()
    target = tmp_path / "out"
    with pytest.raises(NotFound):
        finish_parts(target, entries[0], digest)
    for number in (2, 0, 1):
        written = pack(tmp_path / "source", tmp_path / f"{number}", entries=[entries[number]], options=SMALL_FRAMES)
        told = deliver(MemorySource((tmp_path / f"{number}").read_bytes()), written.members, target)
        assert told.done == [b"huge"]
        if number != 1:
            with pytest.raises(DigestMismatch):
                finish_parts(target, entries[0], digest)
    finish_parts(target, entries[0], digest)
    finish_parts(target, entries[0], digest)
    assert (target / "huge").read_bytes() == content
    assert [path.name for path in target.iterdir()] == ["huge"]
    with pytest.raises(Conflict):
        finish_parts(target, entries[0], bytes(64))


def test_large_files_are_hashed_aside(
    source: MemorySource, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.packaging import extract as module

    monkeypatch.setattr(module, "_LARGE", 1)
    assert not deliver(source, written.members, tmp_path / "out").problems
    item = member(written, b"large")
    wrong = item._replace(location=item.location._replace(digest=bytes(64)))
    assert deliver(source, [wrong], tmp_path / "other").problems == {b"large": "digest-mismatch"}


@pytest.mark.parametrize("unnamed", [True, False], ids=["unnamed", "named"])
def test_a_delivery_that_ends_early_leaves_no_temporary(
    source: MemorySource, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, unnamed: bool
) -> None:
    from holdfast.packaging import target as module

    class Ended(BaseException):
        pass

    def ended(*_: object, **__: object) -> None:
        raise Ended

    if not unnamed:  # as on a file system that has no files without a name
        monkeypatch.setattr(module.os, "O_TMPFILE", os.O_DIRECTORY)
    monkeypatch.setattr(module, "_rename_new", ended)
    monkeypatch.setattr(module.os, "link", ended)
    with pytest.raises(Ended):
        extract(source, written.members, tmp_path / "out", on_done=lambda _: None, on_problem=pytest.fail)
    assert [name for _, _, names in os.walk(tmp_path / "out") for name in names] == []


def test_files_are_delivered_where_no_file_can_be_without_a_name(
    source: MemorySource, written: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holdfast.packaging import target as module

    monkeypatch.setattr(module.os, "O_TMPFILE", os.O_DIRECTORY)
    assert not deliver(source, written.members, tmp_path / "out").problems
