# SPDX-License-Identifier: Apache-2.0
"""A process that has imported everything and forks workers on command, so that a killed worker costs no start-up.

Reads JSON lines `{"folder", "dsn", "env", "capacity"}`, forks a worker that runs every job that is owed, writes its pid, waits
for it and writes its wait status.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from holdfast.testing.site import small_site


def _work(folder: str, dsn: str, env: dict[str, str], capacity: int) -> None:
    os.setsid()
    os.environ.update(env)
    with small_site(Path(folder), dsn, library__capacity=capacity) as site:
        site.drain()


def _say(**what: int) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        wish = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                _work(**wish)
            except BaseException:  # noqa: BLE001 - told on standard error, seen by the test as a status
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _say(pid=pid)
        _, status = os.waitpid(pid, 0)
        _say(status=status)


if __name__ == "__main__":
    main()
