# SPDX-License-Identifier: Apache-2.0
"""Every sample file has a known origin, a licence whose text is here, and the bytes that its list says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTED = re.compile(r"^\| `([^`]+)` \| (\d+) \|.*\| `([0-9a-f]{128})` \|$", re.MULTILINE)
NOT_LISTED = {"SOURCES.md", "odd-names.tar", "odd-names.txt"}


@pytest.mark.parametrize("folder", ["examples", "tests/data"])
def test_samples_are_those_of_their_list(folder: str) -> None:
    base = ROOT / folder
    text = (base / "SOURCES.md").read_text(encoding="utf-8")
    listed = {name: (int(size), digest) for name, size, digest in LISTED.findall(text)}
    found = {
        str(path.relative_to(base)): (path.stat().st_size, hashlib.sha512(path.read_bytes()).hexdigest())
        for path in base.rglob("*")
        if path.is_file() and path.name not in NOT_LISTED and "licences" not in path.parts
    }
    assert found == listed


@pytest.mark.parametrize("folder", ["examples", "tests/data"])
def test_every_licence_text_is_here(folder: str) -> None:
    base = ROOT / folder
    named = set(re.findall(r"\]\(licences/([^)]+)\)", (base / "SOURCES.md").read_text(encoding="utf-8")))
    assert named == {path.name for path in (base / "licences").iterdir()}
