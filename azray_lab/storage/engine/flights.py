"""Many requests at once with bounded memory: jobs have a cost in bytes, and only so many bytes are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Generic, NamedTuple, TypeVar

from azray_lab.storage.engine.model import MiB

T = TypeVar("T")

# Measured at 10 ms of latency: 64 small blobs, or 32 ranges of 4 MiB, fill a fast line; more gains nothing.
FLIGHTS = 64
BYTES_IN_FLIGHT = 128 * MiB
# How often, in seconds, a cancellation is looked for while requests are under way.
_LOOK = 0.1


class Job(NamedTuple, Generic[T]):
    """A piece of work and the bytes that it may hold in memory."""

    work: Callable[[], T]
    cost: int = 0


def fly(
    jobs: Iterable[Job[T]],
    check: Callable[[], None] = lambda: None,
    stop: threading.Event | None = None,
    flights: int = FLIGHTS,
) -> Generator[T, None, None]:
    """Does `jobs` on threads and gives their results as they come; closes with all threads ended.

    `check` is called in between and may raise to end it. When it ends early, `stop` is set, so that what only waits
    for another try ends too; requests under way are waited for.
    """
    pool = ThreadPoolExecutor(flights, thread_name_prefix="azray-blob")
    flying: dict[Future[T], int] = {}
    waiting = iter(jobs)
    later: Job[T] | None = None
    held = 0
    try:
        while True:
            check()
            while len(flying) < 2 * flights and (later := later or next(waiting, None)) is not None:
                if flying and held + later.cost > BYTES_IN_FLIGHT:
                    break
                flying[pool.submit(later.work)] = later.cost
                held += later.cost
                later = None
            if not flying:
                return
            for future in wait(flying, timeout=_LOOK, return_when=FIRST_COMPLETED).done:
                held -= flying.pop(future)
                yield future.result()
    except BaseException:
        if stop is not None:
            stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
