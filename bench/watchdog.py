# SPDX-License-Identifier: Apache-2.0
"""Tape sessions in a process of their own against the same sessions in this process.

    python bench/watchdog.py --size 2000000000 --rounds 5 [--folder DIR]

One file is written in blocks of 4 MiB, synced, read back and deleted, through the watchdog's child process and
directly, in turns; the order changes with each round. Printed are medians and their ratio (target: at least 0.90).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from holdfast.tape.simulator import SimulatedLibrary
from holdfast.tape.watchdog import LIMITS

BLOCK = 4 << 20  # bytes
SERIAL = "HF0001L8"


def rates(library: SimulatedLibrary, name: str, size: int) -> tuple[float, float]:
    """Return how fast one file was written and read, in bytes per second."""
    block = os.urandom(BLOCK)
    with library.sessions([SERIAL], "write") as (session,):
        began = time.perf_counter()
        session.write(name, (block for _ in range(size // BLOCK)), {}, size=size)
        session.sync("bench")
        written = time.perf_counter()
        total = sum(map(len, session.read(name)))
        ended = time.perf_counter()
        session.delete(name)
    return total / (written - began), total / (ended - written)


def measure(folder: Path, size: int, rounds: int) -> None:
    """Run the rounds and print."""
    size -= size % BLOCK
    direct = SimulatedLibrary.create(folder / "library", tapes=2, capacity=size * (2 * rounds + 1))
    watched = SimulatedLibrary(direct.root, LIMITS)
    found: dict[str, list[tuple[float, float]]] = {"direct": [], "watched": []}
    for number in range(rounds):
        turns = [("direct", direct), ("watched", watched)]
        for what, library in turns if number % 2 else reversed(turns):
            found[what].append(rates(library, f"{number}-{what}", size))
            writing, reading = found[what][-1]
            print(f"round {number + 1}: {what:<8} writes {writing / 1e6:.0f} MB/s, reads {reading / 1e6:.0f} MB/s")
    for place, what in enumerate(("write", "read")):
        one, other = (statistics.median(pair[place] for pair in found[kind]) for kind in ("watched", "direct"))
        print(f"{what:<6} watched {one / 1e6:6.0f} MB/s, direct {other / 1e6:6.0f} MB/s, ratio {one / other:.2f}")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=2_000_000_000, help="bytes of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where to put the library; a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options.size, options.rounds)


if __name__ == "__main__":
    main()
