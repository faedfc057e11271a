# SPDX-License-Identifier: Apache-2.0
"""Getting back: one file out of a package against decoding all of it, and a whole verified restore against the shell.

python bench/get.py --scale 0.25 --rounds 5 --content detector
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import samples
from holdfast.errors import HoldfastError
from holdfast.model.entry import Entry
from holdfast.packaging.extract import extract
from holdfast.packaging.reader import FileSource, open_package, read_file
from holdfast.packaging.writer import Written

DECODE = 'zstd -dcq "$1" > /dev/null'
RESTORE = r"""
set -e
mkdir "$2" && tar --zstd -xf "$1" -C "$2" && cd "$2"
xargs -P "$(nproc)" -d '\n' -n 64 sh -c 'printf "%s\n" "$@" | sha512sum --check --quiet' sh < manifest-sha512.txt
sync -f .
"""
SAMPLES = 100


def seconds(call: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def shell(script: str, *arguments: Path) -> None:
    """Run a shell script and fail with it."""
    subprocess.run(["bash", "-c", script, "bench", *map(str, arguments)], check=True)


def refuse(entry: Entry, error: HoldfastError) -> None:
    """Stop the bench."""
    raise RuntimeError(entry.path) from error


def restore(package: Path, target: Path) -> None:
    """Deliver everything, verified, from the package alone."""
    with FileSource(package) as source:
        wanted = list(open_package(source).listing())
        extract(source, wanted, target, on_done=lambda _: None, on_problem=refuse)


def one_file(package: Path, written: Written, rounds: int) -> None:
    """Compare one random file, by its location, with decoding the whole package."""
    times: list[float] = []
    full = [seconds(lambda: shell(DECODE, package)) for _ in range(rounds)]
    with FileSource(package) as source:
        for item in random.choices(written.members, k=SAMPLES):
            started = time.perf_counter()
            for _ in read_file(source, item):
                pass
            times.append(time.perf_counter() - started)
    times.sort()
    median = statistics.median(times)
    print(
        f"| one file of {written.members[0].entry.size / 1e6:g} MB from {package.stat().st_size / 1e6:.0f} MB "
        f"| {statistics.median(full):.2f} | {median * 1e3:.1f} ms, p95 {times[SAMPLES * 95 // 100] * 1e3:.1f} ms "
        f"| 1/{statistics.median(full) / median:.0f} |"
    )


def whole(package: Path, rounds: int, work: Path, name: str) -> None:
    """Compare verified restores."""
    shell_times: list[float] = []
    our_times: list[float] = []
    target = work / "restored"
    for number in range(-1, rounds):  # the first round only warms up
        for times, call in (
            (shell_times, lambda: shell(RESTORE, package, target)),
            (our_times, lambda: restore(package, target)),
        ):
            os.sync()
            taken = seconds(call)
            shutil.rmtree(target)
            if number >= 0:
                times.append(taken)
    theirs, ours = statistics.median(shell_times), statistics.median(our_times)
    print(
        f"| restore {name} | {theirs:.2f} [{min(shell_times):.2f}-{max(shell_times):.2f}] "
        f"| {ours:.2f} [{min(our_times):.2f}-{max(our_times):.2f}] | {theirs / ours:.2f} |",
        flush=True,
    )


def main() -> None:
    """Parse the command line and print a Markdown table."""
    options = samples.options(__doc__, shapes=["medium"]).parse_args()
    print("| what | shell, seconds | holdfast, seconds | ratio |")
    print("|---|---|---|---|")
    for name in options.shape or ["medium"]:
        for content in options.content or samples.CONTENTS:
            with tempfile.TemporaryDirectory(dir=options.work) as folder:
                work = Path(folder)
                shape = samples.shape(name, options.scale)
                shape.build(work / "source", content)
                package = work / "package.tar.zst"
                written = samples.pack(work / "source", package)
                one_file(package, written, min(options.rounds, 3))
                whole(package, options.rounds, work, f"{shape.files} x {shape.size / 1e6:g} MB {content}")
    print(f"\nPeak of resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
