# SPDX-License-Identifier: Apache-2.0
"""The library on paper, and the command that plays it."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from holdfast.cli.main import commands
from holdfast.errors import HoldfastError, InvalidInput
from holdfast.scheduling.geometry import MEDIA
from holdfast.simulation import library, trace
from holdfast.simulation.play import play
from holdfast.simulation.plot import waiting

EXAMPLE = Path(__file__).parents[2] / "docs" / "how-to" / "libraries" / "elettra.toml"
SMALL = """
[[drives]]
type = "LTO-8"
count = 2

[[tapes]]
media = "M8"
pairs = 3
filled = 1.0

[[tapes]]
media = "L8"
pairs = 2
batch = "x"
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "library.toml"
    path.write_text(SMALL)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(commands, ["simulate", *map(str, arguments)])


# ---- what is read ----


def test_the_example_has_the_tapes_of_elettra() -> None:
    made = library.read(EXAMPLE)
    assert len(made.tapes) == 810
    assert made.drives == ("LTO-8",) * 6
    assert len(made.recallable()) == 405


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            '"LTO-8"\ncount',
            '"LTO-5"\ncount',
            r"line 3: type of a drive must be one of LTO-7, LTO-8, LTO-9; found 'LTO-5'",
        ),
        ('"M8"', '"M9"', r"media must be one of"),
        ("count = 2", "count = 0", r"line 4: count must be from 1"),
        ("count = 2", "number = 2", r"line 4: number is not known in \[drives\]. Known are count, type"),
        ("filled = 1.0", "filled = 2", r"line 9: filled is a share from 0 to 1"),
        ("filled = 1.0", 'filled = "all"', r"line 9: filled must be a number; found 'all'"),
        ("[[drives]]", "[[drive]]", r"drive is not known"),
        ("[[drives]]", "[drives", r"is not TOML"),
        ("[[drives]]", "[timing]\nrobot = -1\n[[drives]]", r"line 3: robot must not be negative"),
        ("[[drives]]", "[writing]\nsegment = 1.5\n[[drives]]", r"line 3: segment must be a whole number"),
        ("[[drives]]", "[policy]\nshares = { a = 0 }\n[[drives]]", r"line 3: shares must be a table"),
        ("[[drives]]", "timing = 3\n[[drives]]", r"timing must be a table"),
        ('[[drives]]\ntype = "LTO-8"\ncount = 2', "", r"there must be at least one \[\[drives\]\]"),
    ],
)
def test_a_wrong_library_is_told_with_its_line(small: Path, old: str, new: str, told: str) -> None:
    small.write_text(SMALL.replace(old, new))
    with pytest.raises(InvalidInput, match=told):
        library.read(small)


def test_policy_and_shares_are_read(small: Path) -> None:
    small.write_text(SMALL + "[policy]\nageing_cap = 60\n[policy.shares]\nlight = 2\n")
    made = library.read(small)
    assert made.policy.ageing_cap == 60.0
    assert made.policy.shares == {"light": 2}
    assert {tape.batch for tape in made.tapes} == {"", "x/1", "x/2"}


def test_what_if_changes_drives_and_media(small: Path) -> None:
    made = library.read(small)
    assert len(made.with_drives(+2).drives) == 4
    with pytest.raises(InvalidInput, match="leaves none"):
        made.with_drives(-2)
    changed = made.with_media(MEDIA["L9"])
    assert changed.drives == ("LTO-9", "LTO-9")
    assert changed.tapes[0].filled == MEDIA["L9"].capacity


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the columns must be at,kind"),
        ("HEAD\n1,recall,p,5,g,A00000", "line 2: .*A row is at,kind"),
        ("HEAD\n1,recall,p,many,g,A00000,0", "line 2: invalid literal"),
        ("HEAD\n1,erase,p,5,g,A00000,0", "line 2: kind is 'erase'"),
        ("HEAD\n-1,recall,p,5,g,A00000,0", "line 2: at, size and start must not be negative"),
        ("HEAD\n9,recall,p,5,g,A00000,0\n8,recall,p,5,g,A00000,0", "line 3: time goes back"),
    ],
)
def test_a_wrong_trace_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text.replace("HEAD", ",".join(trace.COLUMNS)))
    with pytest.raises(InvalidInput, match=told):
        list(trace.read_csv(path))


def test_a_trace_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    tapes = library.read(EXAMPLE).recallable()
    rows = list(trace.recalls(tapes, count=50, hours=1, seed=3, groups=4))
    assert trace.write_csv(tmp_path / "t.csv", rows) == 50
    again = list(trace.read_csv(tmp_path / "t.csv"))
    assert [(row.package, row.size, row.start, row.group) for row in again] == [
        (row.package, row.size, row.start, row.group) for row in rows
    ]


# ---- what is played ----


def test_the_weighted_scheduler_beats_first_come_by_far() -> None:
    made = library.read(EXAMPLE)
    found = {
        name: play(made, trace.recalls(made.recallable(), count=600, hours=0, seed=1), scheduler=name)[0]
        for name in ("fifo", "oldest", "weighted")
    }
    assert found["weighted"]["mounts"] == found["weighted"]["tapes_touched"]
    assert found["weighted"]["mean_s"] < found["oldest"]["mean_s"] < found["fifo"]["mean_s"]
    assert all(one["makespan_s"] > one["bound_s"] for one in found.values())


def test_a_library_that_learns_its_wraps_is_faster(small: Path) -> None:
    small.write_text(SMALL + "[truth]\nbias = 0.01\njitter = 0.005\nnoise = 1.0\n")
    made = library.read(small)
    tapes = made.recallable()
    early = list(trace.recalls(tapes, count=40, hours=0, seed=1))
    late = [replace(row, at=90_000.0) for row in trace.recalls(tapes, count=300, hours=0, seed=2)]
    spent = {learn: play(made, [*early, *late], learn=learn)[0]["locating_s"] for learn in (False, True)}
    assert spent[True] < 0.8 * spent[False]


def test_what_was_written_is_recalled_from_both_buffer_and_tape(small: Path) -> None:
    made = library.read(small)
    rows = [trace.Row(0.0, "write", "a", 64 * 10**9, "g"), trace.Row(1.0, "recall", "a", 0, "g")]
    rows += [trace.Row(10.0 * n, "write", f"b{n}", 64 * 10**9, "g") for n in range(1, 12)]
    rows += [trace.Row(90_000.0, "recall", "a", 0, "g"), trace.Row(90_000.0, "recall", "b7", 0, "g")]
    found, waits = play(made, rows)
    assert found["from_buffer"] == 1
    assert found["written_bytes"] == 12 * 64 * 10**9
    assert next(iter(waits)) == 0.0
    assert len(waits) == 3


def test_rows_that_fit_no_tape_are_told(small: Path) -> None:
    made = library.read(small)
    for row, told in (
        (trace.Row(0.0, "recall", "p", 1, "g", "Z9", 0), "names tape Z9"),
        (trace.Row(0.0, "recall", "p", 10**12, "g", "A00000", 8 * 10**12), "ends behind the end"),
        (trace.Row(0.0, "recall", "p", 1, "g"), "neither wrote before"),
        (trace.Row(0.0, "write", "p", 20 * 10**12, "g"), "The library is full"),
    ):
        with pytest.raises(InvalidInput, match=told):
            play(made, [row])
    with pytest.raises(InvalidInput, match="no rows"):
        play(made, [])


# ---- what people see ----


def test_the_command_prints_a_table_and_writes_files(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run(
        "--library", small, "--generate", "recalls", "--requests", 40, "--hours", 0.5, "--drives=+1", "--out", out
    )
    assert done.exit_code == 0, done.output
    assert "wait, mean" in done.output
    assert "what if" in done.output
    assert len((out / "requests.csv").read_text().splitlines()) == 41
    svg = ET.fromstring((out / "waiting.svg").read_text())
    texts = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {"hours since the request", "requests read", "as it is", "what if"} <= set(texts)


def test_the_command_gives_json_and_plays_a_trace_again(small: Path, tmp_path: Path) -> None:
    saved = tmp_path / "trace.csv"
    made = run("--library", small, "--generate", "recalls", "--requests", 30, "--save-trace", saved, "--json")
    again = run("--library", small, "--trace", saved, "--json", "--ageing-cap", 1, "--write-enough", 100)
    first = json.loads(made.output)["as_it_is"]
    assert json.loads(again.output)["as_it_is"]["mounts"] == first["mounts"]
    assert "what_if" in json.loads(again.output)


def test_years_and_bursts_can_be_made_up(small: Path) -> None:
    years = run("--library", small, "--generate", "years", "--datasets", 400, "--years", 0.01, "--json")
    assert json.loads(years.output)["as_it_is"]["written_bytes"] > 0
    burst = run("--library", small, "--generate", "burst", "--hours", 0.05, "--media", "L9", "--json")
    changed = json.loads(burst.output)["what_if"]
    assert changed["buffer_peak_bytes"] > 10**12
    assert 0 < changed["drain_s"] < changed["makespan_s"]


def test_a_command_that_makes_no_sense_is_told(small: Path) -> None:
    for arguments, told in (
        ((), "either which trace"),
        (("--generate", "recalls", "--requests", 0), "must be above 0"),
        (("--trace", small.parent / "none.csv"), "cannot be read"),
    ):
        done = run("--library", small, *arguments)
        assert isinstance(done.exception, HoldfastError)
        assert told in done.exception.sentence
    small.write_text(SMALL.replace("filled = 1.0", "filled = 0"))
    done = run("--library", small, "--generate", "recalls")
    assert isinstance(done.exception, HoldfastError)
    assert "holds anything" in done.exception.sentence


def test_a_picture_of_nothing_is_still_a_picture() -> None:
    assert ET.fromstring(waiting({"as it is": []})).tag.endswith("svg")
