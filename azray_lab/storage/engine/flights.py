"""Many requests at once with bounded memory: jobs have a cost in bytes, and only so many bytes are under way."""

from __future__ import annotations

import collections
import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from azray_lab.storage.engine.model import MiB

if TYPE_CHECKING:
    from azray_lab.storage.engine.stopping import Stop

T = TypeVar("T")

# Measured at 10 ms of latency: 64 small blobs, or 16 ranges of 4 MiB, fill a fast line; more gains nothing. obstore
# may hold the bytes of a range twice, so a transfer stays below 256 MiB with Python itself.
FLIGHTS = 64
BYTES_IN_FLIGHT = 80 * MiB
# So many threads at once, and for small blobs more only while all of them together leave processors idle. Where the
# service is quick, more would only wait for Python's lock, which costs a quarter of the speed and of the CPU. Measured
# on 2 cores; where there are more, what runs outside of the lock (sockets, files) has room for twice as much.
_AT_ONCE = 4
_SHARE = 0.4 * min(os.cpu_count() or 1, 4)
_FADING = 0.9  # what a job's share counts after each later one
# How often, in seconds, results are collected and a cancellation is looked for: to wake the thread that waits for each
# of thousands of results costs CPU. An error and the end wake it at once.
_LOOK = 0.05


class Job(NamedTuple, Generic[T]):
    """A piece of work and the bytes that it may hold in memory."""

    work: Callable[[], T]
    cost: int = 0


def fly(
    jobs: Iterable[Job[T]],
    check: Callable[[], None] = lambda: None,
    stop: Stop | None = None,
    flights: int = FLIGHTS,
) -> Generator[T, None, None]:
    """Does `jobs` on threads and gives their results as they come; when it ends, in whatever way, no thread is left.

    `check` is called in between and may raise to end it; so does the first error of a job. `stop` is set then, which
    ends what it can (see `Stop`); other requests under way are waited for.
    """
    flight: _Flight[T] = _Flight(iter(jobs), flights)
    try:
        flight.begin()
        while True:
            check()
            flight.told.wait(_LOOK)
            while flight.results:
                result, error = flight.results.popleft()
                if error is not None:
                    check()  # which says why, where the error only says that it was ended
                    raise error  # noqa: TRY301 - a job's, handed over from its thread
                if result is _END:
                    return
                yield result
    except BaseException:
        if stop is not None:
            stop.set()
        raise
    finally:
        flight.land()


class Budget:
    """Bytes that the parts of whole files may hold together, whoever asked for them; first come, first served."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begins anew, as a forked child has to, which has none of the threads that hold something."""
        self._held = 0
        self._queue: collections.deque[object] = collections.deque()
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, cost: int, stop: Stop | None = None) -> Iterator[None]:
        """Waits until `cost` bytes are free, at most all of them, or until `stop`.

        For one part of a file only: others do their requests, which have deadlines, and then it is free again.
        """
        cost = min(cost, BYTES_IN_FLIGHT)
        with self._freed:
            self._wait(cost, stop)
            self._held += cost
        try:
            yield
        finally:
            with self._freed:
                self._held -= cost
                self._freed.notify_all()

    def _wait(self, cost: int, stop: Stop | None) -> None:
        ticket = object()
        self._queue.append(ticket)
        try:
            while self._queue[0] is not ticket or self._held + cost > BYTES_IN_FLIGHT:
                if stop is not None:
                    stop.check()
                self._freed.wait(_LOOK)
        finally:
            self._queue.remove(ticket)
            self._freed.notify_all()


whole_files = Budget()
os.register_at_fork(after_in_child=whole_files.renew)
_END: Any = object()


class _Flight(Generic[T]):
    """The threads. Each takes the next job itself, so that nothing is handed over; the last one says `_END`."""

    def __init__(self, jobs: Iterator[Job[T]], most: int) -> None:
        self.results: collections.deque[tuple[T, BaseException | None]] = collections.deque()
        self.told = threading.Event()
        self._jobs = jobs
        self._most = most
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._held = 0
        self._over = False
        self._wall = self._cpu = 0.0  # seconds of the last jobs, and of a processor in them
        self._turn = threading.Lock()  # who takes the next job
        self._landed = threading.Condition()  # guards the counts

    def begin(self) -> None:
        """Starts the first thread, which takes no job, and so starts no other, before it is counted."""
        with self._turn:
            self._launch()

    def _launch(self) -> None:
        """Starts one more thread; where there can be none, those that are there do the work."""
        thread = threading.Thread(target=self._run, name="azray-blob", daemon=True)
        with self._landed:
            self._busy += 1
        try:
            thread.start()
        except RuntimeError:  # the system gives no more
            with self._landed:
                self._busy -= 1
            if not self._threads:
                raise
            self._most = len(self._threads)
        else:
            self._threads.append(thread)

    def land(self) -> None:
        """Takes no more jobs and waits for the threads."""
        with self._landed:
            self._over = True
            self._landed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while (job := self._take()) is not None:
                began, used = time.perf_counter(), time.thread_time()
                try:
                    self.results.append((job.work(), None))
                finally:
                    self._free(job.cost)
                self._wall = self._wall * _FADING + time.perf_counter() - began
                self._cpu = self._cpu * _FADING + time.thread_time() - used
        except BaseException as error:  # noqa: BLE001 - raised where the results are taken
            self._over = True
            self._tell(error)
        with self._landed:
            self._busy -= 1
            last = self._busy == 0
        if last:
            self._tell(None)

    def _tell(self, error: BaseException | None) -> None:
        self.results.append((_END, error))
        self.told.set()

    def _take(self) -> Job[T] | None:
        with self._turn:
            if self._over:
                return None
            job = next(self._jobs, None)
            if job is None:
                self._over = True
                return None
            self._reserve(job.cost)
            if self._wants_more(job):
                self._launch()
            return job

    def _wants_more(self, job: Job[T]) -> bool:
        threads = len(self._threads)
        idle = threads * self._cpu < _SHARE * self._wall
        more = threads < _AT_ONCE or job.cost >= MiB or idle
        return more and threads < self._most and not self._over

    def _reserve(self, cost: int) -> None:
        with self._landed:
            while self._held and self._held + cost > BYTES_IN_FLIGHT and not self._over:
                self._landed.wait()
            self._held += cost

    def _free(self, cost: int) -> None:
        with self._landed:
            self._held -= cost
            self._landed.notify()
