# SPDX-License-Identifier: Apache-2.0
"""The whole way onto twin tapes, beside a strong shell that does the same: register, pack, write twice, read back.

    .venv/bin/python bench/spine.py [--scale 0.5] [--rounds 5] [--shape medium] [--content incompressible]

Ours is everything that happens until the dataset is reported safe: catalogue, staging, two simulated tapes with their
indexes, reading back from the medium. The shell packs straight into two files and then reads both past the page cache.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import samples
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.testing.site import small_site
from pack import SHELL

READ_BACK = r"""
for copy in one two; do dd if="$2/$copy" iflag=direct bs=4M status=none | b3sum > "$2/read-$copy" & done
wait
cmp "$2/read-one" "$2/read-two" && cmp "$2/read-one" "$2/digest"
"""


def shell(source: Path, work: Path) -> float:
    """Return the seconds of the shell."""
    out = Path(tempfile.mkdtemp(dir=work))
    begun = time.perf_counter()
    subprocess.run(["bash", "-c", SHELL + READ_BACK, "bench", str(source), str(out)], check=True)
    seconds = time.perf_counter() - begun
    shutil.rmtree(out)
    return seconds


def ours(source: Path, work: Path, dsn: str) -> float:
    """Return the seconds from registering to safe, on an archive that is set up."""
    folder = Path(tempfile.mkdtemp(dir=work))
    with small_site(folder, dsn, library__capacity=40_000_000_000, roots__source=(source,)) as site:
        begun = time.perf_counter()
        dataset = site.register(source)
        site.drain(until=lambda: site.show(dataset).safe_at is not None)
        seconds = time.perf_counter() - begun
        with site.archive.database.transaction() as conn:
            conn.execute("update dataset set state = 'deleted'")
            conn.execute("delete from copy")
            conn.execute("delete from tape")
    shutil.rmtree(folder)
    return seconds


def main() -> None:
    """Time both in turn and print a table."""
    wanted = samples.options(__doc__).parse_args()
    print("| source | shell s | holdfast s | speed to shell |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=wanted.work) as name:
        work = Path(name)
        server = EmbeddedPostgres(work / "database")
        dsn = server.start()
        try:
            for shape in wanted.shape or samples.SHAPES:
                for content in wanted.content or samples.CONTENTS:
                    made = samples.shape(shape, wanted.scale)
                    made.build(work / "source", content)
                    shell(work / "source", work)  # warms the page cache
                    pairs = [
                        (shell(work / "source", work), ours(work / "source", work, dsn)) for _ in range(wanted.rounds)
                    ]
                    middles = [statistics.median(column) for column in zip(*pairs, strict=True)]
                    ratio = statistics.median(a / b for a, b in pairs)
                    print(
                        f"| {made.files} x {made.size / 1e6:g} MB {content} | {middles[0]:.2f} | {middles[1]:.2f} "
                        f"| {ratio:.2f} |",
                        flush=True,
                    )
        finally:
            server.stop()


if __name__ == "__main__":
    main()
