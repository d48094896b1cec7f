"""Uploads in the background: one after the other, tried again while the service is away, and none fails unheard."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from azray_lab.errors import AzRayError, StorageError
from azray_lab.storage.engine.faults import RETRIED

if TYPE_CHECKING:
    from azray_lab.storage.checkpoints.saved import Saved

T = TypeVar("T")
# The engine's own tries take some seconds; a service that is updated, or a network that fails over, takes a minute.
_AGAIN_SECONDS = 120.0
_LONGEST_PAUSE = 15.0

# What nobody has asked the result of, by the process that began it and what to say when it does not come to an end.
_unheard: dict[Future[Saved], tuple[int, str]] = {}


class Background:
    """The upload that is under way. The thread is no daemon: when the program ends, it is waited for."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._worker: ThreadPoolExecutor | None = None
        self._pending: Future[Saved] | None = None

    @property
    def busy(self) -> bool:
        """Whether an upload is under way."""
        return self._pending is not None and not self._pending.done()

    def begin(self, work: Callable[[], Saved], interrupted: str) -> None:
        """Begins `work`, and waits for what was begun before; raises what went wrong with that.

        `interrupted` is what is printed when the program ends before it does.
        """
        if self._pid != os.getpid():  # a forked child has none of the threads, and no part in what they do
            self._start()
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="azray-checkpoint")
        future = self._worker.submit(work)
        _unheard[future] = (self._pid, interrupted)
        before, self._pending = self._pending, future
        if before is not None:
            _heard(before)

    def wait(self) -> Saved | None:
        """The result of what is under way, if anything is; raises what went wrong with it."""
        if self._pending is None or self._pid != os.getpid():
            return None
        wait([self._pending])  # Ctrl-C in it loses nothing
        pending, self._pending = self._pending, None
        return _heard(pending)


def _heard(future: Future[Saved]) -> Saved:
    wait([future])
    _unheard.pop(future, None)
    return future.result()


def persistently(work: Callable[[], T], pause: float = 1.0, seconds: float = _AGAIN_SECONDS) -> T:
    """The result of `work`, which is done again for up to `seconds` while the service is throttled or away.

    `pause` is the first one between two tries; each is twice as long as the one before, up to 15 s.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return work()
        except StorageError as error:
            if not _passing(error) or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _passing(error: StorageError) -> bool:
    """Whether it may be over in a while: errors without an answer name the host or the address that gave none."""
    return error.facts.get("status") in RETRIED or bool(error.facts.keys() & {"host", "endpoint"})


def retold(error: Exception, what: str, next_step: str = "", **facts: str) -> AzRayError:
    """`error` as the cause of `what`, of the same class where it is ours; its own next step comes first."""
    if not isinstance(error, AzRayError):
        return StorageError(what, cause=f"{type(error).__name__}: {error}", next_step=next_step, **facts)
    cause = f"{error.message}: {error.cause}" if error.cause else error.message
    steps = ", then ".join(step for step in (error.next_step, next_step) if step)
    return type(error)(what, cause=cause, next_step=steps, **{**error.facts, **facts})


@atexit.register
def _at_exit() -> None:
    """Prints what nobody has asked for. The threads have ended then, unless Ctrl-C has cut the wait for them."""
    for future, (pid, interrupted) in _unheard.items():
        problem = future.exception() if future.done() else interrupted
        if problem is not None and pid == os.getpid() and sys.stderr is not None:
            sys.stderr.write(f"azray_lab: {problem}\n")
