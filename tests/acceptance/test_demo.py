# SPDX-License-Identifier: Apache-2.0
"""`make demo` is what a newcomer sees first: it tells its whole story and ends by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from holdfast.testing.program import environment

PROJECT = Path(__file__).parents[2]


def test_the_demo_tells_its_story_and_ends(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    # A shell without job control starts its background processes with Ctrl-C ignored; the demo must end there too.
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$0" "$1"', PROJECT / "scripts" / "demo", folder],
        capture_output=True, text=True, check=False, timeout=240, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^(\d)\. ", done.stdout, re.MULTILINE) == list("123456789")
    for said in ("0 files are left", "No difference.", "All files are right."):
        assert said in done.stdout
    assert (folder / "opened" / "manifest-sha512.txt").is_file()
    assert not _alive(folder)


def test_the_demo_says_where_to_look_when_it_is_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen(
        [PROJECT / "scripts" / "demo", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if line.startswith("2. "):
                break
        demo.send_signal(signal.SIGTERM)
        told, errors = demo.communicate(timeout=120)
    assert demo.returncode == 130, told + errors
    assert f"{folder}/up.log" in errors
    assert not _alive(folder)


def _alive(folder: Path) -> list[str]:
    """Return the command lines of processes that still name the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if int(process.name) != os.getpid() and any(os.fsencode(folder) in word for word in words):
            found.append(b" ".join(words).decode())
    return found
