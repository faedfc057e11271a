# SPDX-License-Identifier: Apache-2.0
"""A campaign of seeded faults: no promise is broken, no single fault loses what was acknowledged, double ones are told.

HOLDFAST_TEST_FAULTS says how many faults happen in all, HOLDFAST_TEST_SEED which; `make campaign` has a million.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import fault_archive
import fault_packages
import fault_tapes
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

FAULTS = int(os.environ.get("HOLDFAST_TEST_FAULTS", "100000"))
SEED = int(os.environ.get("HOLDFAST_TEST_SEED", "20261122"))
PROCESSES = min(os.cpu_count() or 1, 8)
# What a fault costs differs a thousandfold: damage to a package in memory, a tape that fails, a whole archive around it.
SHARES = {"packages": 0.9, "tapes": 0.098, "archive": 0.002}
MEMORY = Path("/dev/shm")

Run = Callable[..., tuple[Counter[str], list[str]]]


@pytest.fixture
def room() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def catalogues(postgres: str, template: str) -> Iterator[list[str]]:
    """One catalogue for each process."""
    names = [f"faults_{os.getpid()}_{number}" for number in range(PROCESSES)]
    with psycopg.connect(postgres, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield [make_conninfo(postgres, dbname=name) for name in names]
        for name in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def campaign(run: Run, share: float, room: Path, more: Sequence[Sequence[str]] = ()) -> Counter[str]:
    """Run a part of the campaign in all processes; return what happened."""
    wanted = max(int(FAULTS * share / PROCESSES), 1)
    context = multiprocessing.get_context("spawn")
    # Nobody reads a line for every fault.
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=logging.disable, initargs=(logging.CRITICAL,)
    ) as pool:
        jobs = []
        for number in range(PROCESSES):
            folder = room / f"{number}"
            folder.mkdir()
            jobs.append(pool.submit(run, SEED + number, wanted, folder, *(more[number] if more else ())))
        results = [job.result() for job in jobs]
    broken = [line for _, found in results for line in found]
    assert broken == [], f"{len(broken)} promises were broken; the first: {broken[:5]}"
    happened = sum((done for done, _ in results), Counter[str]())
    assert happened.total() >= wanted
    print(", ".join(f"{count} {kind}" for kind, count in happened.most_common()))  # noqa: T201 - figures of `make campaign`
    return happened


@pytest.mark.timeout(36_000)
def test_p2_no_damage_to_a_package_goes_unnoticed(room: Path) -> None:
    assert campaign(fault_packages.run, SHARES["packages"], room)


@pytest.mark.timeout(36_000)
def test_p3_what_was_proven_on_two_tapes_outlives_any_single_fault(room: Path) -> None:
    assert campaign(fault_tapes.run, SHARES["tapes"], room)


@pytest.mark.timeout(36_000)
def test_p10_an_archive_lives_with_faults_and_says_what_it_lost(room: Path, catalogues: list[str]) -> None:
    assert campaign(fault_archive.run, SHARES["archive"], room, [(dsn,) for dsn in catalogues])
