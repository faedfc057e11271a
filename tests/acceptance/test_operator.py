# SPDX-License-Identifier: Apache-2.0
"""What an operator does without a running archive."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from holdfast.tape.faults import Fault, write_faults
from holdfast.tape.locks import Deadline, take_tapes
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.program import holdfast

SERIAL = "HF0002L8"


@pytest.fixture
def library(tmp_path: Path) -> SimulatedLibrary:
    return SimulatedLibrary.create(tmp_path / "library", tapes=2, capacity=400_000_000)


def test_a_library_is_checked_on_one_scratch_tape(library: SimulatedLibrary, tmp_path: Path) -> None:
    check = ("admin", "library", "check", str(library.root), "--data", str(tmp_path / "data"))
    listed = holdfast(*check)
    assert listed.returncode == 0
    assert "HF0001L8" in listed.stdout
    assert "Nothing was written" in listed.stdout
    asked = holdfast(*check, "--tape", SERIAL)
    assert asked.returncode == 130
    assert library.stat(SERIAL).generation == 1
    done = holdfast(*check, "--tape", SERIAL, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks passed" in done.stdout
    assert "FAILED" not in done.stdout
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        assert not session.list()
        session.write("somebody's.data".replace("'", ""), [b"x"], {})
    refused = holdfast(*check, "--tape", SERIAL, "--yes")
    assert refused.returncode == 5
    assert "is not empty: it holds 1 files, somebodys.data among them" in refused.stderr
    assert library.stat("HF0001L8").generation == 1


def test_what_fails_is_said(library: SimulatedLibrary, tmp_path: Path) -> None:
    write_faults(library.root, [Fault(SERIAL, "bit-flip", offset=4_000_000)])
    done = holdfast(
        "admin", "library", "check", str(library.root), "--tape", SERIAL, "--yes", "--json",
        "--data", str(tmp_path / "data"),
    )  # fmt: skip
    assert done.returncode == 8
    found = json.loads(done.stdout.splitlines()[-1])
    assert all("come back" in shows for shows in found["failed"])
    assert len(found["failed"]) == 4
    assert "a file is never overwritten" in found["passed"]


def test_what_is_no_library_is_said(tmp_path: Path) -> None:
    done = holdfast("admin", "library", "check", str(tmp_path), "--data", str(tmp_path / "data"))
    assert done.returncode == 8
    assert "nothing is mounted there" in done.stderr
    done = holdfast("admin", "library", "check", str(tmp_path / "nowhere"), "--data", str(tmp_path / "data"))
    assert done.returncode == 2


def test_what_was_taken_out_of_use_is_put_back(tmp_path: Path) -> None:
    library = SimulatedLibrary.create(tmp_path / "data" / "library", tapes=2)
    put_back = ("admin", "library", "put-back", SERIAL, "--data", str(tmp_path / "data"))
    assert holdfast(*put_back).returncode == 4
    take_tapes(library.root / ".library" / "locks", [SERIAL], Deadline(0))[SERIAL].lock_out("it did not answer")
    assert holdfast(*put_back).returncode == 0
    with library.sessions([SERIAL], "read", timeout=0):
        pass
