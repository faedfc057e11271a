# SPDX-License-Identifier: Apache-2.0
"""A process that is asked to end does so, however often and whenever it is asked."""

from __future__ import annotations

import subprocess
import sys

# The handlers come while the event's own lock is held, as when Ctrl-C is pressed twice.
_PROGRAM = """
import os, signal
from holdfast.parts import _stopping
with _stopping() as stop:
    with stop._cond:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
    assert stop.wait(20)
"""


def test_signals_that_come_in_the_midst_of_one_another_stop_a_process() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)
