# SPDX-License-Identifier: Apache-2.0
"""The simulated library through the watchdog's processes: the same contract, and what they are for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.errors import MediumFailed, TransientError
from holdfast.tape.faults import Fault, write_faults
from holdfast.tape.library import TapeLibrary, TapeSession
from holdfast.tape.locks import try_lock
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS, Limits
from holdfast.testing.faults import sample
from holdfast.testing.tape_contract import Misfortune, TapeLibraryContract

SERIAL, TWIN = "HF0001L8", "HF0002L8"

DYING = """
import os, signal, sys
from pathlib import Path
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS
with SimulatedLibrary(Path(sys.argv[1]), LIMITS).sessions([sys.argv[2]], "write", timeout=0) as (session,):
    session.write(sys.argv[3], [sys.stdin.buffer.read()], {})
    os.kill(os.getpid(), signal.SIGKILL)
"""

# Its child is stopped and cannot see that its parent is gone.
HOLDING = """
import os, signal, sys
from pathlib import Path
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS
with SimulatedLibrary(Path(sys.argv[1]), LIMITS).sessions([sys.argv[2]], "read", timeout=0) as (session,):
    child = session._child._process.pid
    os.kill(child, signal.SIGSTOP)
    print(child, flush=True)
    signal.pause()
"""


class TestWatchedLibrary(TapeLibraryContract):
    @pytest.fixture
    def library(self, tmp_path: Path) -> TapeLibrary:
        self.root = tmp_path / "library"
        SimulatedLibrary.create(self.root, tapes=3, capacity=100_000_000, drives=2)
        return SimulatedLibrary(self.root, LIMITS)

    def die(self, library: TapeLibrary, serial: str, name: str, content: bytes) -> None:
        assert library.stat(serial).consistent
        command = [sys.executable, "-c", DYING, str(self.root), serial, name]
        assert subprocess.run(command, input=content, check=False).returncode == -9
        # Its child has the tape until it has seen that its parent is gone.
        with library.sessions([tape.serial for tape in library.inventory()][1:2], "read", timeout=60):
            pass

    def misfortune(self, library: TapeLibrary, serial: str, kind: Misfortune, place: int) -> None:
        assert library.stat(serial).consistent
        times = 1 if kind == "sync-fails" else None
        write_faults(self.root, [Fault(serial, kind, after_bytes=place, offset=place, times=times)])


@pytest.fixture
def library(tmp_path: Path) -> SimulatedLibrary:
    root = SimulatedLibrary.create(tmp_path / "library", tapes=3, capacity=100_000_000, drives=3).root
    return SimulatedLibrary(root, Limits(mount=60, unmount=1, block=3))


@pytest.mark.parametrize("where", ["write", "read", "sync"])
def test_what_hangs_is_left_behind_and_its_twin_goes_on(library: SimulatedLibrary, where: str) -> None:
    with library.sessions([SERIAL, TWIN], "write", timeout=0) as (one, twin):
        for session in (one, twin):
            session.write("before", [b"x"], {})
            session.sync("test")
        write_faults(library.root, [Fault(SERIAL, "hangs", name=where)])
        with pytest.raises(MediumFailed, match="did not answer for 3 s; both are out of use"):
            use(one)
        with pytest.raises(MediumFailed, match="did not answer"):
            one.list()
        assert use(twin) == sample(9_000_000)
    write_faults(library.root, [])
    assert library.drives()[one.drive] not in {None, SERIAL}
    with pytest.raises(MediumFailed, match=f"out of use: tape {SERIAL}"), library.sessions([SERIAL], "read"):
        pass
    with library.sessions([TWIN, "HF0003L8"], "read", timeout=0) as sessions:
        assert one.drive not in {session.drive for session in sessions}
    library.put_back(one.drive)
    library.put_back(SERIAL)
    with library.sessions([SERIAL], "write", timeout=60) as (session,):
        assert b"".join(session.read("before")) == b"x"


def test_a_mount_that_hangs(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "hangs", name="mount")])
    hasty = SimulatedLibrary(library.root, Limits(mount=5))
    with pytest.raises(MediumFailed, match="did not answer for 5 s"), hasty.sessions([TWIN, SERIAL], "read"):
        pass
    assert sorted(loaded is None for loaded in library.drives().values()) == [False, True, True]
    with library.sessions([TWIN], "read", timeout=60):
        pass


def test_an_unmount_that_hangs(library: SimulatedLibrary) -> None:
    write_faults(library.root, [Fault(SERIAL, "hangs", name="unmount")])
    with pytest.raises(MediumFailed, match="did not answer"), library.sessions([SERIAL], "write") as (session,):
        session.write("a", [b"x"], {})
    assert sum(loaded is not None for loaded in library.drives().values()) == 1
    assert library.stat(SERIAL).consistent


def test_a_child_that_dies_is_no_failed_tape(library: SimulatedLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_CRASH", "write.closed")
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        for _ in range(2):
            with pytest.raises(TransientError, match=f"uses tape {SERIAL} has ended"):
                session.write("a", [b"x"], {})
    monkeypatch.delenv("HOLDFAST_CRASH")
    with library.sessions([SERIAL], "write", timeout=60) as (session,):
        assert session.recovered == ("a",)
        session.write("a", [b"x"], {})


def test_a_child_keeps_the_tape_while_it_lives(library: SimulatedLibrary) -> None:
    # As if it could not be killed: the lock is its own too.
    with library.sessions([SERIAL], "read", timeout=0):
        lock = library.root / ".library" / "locks" / f"tape-{SERIAL}"
        assert try_lock(lock) is None
        command = [sys.executable, "-c", HOLDING, str(library.root), TWIN]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            process.kill()
            process.wait()
            assert try_lock(lock.with_name(f"tape-{TWIN}")) is None
            os.kill(child, signal.SIGKILL)
    with library.sessions([TWIN], "read", timeout=60):
        pass


def test_several_readers_and_one_that_stops_early(library: SimulatedLibrary) -> None:
    contents = {f"{number}": sample(30_000_000, f"{number}") for number in range(3)}
    with library.sessions([SERIAL], "write", timeout=0) as (session,):
        for name, content in contents.items():
            session.write(name, [content], {})
        readers = {name: session.read(name) for name in contents}
        begun = {name: next(reader) for name, reader in readers.items()}
        readers.pop("2")
        session.write("between", [b"x"], {})
        with ThreadPoolExecutor(2) as pool:
            rest = dict(zip(readers, pool.map(b"".join, readers.values()), strict=True))
        assert {name: begun[name] + rest[name] == contents[name] for name in rest} == {"0": True, "1": True}
        assert b"".join(session.read("2", 29_999_999)) == contents["2"][-1:]
        assert b"".join(session.read("between")) == b"x"


def use(session: TapeSession) -> bytes:
    session.write("a", [sample(9_000_000)], {})
    session.sync("test")
    return b"".join(session.read("a"))
