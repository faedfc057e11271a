# SPDX-License-Identifier: Apache-2.0
"""Typed values, their one canonical form, units, and what contracts want."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.cli.values import pair
from holdfast.errors import InvalidInput
from holdfast.model.facts import facts
from holdfast.model.metadata import (
    KEY_LIMIT,
    VALUE_LIMIT,
    Required,
    canonical,
    checked,
    checked_all,
    checked_key,
    digest,
    kind_of,
    missing,
)
from holdfast.model.units import check_unit, degrees, in_base


@pytest.mark.parametrize(
    ("given_value", "form"),
    [
        ("caf\u0065\u0301", '"caf\u00e9"'),
        (12.0, "12"),
        (1e21, "1000000000000000000000"),
        (1e23, "100000000000000000000000"),
        (0.1, "0.1"),
        (1e-7, "1e-7"),
        (1.5e-5, "0.000015"),
        (-1e-6, "-0.000001"),
        (5e-324, "5e-324"),
        (12345678901234567890123, "12345678901234567890123"),
        (True, "true"),
        ({"unit": "keV", "value": 12.0}, '{"unit":"keV","value":12}'),
        ({"date": "2026-03-01T12:00:00+02:00"}, '{"date":"2026-03-01T10:00:00Z"}'),
        ({"date": "2026-03-01T12:00Z"}, '{"date":"2026-03-01T12:00:00Z"}'),
        ({"date": "2026-03-01"}, '{"date":"2026-03-01"}'),
        ({"binary": "aGk="}, '{"binary":"aGk="}'),
    ],
)
def test_each_value_has_one_form(given_value: Any, form: str) -> None:
    found = checked("k", given_value)
    assert canonical(found) == form.encode()
    assert checked("k", found) == found


@pytest.mark.parametrize(
    "value",
    [
        None, [], [1], {}, {"value": 1}, {"value": "1", "unit": "keV"}, {"value": True, "unit": "keV"}, math.nan, math.inf,
        10**400, {"value": 1, "unit": "kev flux"}, {"value": 1, "unit": ""}, {"date": "yesterday"}, {"date": "2026-13-01"},
        {"date": "2026-03-01T10:00:00"}, {"date": "0001-01-01T00:00:00+23:00"}, {"binary": "!"}, "a\0b", "\ud800",
        "x" * (VALUE_LIMIT + 1), {"unknown": 1}, {"value": 1e308, "unit": "km"},
    ],
)  # fmt: skip
def test_what_is_no_value_is_refused_with_its_key(value: Any) -> None:
    with pytest.raises(InvalidInput, match="energy"):
        checked("energy", value)


@pytest.mark.parametrize("key", ["", " ", " a", "a\n", "a\0", "x" * (KEY_LIMIT + 1), "\ud800"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidInput):
        checked_key(key)


def test_limits_hold_for_the_whole_as_well() -> None:
    long = {f"k{number}": "x" * VALUE_LIMIT for number in range(41)}
    with pytest.raises(InvalidInput, match="at most 4000000 bytes"):
        checked_all(long)
    with pytest.raises(InvalidInput, match="at most 10000 keys"):
        checked_all({str(number): 1 for number in range(10_001)})


def test_the_checksum_is_of_the_content_and_not_of_how_it_was_written() -> None:
    one = checked_all({"b": 12.0, "a\u0308": "x"})
    other = checked_all({"\u00e4": "x", "b": 12})
    assert digest(one) == digest(other)
    assert digest(one) != digest(checked_all({"\u00e4": "x", "b": 13}))
    assert canonical({"\ue000": 1, "\U0001f600": 2}).decode() == '{"\U0001f600":2,"\ue000":1}'  # RFC 8785: UTF-16 order


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_numbers_come_back_exactly_from_json(number: float) -> None:
    try:
        found = checked("k", number)
    except InvalidInput:
        assert abs(number) > 1.7e308
        return
    back = json.loads(canonical(found))
    assert back == found
    assert float(back) == float(number)


@given(st.text(max_size=40))
def test_no_unit_hangs_or_escapes(text: str) -> None:
    try:
        dimension, _ = in_base(1.0, text)
    except ValueError:
        return
    assert dimension


def test_units_of_one_dimension_are_comparable() -> None:
    for unit, other, factor in (
        ("keV", "eV", 1000),
        ("h", "s", 3600),
        ("mm**2", "m2", 1e-6),
        ("counts/s", "1/s", 1),
        ("Angstrom", "pm", 100),
    ):
        one, two = in_base(1.0, unit), in_base(float(factor), other)
        assert one[0] == two[0]
        assert one[1] == pytest.approx(two[1])
    assert in_base(20.0, "degC")[1] == pytest.approx(293.15)
    assert degrees(180.0, "arcmin") == pytest.approx(3.0)
    assert degrees(1.0, "keV") is None
    assert check_unit(" keV ") == "keV"
    for sign, letter in (("\u2126", "\u03a9"), ("k\u2126", "k\u03a9"), ("\u212b", "\u00c5")):  # ohm, angstrom
        assert check_unit(sign) == letter
    # Of a logarithm: 10 dBm and 20 dBm are 10 mW and 100 mW, which no factor tells.
    assert (in_base(20.0, "dBm"), in_base(-3.0, "dB")) == (("decibelmilliwatt", 20.0), ("decibel", -3.0))
    unknown = ["m**99999", "9**9**9", "m9^9**9", "m**9 **9 **9", "((((((", "__import__", "kevin", "a" * 63 + "!"]
    for unit in unknown:
        with pytest.raises(ValueError, match="is not a unit"):
            check_unit(unit)


def test_what_a_contract_wants_is_named_with_how_bad_its_lack_is() -> None:
    rules = [Required("energy", "number"), Required("sample", severity="warn"), Required("start", "date")]
    metadata = checked_all({"energy": "12", "start": {"date": "2026-03-01"}})
    assert [(lack.key, lack.severity) for lack in missing(rules, metadata)] == [
        ("energy", "reject"),
        ("sample", "warn"),
    ]
    assert (
        missing(
            rules, checked_all({"energy": {"value": 1, "unit": "keV"}, "sample": "x", "start": {"date": "2026-03-01"}})
        )
        == []
    )
    assert kind_of({"binary": ""}) == "binary"


def test_a_number_that_is_too_large_for_its_unit_is_found_as_the_text_that_it_is() -> None:
    for text in ("1e308 m", "1e308 km", "1e999 m", "-1e305 nm Mm"):
        found = facts({"title": text}, {"note": text})
        assert found.texts == {"title": text, "note": text}
        assert all(math.isfinite(number) for number in found.numbers.values())
    far = {"value": 1e300, "unit": "rad"}
    assert all(math.isfinite(number) for number in facts({}, {"ra": far, "dec": 1}).numbers.values())


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("12", 12), ("12.40", 12.4), ("-0.50", -0.5), ("1e5", 1e5), ("5e-7", 5e-7), ("+3", 3), (".5", 0.5), ("0", 0),
        ("12.40 keV", {"value": 12.4, "unit": "keV"}), ("007", "007"), ("1e999", "1e999"), ("nan", "nan"), ("1_000", "1_000"),
        ("1.2.3", "1.2.3"), ("12keV", "12keV"), ("", ""), ("true", True),
    ],
)  # fmt: skip
def test_numbers_on_a_command_line_are_numbers_however_they_are_written(written: str, value: Any) -> None:
    key, found = pair(f"k={written}")
    assert (key, found, type(found)) == ("k", value, type(value))
    assert pair(f"text:k={written}") == ("k", written)
