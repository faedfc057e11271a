# SPDX-License-Identifier: Apache-2.0
"""The generated reference pages are those of this code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from holdfast.settings import known_keys

ROOT = Path(__file__).parents[2]


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/generate_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_on_its_page() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert [key for key in known_keys() if f"`{key}`" not in page] == []
