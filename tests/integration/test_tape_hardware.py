# SPDX-License-Identifier: Apache-2.0
"""What tapes, drives and libraries of real sites do on bad days; the twin on another tape is never harmed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from holdfast.errors import InvalidInput, MediumFailed, TransientError
from holdfast.tape.faults import Fault, read_faults, restart_server, write_faults
from holdfast.tape.library import TapeSession
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.faults import sample

SERIAL, TWIN = "HF0001L8", "HF0002L8"
CONTENT = sample(4_000_000)


@pytest.fixture
def library(tmp_path: Path) -> SimulatedLibrary:
    return SimulatedLibrary.create(tmp_path / "library", tapes=2, capacity=50_000_000)


def put(session: TapeSession, name: str, content: bytes = CONTENT) -> int:
    session.write(name, [content], {"of": name})
    return session.sync(name)


def content_of(library: SimulatedLibrary, serial: str, name: str) -> bytes:
    with library.sessions([serial], "read", timeout=0) as (session,):
        return b"".join(session.read(name))


@pytest.fixture
def twins(library: SimulatedLibrary) -> Iterator[list[TapeSession]]:
    """Two sessions with one file each; afterwards the twin has it still, and takes more."""
    with library.sessions([TWIN], "write", timeout=0) as (twin,):
        with library.sessions([SERIAL], "write", timeout=0) as (session,):
            put(session, "first")
            put(twin, "first")
            session.close()
        yield [twin]
        put(twin, "second")
    assert content_of(library, TWIN, "first") == content_of(library, TWIN, "second") == CONTENT
    assert set(library.drives().values()) == {None}


@pytest.mark.usefixtures("twins")
def test_both_partitions_fail(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "write-error", after_bytes=9_000_000, lock_state=0xE0)])
    before = library.stat(SERIAL).generation
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        session.delete("first")
        session.write("unsynced", [CONTENT], {})
        with pytest.raises(MediumFailed, match=r"0xe0 \(.*data partition, write error on the index partition\)"):
            session.write("more", [CONTENT], {})
        assert [(file.name, file.attributes) for file in session.list()] == [("first", {"of": "first"})]
    volume = library.stat(SERIAL)
    assert (volume.lock_state, volume.generation, volume.consistent) == (0xE0, before, True)
    assert volume.health["mediaPermanentWriteErrors"] == 1
    assert content_of(library, SERIAL, "first") == CONTENT


@pytest.mark.usefixtures("twins")
@pytest.mark.parametrize(
    "use", [lambda s: put(s, "a"), lambda s: b"".join(s.read("first"))], ids=["writing", "reading"]
)
def test_a_drive_dies(library: SimulatedLibrary, use: Callable[[TapeSession], object]) -> None:
    write_faults(library.root, [Fault(SERIAL, "drive-dies", times=1, stuck=2)])
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        for _ in range(2):
            with pytest.raises(MediumFailed, match=r"drive has died|could not be deleted"):
                use(session)
    for _ in range(2):
        with pytest.raises(MediumFailed, match="cannot load"), library.sessions([SERIAL], "read", timeout=0):
            pass
    with library.sessions([SERIAL], "read", timeout=0) as (session,):
        assert [file.name for file in session.list()] == ["first"]
        assert b"".join(session.read("first")) == CONTENT


@pytest.mark.usefixtures("twins")
def test_a_slow_drive(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "slow-drive", rate=20_000_000)])
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        began = time.monotonic()
        put(session, "slow")
        assert time.monotonic() - began >= 0.2
        began = time.monotonic()
        assert b"".join(session.read("slow")) == CONTENT
        assert time.monotonic() - began >= 0.2


@pytest.mark.usefixtures("twins")
def test_an_unmount_fails(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "unmount-fails", times=1)])
    with pytest.raises(MediumFailed, match="does not give it back"):  # noqa: SIM117 - the error comes at the end
        with library.sessions([SERIAL], "write", timeout=0) as (session,):
            put(session, "safe")
    assert content_of(library, SERIAL, "safe") == CONTENT


@pytest.mark.usefixtures("twins")
def test_a_bar_code_cannot_be_read(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "bar-code")])
    assert [(tape.serial, tape.state) for tape in library.inventory()] == [
        (SERIAL, "missing"), (TWIN, "active"), ("UNKN0000", "missing"),
    ]  # fmt: skip
    with pytest.raises(MediumFailed, match="not in the library"), library.sessions([SERIAL], "read", timeout=0):
        pass


@pytest.mark.usefixtures("twins")
def test_the_wrong_tape_is_in_the_slot(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "wrong-tape", name="HF0077L8")])
    for mode in ("read", "write"):
        with pytest.raises(MediumFailed, match="calls itself HF0077"), library.sessions([SERIAL], mode, timeout=0):
            pass


def test_the_server_restarts(library: SimulatedLibrary) -> None:
    mounted = library.sessions([SERIAL, TWIN], "write", timeout=0)
    sessions = mounted.__enter__()
    for session in sessions:
        put(session, "kept")
        session.write("lost", [CONTENT], {})
    restart_server(library.root)
    for session in sessions:
        with pytest.raises(TransientError, match="restarted"):
            put(session, "more")
        with pytest.raises(TransientError, match="restarted"):
            b"".join(session.read("kept"))
    with pytest.raises(TransientError, match="restarted"):
        mounted.__exit__(None, None, None)
    assert all(not volume.lock_state for volume in map(library.stat, (SERIAL, TWIN)))
    for serial in (SERIAL, TWIN):
        with library.sessions([serial], "write", timeout=0) as (session,):
            assert "lost" in session.recovered
            assert [file.name for file in session.list()] == ["kept"]
            put(session, "lost")
        assert content_of(library, serial, "lost") == CONTENT


@pytest.mark.usefixtures("twins")
def test_counters_that_the_drive_does_not_know(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "no-health")])
    assert set(library.stat(SERIAL).health.values()) == {-1}
    assert content_of(library, SERIAL, "first") == CONTENT
    assert read_faults(library.root)


# ---- kinds of drives and media ----


def test_a_tape_gets_a_drive_that_takes_it(tmp_path: Path) -> None:
    library = SimulatedLibrary.create(
        tmp_path / "library", media=[("L8", 2), ("M8", 2), ("L9", 1), ("L5", 1)], capacity=10_000_000_000,
        drives=[("LTO-8", 2), ("LTO-9", 1)],
    )  # fmt: skip
    tapes = {tape.serial: tape.media_type for tape in library.inventory()}
    assert tapes == {
        "HF0001L8": "L8", "HF0002L8": "L8", "HF0003M8": "M8", "HF0004M8": "M8", "HF0005L9": "L9", "HF0006L5": "L5",
    }  # fmt: skip
    assert list(library.drives()) == ["LTO-8-1", "LTO-8-2", "LTO-9-1"]
    # The third tape finds a drive only because the first two leave it the ones it can use.
    with library.sessions(["HF0001L8", "HF0003M8", "HF0004M8"], "write", timeout=0) as sessions:
        assert [session.drive[:5] for session in sessions] == ["LTO-9", "LTO-8", "LTO-8"]
    with library.sessions(["HF0001L8", "HF0005L9", "HF0003M8"], "write", timeout=0) as sessions:
        assert [session.drive[:5] for session in sessions] == ["LTO-8", "LTO-9", "LTO-8"]
    with pytest.raises(InvalidInput, match="No drive reads tape HF0006L5: it is of type L5, the drives are LTO-8, LTO"):
        library.sessions(["HF0006L5"], "read").__enter__()
    with pytest.raises(InvalidInput, match="at once"):
        library.sessions(["HF0003M8", "HF0004M8", "HF0001L8", "HF0002L8"], "read").__enter__()


def test_old_drives_read_what_they_do_not_write(tmp_path: Path) -> None:
    library = SimulatedLibrary.create(tmp_path / "library", media=[("L5", 1)], drives=[("LTO-7", 1)])
    with library.sessions(["HF0001L5"], "read", timeout=0) as (session,):
        assert not session.list()
    with pytest.raises(InvalidInput, match="No drive writes"):
        library.sessions(["HF0001L5"], "write").__enter__()


def test_no_two_tapes_hold_the_same(tmp_path: Path) -> None:
    made = [
        SimulatedLibrary.create(tmp_path / name, media=[("L8", 6)], capacity=10_000_000_000) for name in ("one", "two")
    ]
    one, two = ([library.stat(tape.serial).capacity for tape in library.inventory()] for library in made)
    assert one == two
    assert len(set(one)) == 6
    assert all(9_980_000_000 < capacity <= 10_000_000_000 for capacity in one)


def test_a_library_keeps_its_tapes_when_its_drives_are_replaced(tmp_path: Path) -> None:
    root = tmp_path / "library"
    SimulatedLibrary.create(root, media=[("M8", 1)], drives=2)
    library = SimulatedLibrary.create(root, media=[("M8", 1), ("L9", 1)], drives=[("LTO-8", 1), ("LTO-9", 1)])
    assert [tape.serial for tape in library.inventory()] == ["HF0001M8", "HF0002L9"]
    assert list(library.drives()) == ["LTO-8-1", "LTO-9-1"]
    with pytest.raises(InvalidInput, match="no media type X8"):
        SimulatedLibrary.create(root, media=[("X8", 1)])
