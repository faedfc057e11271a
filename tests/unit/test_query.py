# SPDX-License-Identifier: Apache-2.0
"""Queries: what they mean, how units and dates are read, and where they are wrong."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import InvalidInput
from holdfast.model.conditions import All, Cone, Either, File, Has, Is, Like, Not, Range, Words
from holdfast.model.facts import NUMBER
from holdfast.model.query import parse


def test_conditions_are_read() -> None:
    assert parse("instrument = 'P06'") == Is("instrument", "P06")
    assert parse("\"a b\" = 'it''s'") == Is("a b", "it's")
    assert parse("fits:OBS_ID = 3") == Range("fits:OBS_ID", "number", 3, 3)
    assert parse("3 < x") == Range("x", "number", low=3, low_in=False)
    assert parse("x IS NULL") == Not(Has("x"))
    assert parse("x <> 'a'") == All((Has("x"), Not(Is("x", "a"))))
    assert parse("x IN ('a', 'b')") == Either((Is("x", "a"), Is("x", "b")))
    assert parse("x LIKE 'a%' AND ok = TRUE") == All((Like("x", "a%"), Is("ok", value=True)))
    assert parse("CONE(370, -3, 0.5)") == Cone(10, -3, 0.5)
    assert parse("FILE('a.h5') OR TEXT('Crab Nebula')") == Either((File("a.h5"), Words(("crab", "nebula"))))
    assert parse("  ") == All(())
    assert parse("Crab_Nebul* 2026-01") == Words(("crab", "nebul*", "2026", "01"))
    assert parse("größe") == Words(("grösse",))


def test_units_may_stand_behind_numbers_and_bounds_share_theirs() -> None:
    quoted = parse("energy BETWEEN '12 keV' AND '13 keV'")
    assert parse("energy BETWEEN 12 AND 13 keV") == quoted
    assert parse("energy BETWEEN 12 keV AND 13 keV") == quoted
    assert parse("energy between 12 and 13 keV") == quoted
    assert isinstance(quoted, All)
    low = quoted.parts[0]
    assert isinstance(low, Range)
    assert low.dimension != "number"
    assert low.low == pytest.approx(12 * 1.602176634e-16)
    same = parse("energy = '12000 eV'")
    assert isinstance(same, Range)
    assert same.low < 12 * 1.602176634e-16 < same.high
    assert parse("x = 1 AND y = 2") == All((Range("x", "number", 1, 1), Range("y", "number", 2, 2)))


def test_the_bytes_of_a_dataset_have_units_too() -> None:
    assert parse("bytes >= 2 MB") == Range("bytes", NUMBER, low=pytest.approx(2e6, rel=1e-8))
    assert parse("bytes < 2000000") == Range("bytes", NUMBER, high=2e6, high_in=False)


def test_a_day_is_long_and_a_moment_is_not() -> None:
    day = parse("start = DATE('2026-03-01')")
    assert isinstance(day, Range)
    assert day.high - day.low == pytest.approx(86400, abs=1)
    after, before = parse("start > '2026-03-01'"), parse("start < '2026-03-01'")
    assert isinstance(after, Range)
    assert isinstance(before, Range)
    assert after.low == day.high
    assert before.high == day.low
    moment = parse("start = TIMESTAMP('2026-03-01T10:00:00Z')")
    assert isinstance(moment, Range)
    assert moment.low == moment.high
    assert parse("T_DURING(start, INTERVAL('2026-03-01', '..'))") == All((Range("start", "date", low=day.low),))


def test_a_text_in_quotes_may_begin_with_a_number() -> None:
    campaign = Is("title", "2026 campaign")
    assert parse("title = '2026 campaign'") == campaign
    assert parse("title <> '2026 campaign'") == All((Has("title"), Not(campaign)))
    assert parse("title IN ('2026 campaign', '3 o''clock')") == Either((campaign, Is("title", "3 o'clock")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("energy > 12 keV AND", "ends too early"),
        ("a = 1; drop table x", "at character 6: 'a = 1' is followed by '; drop"),
        ("e > 12 keV AND f > 13 eV AND = 3", "at character 30"),
        ("x = 'open", "cannot be read at character 5"),
        ("energy > '12 parsnip'", "not a unit that is known"),
        ("energy = 12 parsnip", "not a unit that is known"),
        ("energy IN (12 parsnip)", "not a unit that is known"),
        ("length > 1e308 km", "more than can be compared"),
        ("T_AFTER(start, '2026-03-01T10:00:00')", "where a date is wanted"),
        ("T_BEFORE('yesterday', start)", "where a date is wanted"),
        ("T_AFTER(start, 12 keV)", "where a date is wanted"),
        ("T_DURING(start, INTERVAL('2026-03-01', 'now'))", "where a date is wanted"),
        ("start > DATE('2026-99-01')", "is not|has the date"),
        ("like(a)", "like with 1 values; it takes 2"),
        ("isnull()", "isNull with 0 values; it takes 1"),
        ("isnull(a, b)", "isNull with 2 values"),
        ("between(a, 1)", "it takes 3"),
        ("t_after()", "it takes 2"),
        ("T_BEFORE(a)", "it takes 2"),
        ("t_during()", "it takes 2"),
        ("t_during(a)", "it takes 2"),
        ("T_DURING(a, INTERVAL('2026-03-01'))", "has T_DURING with"),
        ("T_DURING(a, INTERVAL())", "has T_DURING with"),
        ('"="(a)', "it takes 2"),
        ("x = y", "compares a key with"),
        ("x + 1 = 2", "needs the name of a key"),
        ("CONE(1, 91, 1)", "declination"),
        ("S_INTERSECTS(pos, POINT(1 2))", "not known here"),
        ("(" * 101 + "a=1" + ")" * 101, "parentheses"),
        ("-" * 50 + "1 = x", "parentheses"),
        ("NOT " * 200 + "a=1", "parentheses"),
        ("x = 'a'" * 1000, "4000 characters"),
        (" OR ".join(["a=1"] * 150), "100 conditions"),
        ("x > TRUE", "there is only ="),
        ("x = 1e999", "compares a key with"),
        ("(+)", "cannot be read"),
        ("!!! ???", "no word"),
        ("x IS NULL AND hello", "has no comparison with 'hello'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=None) as caught:
        parse(text)
    assert any(part in caught.value.sentence for part in said.split("|")), caught.value.sentence


@given(st.text(max_size=200) | st.text(alphabet="ab=<>()'\"-+*/ 1.ANDOTRkeV%_\\", max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    with suppress(InvalidInput):
        parse(text)
