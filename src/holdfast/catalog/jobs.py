# SPDX-License-Identifier: Apache-2.0
"""The job engine: Procrastinate in the catalogue's own database.

Jobs are disposable. They are deferred in the transaction of the fact that causes them; the planner defers them again
when they are lost; effects are guarded by the catalogue (P7), never by the queue's word.
"""

from __future__ import annotations

from typing import Final

import procrastinate
import psycopg
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from holdfast.catalog.database import Connection

# Kind of job -> its queue. A worker process serves some queues with a fixed number of slots.
QUEUES: Final[dict[str, str]] = {
    "survey": "pack",
    "pack": "pack",
    "write": "tape",
    "erase": "tape",
    "check": "check",
    "recall": "recall",
    "finish": "recall",
    "release": "check",
    "evict": "check",
    "fetch": "fetch",
}

# Only hands jobs to connections that callers bring, so it needs no server of its own.
_app: Final = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())


def defer(conn: Connection, kind: str, thing: str) -> bool:
    """Put one job in the queue unless the same one waits there already; say whether it was put."""
    job = _app.configure_task(kind, queue=QUEUES[kind], queueing_lock=f"{kind}:{thing}", connection=conn)
    try:
        with conn.transaction():  # a savepoint: a job that waits already must not end the caller's transaction
            job.defer(thing=thing)
    except AlreadyEnqueued:
        return False
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.Error):  # the server went away: told as anywhere else
            raise error.__cause__ from None
        raise
    return True
