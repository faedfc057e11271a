# SPDX-License-Identifier: Apache-2.0
"""The files of datasets, against a plain list: every question gets the answer that the list would give."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from holdfast.catalog import listings
from holdfast.catalog.database import Connection
from holdfast.errors import NotFound
from holdfast.model.entry import Entry, Location, Packed, Part
from holdfast.services.scan import scan

# Names around "/" in the order of bytes, names that begin alike, and bytes that are no text.
NAMES = [b"a", b"a-", b"a.", b"a!", b"a0", b"aa", b"b", b"-", b"0", b"\xff", b"a\xff", b"\xc3\xa4", b"\x01", b"a\n"]
_relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def trees(draw: st.DrawFn) -> list[bytes]:
    """Paths of a tree in path order: none is a folder of another."""
    chosen = draw(st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple), max_size=40))
    folders = {path[:n] for path in chosen for n in range(1, len(path))}
    return sorted({b"/".join(path) for path in chosen if path not in folders})


packed_entries = st.builds(
    Packed,
    st.builds(
        Entry,
        path=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(b"/".join),
        kind=st.sampled_from(["file", "link", "directory"]),
        size=st.integers(0, 1 << 60),
        mtime_ns=st.integers(-(1 << 62), 1 << 62),
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, 1 << 32),
        gid=st.integers(0, 1 << 32),
        target=st.binary(max_size=20).filter(lambda raw: b"\0" not in raw),
        sparse=st.booleans(),
        part=st.none(),
        whole_size=st.just(0),
        xattrs=st.dictionaries(st.text(max_size=5), st.binary(max_size=9), max_size=2).map(lambda d: tuple(d.items())),
    ),
    st.builds(Location, st.integers(0, 1 << 60), st.integers(0, 1 << 40), st.sampled_from([b"", bytes(range(64))])),
    st.sampled_from([b"", bytes(64)]),
)


@given(st.lists(packed_entries, max_size=12))
def test_a_block_gives_back_what_was_put_in(entries: list[Packed]) -> None:
    block = listings.Block(listings.encode(entries))
    assert list(block) == entries
    assert len(block) == len(entries)


@given(part=st.tuples(*[st.integers(1, 1 << 60)] * 4))
def test_a_block_keeps_parts(part: tuple[int, int, int, int]) -> None:
    number, count, offset, whole = part
    entry = Entry(b"big", "file", 5, 1, 0o644, part=Part(number, count, offset), whole_size=whole)
    packed = Packed(entry, Location(1, 2, bytes(64)), bytes(64))
    assert list(listings.Block(listings.encode([packed]))) == [packed]


@pytest.fixture
def catalogue(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A catalogue with blocks of three entries, so that small trees have many."""
    monkeypatch.setattr(listings, "BLOCK", 3)
    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        yield connection
        connection.rollback()


def put(conn: Connection, paths: list[bytes], cuts: list[int], *, dataset: str = "d") -> list[tuple[int, Packed]]:
    """Write a tree in segments that end at `cuts`; the file at each cut lies in two parts."""
    conn.execute("insert into profile (name, version, body) values ('p', 1, '{}') on conflict do nothing")
    conn.execute(
        "insert into dataset (id, site, title, owner, state, profile, profile_version, server) "
        "values (%s, 's', 't', 'o', 'closed', 'p', 1, 'h')",
        [dataset],
    )
    made: list[tuple[int, Packed]] = []
    segment = 1
    for n, path in enumerate(paths):
        entry = Entry(path, "file", n, n, 0o644)
        if n in cuts:
            for number in (1, 2):
                piece = Entry(path, "file", n, n, 0o644, part=Part(number, 2, n * number), whole_size=2 * n)
                made.append((segment, Packed(piece, Location(n, number, bytes(64)), bytes(64) if number == 2 else b"")))
                segment += number == 1
        else:
            made.append((segment, Packed(entry, Location(n, 0, bytes([n]) * 64))))
    for number, group in itertools.groupby(made, key=lambda pair: pair[0]):
        listings.write(conn, dataset, number, [packed for _, packed in group], packed=True)
    return made


cuts = st.lists(st.integers(0, 40), max_size=5)


@given(paths=trees(), cuts=cuts, prefix=st.none() | st.integers(0), after=st.none() | st.integers(0))
@_relaxed
def test_walk_gives_what_is_at_and_below_a_path(
    catalogue: Connection, paths: list[bytes], cuts: list[int], prefix: int | None, after: int | None
) -> None:
    catalogue.rollback()
    made = put(catalogue, paths, cuts)
    folders = sorted({path[: path.rindex(b"/")] for path in paths if b"/" in path} | set(paths) | {b"none"})
    top = folders[prefix % len(folders)] if prefix is not None else b""
    start = paths[after % len(paths)] if after is not None and paths else b""
    expected = [
        (segment, packed)
        for segment, packed in made
        if (not top or packed.entry.path == top or packed.entry.path.startswith(top + b"/"))
        and packed.entry.path > start
    ]
    assert list(listings.walk(catalogue, "d", prefix=top, after=start)) == expected


@given(paths=trees(), cuts=cuts, limit=st.integers(1, 4))
@example(paths=[b"a-", b"a/x", b"a/y", b"a0"], cuts=[], limit=1)
@_relaxed
def test_children_page_by_page_are_the_folders_content(
    catalogue: Connection, paths: list[bytes], cuts: list[int], limit: int
) -> None:
    catalogue.rollback()
    put(catalogue, paths, cuts)
    folders = {b""} | {path[: path.rindex(b"/")] for path in paths if b"/" in path}
    for folder in sorted(folders):
        base = folder + b"/" if folder else b""
        below = [path[len(base) :] for path in paths if path.startswith(base)]
        expected = [name + b"/" * bool(more) for name, more in ((p.partition(b"/")[0], b"/" in p) for p in below)]
        found: list[bytes] = []
        while page := listings.children(catalogue, "d", folder, after=found[-1] if found else b"", limit=limit):
            assert len(page) <= limit
            for kind, name, packed in page:
                assert (kind == "directory") == (packed is None)
                found.append(name if packed else name + b"/")
            assert len(found) <= len(below)
        assert found == list(dict.fromkeys(expected))


@given(paths=trees(), other=trees(), cuts=cuts, limit=st.integers(1, 3) | st.just(100))
@_relaxed
def test_find_gives_each_file_of_a_name_once(
    catalogue: Connection, paths: list[bytes], other: list[bytes], cuts: list[int], limit: int
) -> None:
    catalogue.rollback()
    put(catalogue, paths, cuts, dataset="d")
    put(catalogue, other, [], dataset="e")
    for name in NAMES:
        expected = [("d", path) for path in paths if path.split(b"/")[-1] == name]
        expected += [("e", path) for path in other if path.split(b"/")[-1] == name]
        found = listings.find_name(catalogue, name, limit=limit)
        assert [(dataset, packed.entry.path) for dataset, packed in found] == expected[:limit]


@given(paths=trees(), cuts=cuts)
@_relaxed
def test_find_path_gives_a_file_with_all_its_parts(catalogue: Connection, paths: list[bytes], cuts: list[int]) -> None:
    catalogue.rollback()
    made = put(catalogue, paths, cuts)
    for path in paths:
        assert listings.find_path(catalogue, "d", path) == [pair for pair in made if pair[1].entry.path == path]
    with pytest.raises(NotFound):
        listings.find_path(catalogue, "d", b"none")


@given(paths=trees(), cuts=cuts)
@_relaxed
def test_a_segment_is_replaced_as_a_whole(catalogue: Connection, paths: list[bytes], cuts: list[int]) -> None:
    catalogue.rollback()
    made = put(catalogue, paths, cuts)
    for segment in {segment for segment, _ in made}:
        own = [packed for number, packed in made if number == segment]
        assert listings.of_segment(catalogue, "d", segment) == own
        changed = [Packed(packed.entry, Location(7, 7, bytes([7]) * 64), packed.whole_digest) for packed in own]
        listings.replace(catalogue, "d", segment, changed)
        assert listings.of_segment(catalogue, "d", segment) == changed
    assert [p.entry for _, p in listings.walk(catalogue, "d")] == [p.entry for _, p in made]


@given(paths=trees(), empty=trees())
@example(paths=[b"a-", b"a0/x"], empty=[b"a", b"a0/x-"])
@_relaxed
def test_a_scan_is_in_path_order_with_empty_folders(paths: list[bytes], empty: list[bytes]) -> None:
    root = tempfile.mkdtemp().encode()
    try:
        for path in paths:
            os.makedirs(os.path.dirname(root + b"/" + path), exist_ok=True)
            os.close(os.open(root + b"/" + path, os.O_CREAT))
        for path in empty:
            with suppress(FileExistsError, NotADirectoryError):
                os.makedirs(root + b"/" + path)
        found = list(scan(root))
    finally:
        shutil.rmtree(root)
    assert [entry.path for entry in found] == sorted(entry.path for entry in found)
    assert [entry.path for entry in found if entry.kind == "file"] == paths
