# SPDX-License-Identifier: Apache-2.0
"""Units are loaded when the first is met, by whoever meets it."""

from __future__ import annotations

import subprocess
import sys

_MANY_AT_ONCE = """
import pint
from concurrent.futures import ThreadPoolExecutor
from holdfast.model.units import in_base
made, registry = [], pint.UnitRegistry
pint.UnitRegistry = lambda **how: made.append(1) or registry(**how)
with ThreadPoolExecutor(8) as pool:
    assert {found[0] for found in pool.map(lambda n: in_base(1.0, "k" * (n % 2) + "eV"), range(8))}
print(len(made))
"""


def test_units_are_loaded_once_however_many_ask_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", _MANY_AT_ONCE], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
