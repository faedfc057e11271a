# SPDX-License-Identifier: Apache-2.0
"""The faults that only the simulator has, the library's own state, and its limits."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from holdfast.errors import LibraryUnavailable, MediumFailed, TapeFull, TransientError
from holdfast.tape.faults import Fault, read_faults, write_faults
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.faults import sample

SERIAL = "HF0001L8"


@pytest.fixture
def library(tmp_path: Path) -> SimulatedLibrary:
    return SimulatedLibrary.create(tmp_path / "library", tapes=2, capacity=20_000_000)


def write(library: SimulatedLibrary, name: str, content: bytes) -> None:
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write(name, [content], {})


def read(library: SimulatedLibrary, name: str) -> bytes:
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        return b"".join(session.read(name))


def test_a_transient_read_error_is_not_noticed(library: SimulatedLibrary) -> None:
    content = sample(3_000_000)
    write(library, "a", content)
    write_faults(library.root, [Fault(SERIAL, "read-error", offset=2_000_000, times=2)])
    assert read(library, "a") == content
    assert [fault.times for fault in read_faults(library.root)] == [0]
    assert library.stat(SERIAL).health["mediaRecoveredReadErrors"] == 2
    write_faults(library.root, [Fault(SERIAL, "read-error", offset=2_000_000, times=3)])
    with pytest.raises(MediumFailed):
        read(library, "a")
    assert read(library, "a") == content


def test_a_flipped_bit_is_seen_by_reading_only(library: SimulatedLibrary) -> None:
    content = sample(3_000_000)
    write(library, "a", content)
    write(library, "b", content)
    write_faults(library.root, [Fault(SERIAL, "bit-flip", offset=2_000_000, name="a")])
    wrong = read(library, "a")
    assert [n for n in range(len(content)) if wrong[n] != content[n]] == [2_000_000]
    assert read(library, "b") == content


def test_a_lying_sync_is_seen_by_reading_back_only(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "sync-lies", at_op=1, times=1)])
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write("a", [sample(3_000_000)], {})
        first = session.sync("one")
        session.write("b", [sample(3_000_000)], {})
        assert session.sync("two") > first
        assert {file.name: file.size for file in session.list()} == {"a": 3_000_000, "b": 3_000_000}
        assert b"".join(session.read("a")) == sample(3_000_000)
        assert b"".join(session.read("b")) != sample(3_000_000)
    assert library.stat(SERIAL).consistent


def test_a_permanent_write_error_leaves_a_stub_and_what_was_before(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "write-error", after_bytes=5_000_000)])
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write("unsynced", [sample(2_000_000)], {"k": "v"})
        with pytest.raises(MediumFailed, match="0x60"):
            session.write("stub", [sample(4_000_000)], {})
    write_faults(library.root, [])
    volume = library.stat(SERIAL)
    assert (volume.lock_state, volume.consistent, volume.generation) == (0x60, True, 2)
    assert volume.health["mediaPermanentWriteErrors"] == 1
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert [(file.name, file.size) for file in session.list()] == [("stub", 0), ("unsynced", 2_000_000)]
    with pytest.raises(MediumFailed, match="frozen"):
        write(library, "a", b"x")


def test_capacity_is_never_exceeded(library: SimulatedLibrary) -> None:
    written = 0
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        for number in range(100):
            try:
                session.write(f"{number}", [sample(700_001)], {})
            except TapeFull:
                break
            written += 700_001
            session.delete(f"{number}")
    volume = library.stat(SERIAL)
    assert written <= 20_000_000 - 200_000 < written + 700_001  # 1 % is the early warning
    assert volume.capacity - volume.free == 19_800_000
    assert [tape.state for tape in library.inventory()] == ["full", "active"]


def test_a_missing_tape_and_foreign_folders(library: SimulatedLibrary) -> None:
    shutil.rmtree(library.root / "HF0002L8")
    (library.root / "lost+found").mkdir()
    assert [(tape.serial, tape.state) for tape in library.inventory()] == [(SERIAL, "active"), ("HF0002L8", "missing")]
    with pytest.raises(MediumFailed), library.sessions(["HF0002L8"], "read", timeout=0):
        pass


def test_create_adds_and_keeps(library: SimulatedLibrary) -> None:
    write(library, "a", b"x")
    shutil.rmtree(library.root / "HF0002L8")
    again = SimulatedLibrary.create(library.root, tapes=3, capacity=5_000_000, drives=3)
    assert [tape.state for tape in again.inventory()] == ["active", "missing", "active"]
    assert list(again.drives()) == ["D1", "D2", "D3"]
    assert (again.stat(SERIAL).capacity, again.stat("HF0003L8").capacity) == (20_000_000, 5_000_000)
    assert read(again, "a") == b"x"
    assert len(SimulatedLibrary.create(library.root, tapes=1).inventory()) == 3


def test_what_is_no_library_is_unavailable(tmp_path: Path, library: SimulatedLibrary) -> None:
    with pytest.raises(LibraryUnavailable):
        SimulatedLibrary(tmp_path / "nowhere").inventory()
    (library.root / ".library" / "faults.json").write_text(json.dumps([{"serial": SERIAL, "fault": "gremlins"}]))
    with pytest.raises(LibraryUnavailable, match="gremlins"), library.sessions([SERIAL], "read", timeout=0):
        pass
    (library.root / ".library" / "tapes" / f"{SERIAL}.json").write_text("{")
    with pytest.raises(LibraryUnavailable):
        library.stat(SERIAL)


def test_a_process_at_its_limits_is_no_failed_tape(library: SimulatedLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.write("a", [b"x"], {})
        monkeypatch.setattr("holdfast.tape.blocks.os.open", none_left)
        with pytest.raises(TransientError):
            session.write("b", [b"x"], {})
        with pytest.raises(TransientError):
            list(session.read("a"))
        monkeypatch.undo()
        session.write("b", [b"x"], {})
        assert list(session.read("b")) == [b"x"]
