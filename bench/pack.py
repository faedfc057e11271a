# SPDX-License-Identifier: Apache-2.0
"""Packing against a strong shell pipeline: per-file SHA-512, compressed tar, two copies, their BLAKE3, all durable.

Both run in turn, so that noise hits both; seconds are wall time until both copies are on the disk.

    python bench/pack.py --scale 0.25 --rounds 5 --shape medium --content detector --others
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import samples

SHELL = r"""
set -e -o pipefail
cd "$1"
( find . -type f -print0 | xargs -0 -P "$(nproc)" -n 64 openssl dgst -sha512 -r > "$2/manifest" ) &
tar cf - . | zstd -T0 -1 -q | tee "$2/one" >(b3sum > "$2/digest") > "$2/two"
wait
sync "$2/one" "$2/two" "$2/manifest"
"""
RESTIC = r"""
set -e
export RESTIC_PASSWORD=bench RESTIC_REPOSITORY="$2/restic" RESTIC_CACHE_DIR="$2/cache"
restic -q init && restic -q backup "$1" && cp -r "$2/restic" "$2/two" && sync -f "$2"
"""
BORG = r"""
set -e
export BORG_BASE_DIR="$2/base" BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
borg init -e none "$2/borg" && borg create -C zstd,1 "$2/borg::one" "$1" && cp -r "$2/borg" "$2/two" && sync -f "$2"
"""


def ours(source: Path, out: Path) -> dict[str, float]:
    """Pack in this process; return seconds and the peak of resident MB, child processes included."""
    watch = MemoryWatch()
    started = time.perf_counter()
    written = samples.pack(source, out / "one", out / "two")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "rss": watch.stop(), "size": written.size}


class MemoryWatch(threading.Thread):
    """Samples the resident memory of this process and its children; `ru_maxrss` would count the process before us."""

    def __init__(self) -> None:
        """Start watching."""
        super().__init__(daemon=True)
        self._peak = 0
        self._ended = threading.Event()
        self.start()

    def run(self) -> None:
        """Sample until stopped."""
        while not self._ended.wait(0.02):
            children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
            self._peak = max(self._peak, sum(map(resident, ["self", *children])))

    def stop(self) -> float:
        """Return the peak in MB."""
        self._ended.set()
        self.join()
        return self._peak / 1e6


def resident(process: str) -> int:
    """Return the resident bytes of a process, 0 when it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def run(what: str, source: Path, work: Path) -> dict[str, float]:
    """Run one contestant into a fresh folder; return its figures."""
    out = Path(tempfile.mkdtemp(dir=work))
    try:
        if what == "holdfast":
            command = [sys.executable, __file__, "--run", str(source), str(out)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            return dict(json.loads(done.stdout))
        script = {"shell": SHELL, "restic": RESTIC, "borg": BORG}[what]
        started = time.perf_counter()
        subprocess.run(["bash", "-c", script, "bench", str(source), str(out)], check=True, capture_output=True)
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in (out / "two").rglob("*")) if (out / "two").is_dir() else 0
        return {"seconds": seconds, "rss": 0, "size": size or (out / "two").stat().st_size}
    finally:
        shutil.rmtree(out)


def compare(shape: samples.Shape, content: str, rounds: int, others: list[str], work: Path) -> None:
    """Time all contestants in turn and print one table row for each."""
    source = work / "source"
    shape.build(source, content)
    contestants = ["shell", "holdfast", *others]
    for what in contestants[:2]:  # warm the page cache and the memory of the machine
        run(what, source, work)
    times: dict[str, list[float]] = {what: [] for what in contestants}
    last: dict[str, dict[str, float]] = {}
    for number in range(rounds):
        for what in contestants[: 2 if number >= min(rounds, 3) else None]:  # three rounds are enough for the others
            last[what] = run(what, source, work)
            times[what].append(last[what]["seconds"])
    shell = statistics.median(times["shell"])
    for what in contestants:
        median = statistics.median(times[what])
        bytes_in = shape.files * shape.size
        print(
            f"| {shape.files} x {shape.size / 1e6:g} MB {content} | {what} | {median:.2f} "
            f"[{min(times[what]):.2f}-{max(times[what]):.2f}] | {bytes_in / median / 1e6:.0f} | {shell / median:.2f} "
            f"| {bytes_in / last[what]['size']:.2f} | {last[what]['rss']:.0f} |",
            flush=True,
        )


def main() -> None:
    """Parse the command line and print a Markdown table."""
    parser = samples.options(__doc__)
    parser.add_argument("--others", action="store_true", help="also time restic and borg where installed")
    parser.add_argument("--run", nargs=2, metavar=("SOURCE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(ours(Path(options.run[0]), Path(options.run[1]))))
        return
    others = [name for name in ("restic", "borg") if options.others and shutil.which(name)]
    print("| source | by | seconds, median [min-max] | MB/s | speed to shell | shrunk by | MB resident |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for name in options.shape or samples.SHAPES:
            for content in options.content or samples.CONTENTS:
                compare(samples.shape(name, options.scale), content, options.rounds, others, Path(work))


if __name__ == "__main__":
    main()
