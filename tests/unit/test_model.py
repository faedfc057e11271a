# SPDX-License-Identifier: Apache-2.0
"""What is pure: cutting into segments, what is owed, names, identifiers and reasons."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import Busy, Damaged, InvalidInput, MediumFailed, NoSpace
from holdfast.model.entry import Entry, Part
from holdfast.model.ids import ID_PATTERN, new_id
from holdfast.model.lifecycle import MOVES, sources, states
from holdfast.model.names import MEDIUM_NAME_LIMIT, SUFFIX, check_relative, medium_name, printable, sidecar_name
from holdfast.model.policy import CopyFact, availability, copies_owed, level, proven
from holdfast.model.problem import problem, who
from holdfast.model.segments import MEMBER_COST, cost, cut

# ---- segments ----

_LIMIT = 10 * MEMBER_COST


def entry(path: bytes, size: int, kind: str = "file") -> Entry:
    return Entry(path, kind, size if kind == "file" else 0, 0, 0o644)  # type: ignore[arg-type]


files = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz"), st.integers(0, 3 * _LIMIT), st.booleans()), max_size=40
).map(
    lambda rows: [
        entry(f"{a}/{b}/{n:03}".encode(), size, "file" if is_file else "link")
        for n, (a, b, size, is_file) in enumerate(sorted(rows, key=lambda row: row[:2]))
    ]
)


@given(entries=files, most=st.integers(1, 10), plain=st.booleans())
def test_segments_keep_order_and_limits_and_parts_join_again(entries: list[Entry], most: int, *, plain: bool) -> None:
    segments: dict[int, list[Entry]] = {}
    numbers = []
    for number, run in cut(entries, limit=_LIMIT, most=most, plain=plain):
        segments.setdefault(number, []).extend(run)
        numbers.append(number)
    assert numbers == sorted(numbers)
    assert list(segments) == list(range(1, len(segments) + 1))
    for members in segments.values():
        assert sum(cost(member) for member in members if member.kind == "file" or not plain) <= _LIMIT
        assert not plain or sum(member.kind == "file" for member in members) <= 1
        assert 0 < len(members) <= most
    flat = [member for members in segments.values() for member in members]
    whole: list[tuple[bytes, int]] = []
    for member in flat:
        if member.part is None:
            whole.append((member.path, member.size))
        else:
            assert member.part.offset == (whole[-1][1] if member.part.number > 1 else 0)
            size = member.part.offset + member.size
            if member.part.number > 1:
                assert whole.pop()[0] == member.path
            whole.append((member.path, size))
            assert (member.part.number == member.part.count) == (size == member.whole_size)
    assert whole == [(item.path, item.size) for item in entries]


def test_a_segment_ends_where_a_folder_ends_if_that_leaves_it_half_full() -> None:
    entries = [entry(b"a/%02d" % n, MEMBER_COST) for n in range(3)] + [
        entry(b"b/%02d" % n, MEMBER_COST) for n in range(4)
    ]
    cuts = [[item.path[:1] for item in run] for _, run in cut(entries, limit=_LIMIT, most=100)]
    assert cuts == [[b"a"] * 3, [b"b"] * 4]


def test_links_and_folders_travel_with_the_next_file_and_the_last_ones_with_the_last() -> None:
    kinds = {"a": "link", "b": "directory", "c": "file", "d": "file", "e": "link", "f": "file", "g": "link"}
    entries = [entry(name.encode(), 1, kind) for name, kind in kinds.items()]
    cuts = ["".join(item.path.decode() for item in run) for _, run in cut(entries, limit=_LIMIT, most=100, plain=True)]
    assert cuts == ["abc", "d", "efg"]
    none = [item for item in entries if item.kind != "file"]
    assert list(cut(none, limit=_LIMIT, most=100, plain=True)) == [(1, none)]


@pytest.mark.parametrize("plain", [False, True])
def test_nothing_gives_no_segment(*, plain: bool) -> None:
    assert list(cut([], limit=_LIMIT, most=1, plain=plain)) == []


# ---- policy ----

facts = st.lists(
    st.builds(CopyFact, st.sampled_from(sorted(states("copy"))), st.sampled_from(["T1", "T2", "T3"])), max_size=5
)


@given(st.integers(1, 4), facts)
def test_what_is_owed_and_what_there_is_make_what_is_wanted(wanted: int, copies: list[CopyFact]) -> None:
    there = sum(copy.state not in {"lost", "retired"} for copy in copies)
    assert copies_owed(wanted, copies) == max(wanted - there, 0)
    assert proven(copies) == len({copy.medium for copy in copies if copy.state == "verified"})


@pytest.mark.parametrize(
    ("wanted", "packages", "expected"),
    [
        (2, [], "none"),
        (2, [["T1", "T2"], []], "none"),
        (2, [["T1", "T1"]], "ingested"),
        (2, [["T1", "T2"], ["T1"]], "ingested"),
        (2, [["T1", "T2"], ["T3", "T4"]], "preserved"),
        (3, [["T1", "T2"]], "archived"),
        (1, [["T1"]], "preserved"),
    ],
)
def test_p3_the_weakest_package_gives_the_level_and_media_are_counted_once(
    wanted: int, packages: list[list[str]], expected: str
) -> None:
    assert level(wanted, [[CopyFact("verified", tape) for tape in tapes] for tapes in packages]) == expected


def test_availability_needs_a_readable_copy_of_every_package() -> None:
    good, bad = [CopyFact("suspect", "T1")], [CopyFact("lost", "T1"), CopyFact("planned", None)]
    assert availability([good, good], source_there=False) == "nearline"
    assert availability([good, bad], source_there=False) == "unavailable"
    assert availability([bad], source_there=True) == "online"
    assert availability([], source_there=False) == "unavailable"


# ---- names and identifiers ----


@given(st.text(max_size=80), st.binary(max_size=400), st.integers(1, 9999))
def test_a_name_on_a_medium_is_short_plain_and_says_what_it_is(server: str, path: bytes, segment: int) -> None:
    dataset = "0" * 26
    name = medium_name(dataset=dataset, segment=segment, segments=segment, server=server[:20], path=path)
    assert re.fullmatch(r"[A-Za-z0-9._+=-]+", name)
    assert name.startswith(f"{dataset}.{segment}of{segment}.")
    assert name.endswith(SUFFIX)
    if len(server.encode()) <= 20:
        assert len(name) <= MEDIUM_NAME_LIMIT


@given(
    path=st.binary(max_size=400),
    file=st.lists(st.binary(min_size=1), min_size=1).map(b"/".join),
    in_parts=st.booleans(),
)
def test_the_name_of_a_plain_package_ends_like_its_file_and_leaves_room_for_its_sidecar(
    path: bytes, file: bytes, *, in_parts: bool
) -> None:
    image = entry(file + b"/n.image.fits", 5)._replace(part=Part(2, 7, 0) if in_parts else None)
    name = medium_name(dataset="0" * 26, segment=2, segments=7, server="beamline", path=path, file=image)
    assert re.fullmatch(r"[A-Za-z0-9._+=-]+", sidecar_name(name))
    assert len(sidecar_name(name)) <= MEDIUM_NAME_LIMIT
    assert name.endswith("n.image.fits.part-0002-of-0007" if in_parts else "n.image.fits")
    assert sidecar_name(name) == f"{name}.holdfast.json"


def test_long_paths_that_differ_in_the_middle_have_different_names() -> None:
    made = {
        medium_name(dataset="0" * 26, segment=1, segments=1, server="s", path=b"/" + b"a" * 200 + c + b"b" * 200)
        for c in (b"1", b"2")
    }
    assert len(made) == 2


@pytest.mark.parametrize("path", [b"", b"/", b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/./b", b"a\0"])
def test_a_path_that_could_leave_its_folder_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidInput):
        check_relative(path)


@given(st.binary(max_size=40))
def test_what_is_printed_has_no_control_characters(path: bytes) -> None:
    assert printable(path).isprintable()


def test_identifiers_are_sortable_and_unique() -> None:
    made = [new_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert all(ID_PATTERN.fullmatch(ident) for ident in made)
    assert [ident[:10] for ident in made] == sorted(ident[:10] for ident in made)


# ---- life cycles and reasons ----


def test_every_state_can_be_reached_and_left_as_the_table_says() -> None:
    for thing, moves in MOVES.items():
        for targets in moves.values():
            assert targets <= states(thing)
        for state in states(thing):
            assert sources(thing, state) == sorted(source for source, targets in moves.items() if state in targets)


def test_p9_a_problem_counts_its_tries_keeps_its_first_time_and_waits_longer() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    found = None
    waits = []
    for number in range(1, 30):
        now = start + timedelta(hours=number)
        found = problem(Busy(what="All drives are busy."), now, found)
        assert (found["tries"], found["since"]) == (number, (start + timedelta(hours=1)).isoformat())
        waits.append((datetime.fromisoformat(found["next_try"]) - now).total_seconds())
    assert waits[:4] == [1, 2, 4, 8]
    assert waits == sorted(waits)
    assert waits[-1] == 600


def test_p9_a_problem_says_who_can_act() -> None:
    assert who(NoSpace(area="x", needed=1, free=0)) == "nobody"
    assert who(InvalidInput(what="x")) == "you"
    assert who(Damaged(name="x", why="y")) == "operator"
    assert who(MediumFailed(medium="x", why="y")) == "operator"
    assert who(ValueError()) == "operator"
    unexpected = problem(ValueError("secret"), datetime.now(UTC))
    assert "secret" not in unexpected["sentence"]
    assert unexpected["code"] == "unexpected"
