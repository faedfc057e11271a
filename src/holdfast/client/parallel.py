# SPDX-License-Identifier: Apache-2.0
"""Many pieces of work at the same time, in threads that Ctrl-C does not wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

_Thing = TypeVar("_Thing")
_AHEAD: Final = 1000  # things that wait for their turn, so that memory does not grow with their number
# Seconds. A signal that comes in the moment before a wait begins does not end it, and would be lost in one without an end.
_LOOK: Final = 0.5


def in_parallel(things: Iterable[_Thing], work: Callable[[_Thing], None], jobs: int) -> None:
    """Do `work` for each thing, `jobs` at the same time, begun in order.

    The first exception is raised at once, as is Ctrl-C: nothing more is begun then, and what is under way is not waited for.
    """
    ended: SimpleQueue[Future[None]] = SimpleQueue()
    pool = ThreadPoolExecutor(jobs)
    begun = 0
    try:
        for thing in things:
            pool.submit(work, thing).add_done_callback(ended.put)
            begun += 1
            while begun > _AHEAD or not ended.empty():
                _next(ended).result()
                begun -= 1
        for _ in range(begun):
            _next(ended).result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _next(ended: SimpleQueue[Future[None]]) -> Future[None]:
    while True:
        try:
            return ended.get(timeout=_LOOK)
        except Empty:
            continue
