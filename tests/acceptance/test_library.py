# SPDX-License-Identifier: Apache-2.0
"""The Python library, as its page shows it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from holdfast.testing.program import Up, environment

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-library.md"


def test_the_example_works_and_can_be_repeated(up: Up, tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "run7" / "raw").mkdir(parents=True)
    for name, content in {"log": b"begun", "raw/frame": bytes(2_000_000)}.items():
        (tmp_path / "run7" / name).write_bytes(content)
    token = (up.data / "token").read_text().strip()
    own = environment(HOLDFAST_URL=f"http://127.0.0.1:{up.port}", HOLDFAST_TOKEN=token)
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=tmp_path, env=own, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done
        told.append(done.stdout)
        for path in ("log", "raw/frame"):
            assert (tmp_path / "back" / "run7" / path).read_bytes() == (tmp_path / "run7" / path).read_bytes()
        (tmp_path / "back" / "run7" / "log").unlink()
    assert told[0] == told[1]
    assert "LaB6, run 7 2 2000005" in told[0]
