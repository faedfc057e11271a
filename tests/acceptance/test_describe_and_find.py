# SPDX-License-Identifier: Apache-2.0
"""Describing a dataset and finding it again, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

from holdfast.testing.program import Up


def test_a_dataset_is_described_and_found(up: Up, tmp_path: Path) -> None:
    folder = up.sources / "described"
    folder.mkdir()
    (folder / "scan.h5").write_bytes(b"x")
    wish = ("archive", folder, "--title", "Lanthanum hexaboride", "--meta", "energy=12.4 keV", "--meta", "ok=true")
    ident = str(up.json(*wish, "--wait")["id"])
    more, logo = tmp_path / "more.toml", tmp_path / "logo"
    more.write_text('"beam size" = {value = 3, unit = "um"}\nend = 2026-03-01T12:00:00+02:00\nday = 2026-03-01\n')
    logo.write_bytes(b"\0\1")
    given = ("date:start=2026-03-01T10:00:00Z", "text:run=007", f"binary:logo=@{logo}", "sample=LaB6")
    found = up.json("meta", ident, *given, "--file", more)
    assert found["values"] == {
        "energy": {"value": 12.4, "unit": "keV"}, "ok": True, "beam size": {"value": 3, "unit": "um"}, "run": "007",
        "end": {"date": "2026-03-01T10:00:00Z"}, "day": {"date": "2026-03-01"}, "start": {"date": "2026-03-01T10:00:00Z"},
        "logo": {"binary": "AAE="}, "sample": "LaB6",
    }  # fmt: skip
    for query in (
        "sample = 'LaB6'",
        "energy BETWEEN 12 AND 13 keV",
        '"beam size" < 1 mm',
        "lanthanum hexa*",
        "FILE('scan.h5')",
    ):
        assert [item["id"] for item in up.json("search", query)["items"]] == [ident], query
    text = up.run("search", "sample", "=", "'LaB6'", "--facets", "run", "--save", "lab6").stdout
    for word in (ident, "Lanthanum hexaboride", "1 datasets", "007"):
        assert word in text, text
    assert up.json("search", "--saved", "lab6")["count"] == 1
    assert "sample = 'LaB6'" in up.run("search", "--list").stdout
    assert up.run("search", "--forget", "lab6").returncode == 0
    assert up.json("search", "--list")["items"] == []
    shown = up.run("meta", ident, "--remove", "run").stdout
    assert "12.4 keV" in shown
    assert "run" not in shown
    history = up.run("meta", ident, "--history").stdout
    assert "007" in history
    assert "LaB6" in history


def test_what_cannot_be_read_is_said(up: Up, tmp_path: Path) -> None:
    wrong = up.run("search", "energy > 12 keV AND")
    assert wrong.returncode == 2
    assert "ends too early" in wrong.stderr
    assert up.run("search", "energy > 12 parsnip").returncode == 2
    assert up.run("search", "--saved", "nothing").returncode == 4
    assert up.run("meta", "0" * 26).returncode == 4
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps([1]))
    for wish in (("novalue",), ("binary:x=y",), ("--file", str(broken)), ("--file", str(tmp_path / "gone.toml"))):
        assert up.run("meta", "0" * 26, *wish).returncode == 2, wish
