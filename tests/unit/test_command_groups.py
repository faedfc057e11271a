# SPDX-License-Identifier: Apache-2.0
"""Commands load what they need and no more, for people wait for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SLOW = {"psycopg", "numpy", "fastapi", "holdfast.app"}  # imports that take longer than all else of a command
_SCRIPT = """
import sys
from holdfast.cli.main import commands
commands([*sys.argv[1:], "--help"], standalone_mode=False)
print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.parametrize("command", ["ls", "status", "stage", "requests", "admin tape list", "admin request priority"])
def test_commands_that_ask_a_server_load_nothing_of_one(command: str) -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT, *command.split()], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert not _SLOW & set(done.stderr.split())


def test_the_library_is_where_its_users_look_for_it() -> None:
    script = "import sys, holdfast; assert 'httpx' not in sys.modules; print(holdfast.Client('http://127.0.0.1:1').url)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "http://127.0.0.1:1\n"
    with pytest.raises(ImportError):
        from holdfast import Nothing  # noqa: F401
