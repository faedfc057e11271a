# SPDX-License-Identifier: Apache-2.0
"""One life of tapes or archives after another, each with a seed of its own, until enough has gone wrong."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path


def lives(
    seed: int, wanted: int, folder: Path, live: Callable[[random.Random, Path, Counter[str]], None]
) -> tuple[Counter[str], list[str]]:
    """Live until `wanted` faults have happened; return what happened, and every promise that was broken.

    `live` has a folder of its own, counts faults as they happen, and raises AssertionError for a broken promise.
    """
    done: Counter[str] = Counter()
    broken: list[str] = []
    number = 0
    while done.total() < wanted:
        home = folder / f"{number}"
        try:
            live(random.Random(f"{seed}/{number}"), home, done)
        except AssertionError as error:
            broken.append(f"seed {seed}/{number}: {error}")
        shutil.rmtree(home)
        number += 1
    return done, broken
