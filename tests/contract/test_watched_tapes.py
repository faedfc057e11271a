# SPDX-License-Identifier: Apache-2.0
"""The simulated library through the watchdog's processes: the same contract, and what they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.tape.faults import Fault, write_faults
from holdfast.tape.library import TapeLibrary
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS
from holdfast.testing.tape_contract import Misfortune, TapeLibraryContract

DYING = """
import os, signal, sys
from pathlib import Path
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS
with SimulatedLibrary(Path(sys.argv[1]), LIMITS).sessions([sys.argv[2]], "write", timeout=0) as (session,):
    session.write(sys.argv[3], [sys.stdin.buffer.read()], {})
    os.kill(os.getpid(), signal.SIGKILL)
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
