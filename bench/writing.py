# SPDX-License-Identifier: Apache-2.0
"""What one write may hold: a file through the page cache in pieces of several sizes, in turn, at once and after a rest.

    .venv/bin/python bench/writing.py [--size 1000000000] [--rounds 5] [--rests 0 6] [--folder DIR]

The seconds are those of the calls of write, without making the file durable. Before each, a file of that size was written in large pieces
and removed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

KIB = 1 << 10
PIECES = (4, 16, 64, 256, 1024, 4096)  # KiB


def write(path: Path, size: int, piece: int) -> float:
    """Return the seconds in which a file is written, and remove it."""
    content = os.urandom(piece)
    with path.open("wb", buffering=0) as file:
        begun = time.perf_counter()
        for _ in range(size // piece):
            file.write(content)
        seconds = time.perf_counter() - begun
        os.fsync(file.fileno())
    path.unlink()
    os.sync()
    return seconds


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rests", type=float, nargs="+", default=[0, 6], metavar="SECONDS")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    wanted = parser.parse_args()
    print(
        "| KiB | "
        + " | ".join(f"after {rest:g} s" for rest in wanted.rests)
        + " |\n|---"
        + "|---" * len(wanted.rests)
        + "|"
    )
    times: dict[tuple[int, float], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=wanted.folder) as work:
        path = Path(work) / "file"
        for _ in range(wanted.rounds):
            for rest in wanted.rests:
                for piece in PIECES:
                    write(path, wanted.size, 1024 * KIB)
                    time.sleep(rest)
                    times.setdefault((piece, rest), []).append(write(path, wanted.size, piece * KIB))
    for piece in PIECES:
        seconds = [times[piece, rest] for rest in wanted.rests]
        print(
            f"| {piece} | "
            + " | ".join(f"{statistics.median(s):.2f} ({min(s):.2f}-{max(s):.2f})" for s in seconds)
            + " |"
        )


if __name__ == "__main__":
    main()
