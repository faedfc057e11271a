# SPDX-License-Identifier: Apache-2.0
"""Reading back both copies of a package, with BLAKE3, against raw reading of the same files.

    python bench/verify.py --size 2000000000 --rounds 7 [--folder DIR]

Two files lie on two tapes of a simulated library; each is read by a thread of its own. `verify` is what the archive
does; `raw` is plain large reads (readinto one buffer) of the same two files at the same time, nothing computed; both
begin with an empty page cache. The two alternate, and the order changes with each round. Printed are medians, their
ratio (target: at least 0.90) and the CPU seconds per GB of verifying (target: less than 0.5).
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import blake3

from holdfast.tape.library import TapeSession
from holdfast.tape.simulator import SimulatedLibrary

BLOCK = 4 << 20  # bytes
NAME = "package.tar.zst"


def content(size: int) -> Iterator[bytes]:
    """Yield `size` random bytes."""
    block = os.urandom(BLOCK)
    for begin in range(0, size, BLOCK):
        yield block[: min(BLOCK, size - begin)]


def drop(path: Path) -> None:
    """Take a file out of the page cache."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def read_raw(path: Path) -> int:
    """Read a file into one buffer and return its size."""
    drop(path)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    done = 0
    with mmap.mmap(-1, BLOCK) as buffer:
        while count := os.preadv(fd, [buffer], done):
            done += count
    os.close(fd)
    drop(path)
    return done


def verify(session: TapeSession) -> tuple[int, str]:
    """Read a file back and return its size and digest."""
    hasher = blake3.blake3()
    size = 0
    for block in session.read(NAME):
        hasher.update(block)
        size += len(block)
    return size, hasher.hexdigest()


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of `action`."""
    began, cpu = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - began, time.process_time() - cpu


def measure(folder: Path, size: int, rounds: int) -> None:
    """Run the rounds and print."""
    library = SimulatedLibrary.create(folder / "library", tapes=2, capacity=size + size // 10 + (10 << 20))
    serials = [tape.serial for tape in library.inventory()]
    raw: list[float] = []
    verified: list[float] = []
    cpu: list[float] = []
    paths = [library.root / serial / NAME for serial in serials]
    with library.sessions(serials, "write") as sessions, ThreadPoolExecutor(2) as pool:
        for session in sessions:
            session.write(NAME, content(size), {}, size=size)
            session.sync("bench")
        for number in range(rounds):
            turns: list[tuple[str, Callable[[], object]]] = [
                ("raw", lambda: list(pool.map(read_raw, paths))),
                ("verify", lambda: list(pool.map(verify, sessions))),
            ]
            for what, action in turns if number % 2 else reversed(turns):
                seconds, used = timed(action)
                (raw if what == "raw" else verified).append(2 * size / seconds)
                if what == "verify":
                    cpu.append(used / (2 * size) * 1e9)
            print(f"round {number + 1}: raw {raw[-1] / 1e6:.0f} MB/s, verify {verified[-1] / 1e6:.0f} MB/s")
    ratios = [one / other for one, other in zip(verified, raw, strict=True)]
    print(f"raw     {statistics.median(raw) / 1e6:6.0f} MB/s (sum of two files; median of {rounds})")
    print(f"verify  {statistics.median(verified) / 1e6:6.0f} MB/s")
    print(f"ratio   {statistics.median(verified) / statistics.median(raw):6.2f} (of medians)")
    print(f"ratio   {statistics.median(ratios):6.2f} (median of pairs)")
    print(f"CPU     {statistics.median(cpu):6.2f} s/GB")


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=2_000_000_000, help="bytes of one copy")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None, help="where to put the library; a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measure(Path(folder), options.size, options.rounds)


if __name__ == "__main__":
    main()
