# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.tape.faults import Fault, write_faults
from holdfast.tape.library import TapeLibrary
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.tape_contract import Misfortune, TapeLibraryContract

DYING = """
import sys
from pathlib import Path
from holdfast.tape.simulator import SimulatedLibrary
with SimulatedLibrary(Path(sys.argv[1])).sessions([sys.argv[2]], "write", timeout=0) as (session,):
    session.write(sys.argv[3], [sys.stdin.buffer.read()], {})
"""


class TestSimulatedLibrary(TapeLibraryContract):
    @pytest.fixture
    def library(self, tmp_path: Path) -> TapeLibrary:
        self.root = tmp_path / "library"
        return SimulatedLibrary.create(self.root, tapes=3, capacity=100_000_000, drives=2)

    def die(self, library: TapeLibrary, serial: str, name: str, content: bytes) -> None:
        assert library.stat(serial).consistent
        command = [sys.executable, "-c", DYING, str(self.root), serial, name]
        environment = {**os.environ, "HOLDFAST_CRASH": "write.closed"}
        assert subprocess.run(command, input=content, env=environment, check=False).returncode == -9

    def misfortune(self, library: TapeLibrary, serial: str, kind: Misfortune, place: int) -> None:
        assert library.stat(serial).consistent
        times = 1 if kind == "sync-fails" else None
        write_faults(self.root, [Fault(serial, kind, after_bytes=place, offset=place, times=times)])


class TestClockedLibrary(TestSimulatedLibrary):
    """The same with robot, drives and ways that take time, a million times faster than real ones."""

    @pytest.fixture
    def library(self, tmp_path: Path) -> TapeLibrary:
        self.root = tmp_path / "library"
        return SimulatedLibrary.create(self.root, tapes=3, capacity=100_000_000, drives=2, speed=1e6)
