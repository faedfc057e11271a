# SPDX-License-Identifier: Apache-2.0
"""Named places where the crash campaign kills a process (P6).

A crash point costs one dictionary look-up. `HOLDFAST_CRASH=name` kills this process with SIGKILL when it
passes `name`; `HOLDFAST_CRASH=name!` kills its whole process group. `HOLDFAST_CRASH_ONCE=FILE` makes it happen
once only: the file is created first, and a process that finds it goes on.
"""

from __future__ import annotations

import os
import signal
from typing import Final

# Every name, with what is true there; tests/crash walks this table.
CRASH_POINTS: Final[dict[str, str]] = {
    "upload.durable": "bytes of an upload are durable, the catalogue does not know",
    "landing.placed": "files have their names in the landing area, the catalogue does not know",
    "landing.recorded": "files are in an open dataset, the caller does not know",
    "delete.recorded": "a dataset is deleted, its folder in the landing area is there",
    "pack.begun": "the claim is committed, no byte is in staging",
    "pack.written": "the package is whole in staging, the catalogue does not know",
    "pack.committed": "the package is staged",
    "write.reserved": "tapes are chosen and reserved, nothing is written",
    "write.half": "half of a package is on the tapes",
    "write.closed": "a package, or its sidecar alone, is whole on a tape, no index is written",
    "write.synced": "the index is on the tapes, the catalogue does not know",
    "write.recorded": "the copies are written, not yet read back",
    "verify.read": "the bytes were read back and matched, the catalogue does not know",
    "verify.recorded": "the copies are verified",
    "release.committed": "the evidence is recorded, staging is still there",
    "release.source": "some source files are removed",
    "deliver.begun": "the request is claimed, nothing is delivered",
    "deliver.file": "one file is delivered",
    "deliver.done": "all files are delivered, the catalogue does not know",
    "evict.begun": "the request is expired, its files are in the buffer",
    "evict.removed": "its files are gone, the catalogue does not know",
    "recall.half": "half of a package is recalled for repair",
    "recall.whole": "a package is recalled for repair, the catalogue does not know",
    "recall.used": "the recalled package is in staging, to be written again",
}


def crash_point(name: str) -> None:
    """Die here when the crash campaign asks for it."""
    wanted = os.environ.get("HOLDFAST_CRASH")
    if wanted is None or wanted.rstrip("!") != name:
        return
    once = os.environ.get("HOLDFAST_CRASH_ONCE")
    if once is not None:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return
    if wanted.endswith("!"):
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
