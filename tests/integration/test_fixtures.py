# SPDX-License-Identifier: Apache-2.0
"""Each test gets a catalogue of its own."""

from __future__ import annotations

import psycopg
import pytest


@pytest.mark.parametrize("turn", [1, 2])
def test_a_catalogue_is_fresh(dsn: str, turn: int) -> None:
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('schema_version') IS NOT NULL").fetchone() == (True,)
        connection.execute(f"CREATE TABLE made_by_turn_{turn} ()")
        found = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'made_by_turn_%'").fetchone()
        assert found == (1,)
