# SPDX-License-Identifier: Apache-2.0
"""A worker process: takes jobs of its queues and calls the service that each names."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import procrastinate

from holdfast import log
from holdfast.catalog.jobs import QUEUES
from holdfast.errors import HoldfastError
from holdfast.services.archive import Archive
from holdfast.services.buffer import evict
from holdfast.services.check import check, erase
from holdfast.services.extract import extract
from holdfast.services.fetch import fetch
from holdfast.services.finish import finish
from holdfast.services.free import free
from holdfast.services.pack import pack
from holdfast.services.queue import recall
from holdfast.services.register import survey
from holdfast.services.write import write

_LOG = logging.getLogger(__name__)

HANDLERS: Final[dict[str, Callable[[Archive, str], None]]] = {
    "survey": survey,
    "pack": pack,
    "extract": extract,
    "write": write,
    "check": check,
    "erase": erase,
    "recall": recall,
    "finish": finish,
    "release": free,
    "evict": evict,
    "fetch": fetch,
}

_POLL: Final = 1.0  # seconds; LISTEN wakes sooner
# After this, running jobs are left to the takeover that every job survives (P6); well below the planner's 60 s.
_GRACE: Final = 5.0  # seconds


def application(archive: Archive) -> procrastinate.App:
    """Return the job engine with one task per kind of job."""
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=archive.database.dsn, min_size=1, max_size=4)
    )
    for kind, handler in HANDLERS.items():
        app.task(name=kind, queue=QUEUES[kind])(_task(archive, kind, handler))
    return app


def _task(archive: Archive, kind: str, handler: Callable[[Archive, str], None]) -> Callable[[str], None]:
    def run(thing: str) -> None:
        with log.bind(job=f"{kind} {thing}"):
            try:
                handler(archive, thing)
            except HoldfastError as error:
                # The planner finds what is still owed; the thing's own row says why it waits (P9).
                _LOG.warning("%s %s: %s", kind, thing, error.sentence)
            except Exception:  # noqa: BLE001 - a defect in one job must not end the worker of all others
                _LOG.exception("%s %s failed unexpectedly", kind, thing)

    return run


def run_worker(archive: Archive, *, queues: Sequence[str], slots: int) -> None:
    """Work until the archive is stopping, then end within seconds: what was under way is taken over by others."""
    asyncio.run(_run(archive, queues, slots))
    # Threads may still be in a system call; every job is safe to kill, so nobody waits for them.
    logging.shutdown()
    os._exit(0)


async def _run(archive: Archive, queues: Sequence[str], slots: int) -> None:
    # Sync tasks run in the loop's default pool, whose size is otherwise unrelated to the slots.
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(slots + 2))
    app = application(archive)
    async with app.open_async():
        working = asyncio.ensure_future(
            app.run_worker_async(
                queues=list(queues),
                concurrency=slots,
                fetch_job_polling_interval=_POLL,
                shutdown_graceful_timeout=_GRACE,
                delete_jobs="always",
                install_signal_handlers=False,
            )
        )

        def stop() -> None:  # which may have been asked for before the loop was there
            archive.stopping.wait()
            loop.call_soon_threadsafe(working.cancel)

        threading.Thread(target=stop, name="stop", daemon=True).start()
        with suppress(asyncio.CancelledError):
            await working
