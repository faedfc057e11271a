# SPDX-License-Identifier: Apache-2.0
"""What many tests share: one real PostgreSQL per run, and a fresh catalogue for each test that asks for one."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

_numbers = itertools.count(1)
_MEMORY = Path("/dev/shm")
_ENOUGH = 8_000_000_000  # bytes free; the folders of a run are never more than 2 GB, and its programs need some, too


def pytest_configure() -> None:
    """Have the folders of tests be in memory: single tests would wait four thousand times for a disk nobody unplugs."""
    with suppress(OSError), tempfile.NamedTemporaryFile(dir=_MEMORY) as trial:
        os.setxattr(trial.name, "user.holdfast.trial", b"1")  # as tapes need it; before Linux 6.6, memory has none
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(told["MemAvailable"].split()[0]) * 1024
        if min(free, shutil.disk_usage(_MEMORY).free) > _ENOUGH:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no settings of whoever runs them."""
    for name in list(os.environ):
        if name.startswith("HOLDFAST_") and not name.startswith("HOLDFAST_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a PostgreSQL server: HOLDFAST_TEST_DATABASE_URL, else an embedded one that is fast, not durable."""
    outside = os.environ.get("HOLDFAST_TEST_DATABASE_URL")
    if outside:
        yield outside
        return
    from holdfast.catalog.embedded import EmbeddedPostgres

    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    yield server.start()
    server.stop()


@pytest.fixture(scope="session")
def template(postgres: str) -> Iterator[str]:
    """The name of a database with the current schema, to be copied."""
    from holdfast.catalog.migrate import migrate

    name = f"template_{os.getpid()}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    with psycopg.connect(make_conninfo(postgres, dbname=name), row_factory=dict_row) as connection:
        migrate(connection)
    yield name
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def dsn(postgres: str, template: str) -> Iterator[str]:
    """The DSN of a fresh catalogue."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        # A copy by files is the quickest for a small template, when nothing of it has to be logged.
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        yield make_conninfo(postgres, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of small sample files, good and bad."""
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of whole example experiments."""
    return Path(__file__).parents[1] / "examples"
