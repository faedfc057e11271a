# SPDX-License-Identifier: Apache-2.0
"""Several processes on one library: they exclude each other, and a killed one leaves what its last index says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.errors import Busy
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.faults import sample

SERIAL = "HF0001L8"

HOLDING = """
import sys
from pathlib import Path
from holdfast.tape.simulator import SimulatedLibrary
with SimulatedLibrary(Path(sys.argv[1])).sessions(sys.argv[2:], "write", timeout=0) as sessions:
    print("taken", flush=True)
    sys.stdin.read()
"""

# Writes and syncs "first", deletes it, then writes "second" and "third", and dies somewhere.
WRITING = """
import os, signal, sys
from pathlib import Path
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.faults import sample

def chunks(name, size, die_at):
    content = sample(size, name)
    for begin in range(0, size, 1 << 20):
        if begin >= die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield memoryview(content)[begin:begin + (1 << 20)]

root, die_in, die_at, synced = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4].split()
with SimulatedLibrary(root).sessions(["HF0001L8"], "write", timeout=0) as (session,):
    for name in ("first", "second", "third"):
        if name == "second":
            session.delete("old")
        size = 6_000_000
        session.write(name, chunks(name, size, die_at if die_in == name else size), {"of": name}, size=size)
        if name in synced:
            session.sync(name)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def library(tmp_path: Path) -> SimulatedLibrary:
    library = SimulatedLibrary.create(tmp_path / "library", tapes=3, capacity=100_000_000)
    with library.sessions([SERIAL], "write") as (session,):
        session.write("old", [b"old"], {"of": "old"})
    return library


def test_two_processes_exclude_each_other(library: SimulatedLibrary) -> None:
    command = [sys.executable, "-c", HOLDING, str(library.root), SERIAL, "HF0002L8"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        assert set(library.drives().values()) == {SERIAL, "HF0002L8"}
        for serial in (SERIAL, "HF0003L8"):
            with pytest.raises(Busy), library.sessions([serial], "read", timeout=0):
                pass
        holder.kill()
    assert set(library.drives().values()) == {None}
    with library.sessions([SERIAL, "HF0003L8"], "read", timeout=0) as (session, _):
        assert [file.name for file in session.list()] == ["old"]


@pytest.mark.parametrize(
    ("die_in", "die_at", "synced", "kept", "lost"),
    [
        ("first", 0, "", ["old"], ["first"]),
        ("first", 2 << 20, "", ["old"], ["first"]),
        ("first", 5 << 20, "", ["old"], ["first"]),
        ("second", 3 << 20, "first", ["first", "old"], ["second"]),
        ("second", 3 << 20, "", ["old"], ["first", "second"]),
        ("third", 5 << 20, "first second", ["first", "second"], ["third"]),
        ("", 0, "first second", ["first", "second"], ["third"]),
        ("", 0, "first", ["first", "old"], ["second", "third"]),
        ("", 0, "", ["old"], ["first", "second", "third"]),
        ("", 0, "first third", ["first", "second", "third"], []),
    ],
)
def test_exactly_the_synced_files_survive(
    library: SimulatedLibrary, die_in: str, die_at: int, synced: str, kept: list[str], lost: list[str]
) -> None:
    command = [sys.executable, "-c", WRITING, str(library.root), die_in, str(die_at), synced]
    assert subprocess.run(command, check=False).returncode == -9
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        assert list(session.recovered) == lost
        assert [file.name for file in session.list()] == kept
        for file in session.list():
            expected = b"old" if file.name == "old" else sample(6_000_000, file.name)
            assert b"".join(session.read(file.name)) == expected
            assert file.attributes == {"of": file.name}
        for name in lost:
            session.write(name, [b"again"], {})
    volume = library.stat(SERIAL)
    assert volume.consistent
    # A file that was only begun may have had nothing on the tape yet.
    whole = sum(6_000_000 for name in [*kept, *lost] if name not in {"old", die_in})
    assert volume.capacity - volume.free >= 3 + whole


@pytest.mark.parametrize(
    ("point", "kept"), [("write.half", ["old"]), ("write.closed", ["old"]), ("write.synced", ["first", "old"])]
)
def test_crash_points(library: SimulatedLibrary, point: str, kept: list[str]) -> None:
    command = [sys.executable, "-c", WRITING, str(library.root), "", "0", "first"]
    environment = {**os.environ, "HOLDFAST_CRASH": point}
    assert subprocess.run(command, env=environment, check=False).returncode == -9
    assert not library.drives()["D1"]
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert [file.name for file in session.list()] == kept


def test_a_death_while_recovering_is_recovered_from(library: SimulatedLibrary) -> None:
    command = [sys.executable, "-c", WRITING, str(library.root), "second", str(3 << 20), ""]
    assert subprocess.run(command, check=False).returncode == -9
    # As if the recovery had died after it dropped one of two files: the mark is still there.
    mark = library.root / ".library" / "tapes" / f"{SERIAL}.dirty"
    assert mark.exists()
    (library.root / SERIAL / "second").unlink()
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert [file.name for file in session.list()] == ["old"]
        assert b"".join(session.read("old")) == b"old"
    assert not mark.exists()
