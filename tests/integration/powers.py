# SPDX-License-Identifier: Apache-2.0
"""Root without its power over the rights of files, for tests of what may not be read."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable


def without_power(work: Callable[[], None]) -> None:
    """Run `work` as if root had no power over the rights of files: in a thread without capabilities."""
    failures: list[BaseException] = []

    def limited() -> None:
        try:
            _drop_powers()
            work()
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)

    thread = threading.Thread(target=limited)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _drop_powers() -> None:
    """Take the capabilities from this thread and those that it will start (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")
