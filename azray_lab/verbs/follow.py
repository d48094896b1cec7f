"""Runs a task in a thread and draws it from the thread that asked, so that Ctrl-C cancels and never cuts a clean-up."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from azray_lab.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from typing_extensions import Self

    from azray_lab.operation import Operation, Task

T = TypeVar("T")

# The interrupt that leaves a clean-up alone although it has not ended.
_PATIENCE = 3
# How long a clean-up may take when nobody is left to see it, in seconds.
_CLEAN_UP_SECONDS = 60.0


def follow(task: Task[T], draw: Callable[[], None], *, every: float) -> T:
    """Starts `task`, calls `draw` every so many seconds and once at its end, and returns the result.

    An interrupt cancels the operation and waits for its clean-up; the third one waits no longer. When `draw` itself
    fails (a closed pipe), the operation is cancelled as well.
    """
    operation = task.operation
    with _Interrupts() as interrupts:
        task.start()
        try:
            _watch(operation, draw, every, interrupts)
        except KeyboardInterrupt:
            raise _left(operation) from None
        except BaseException:
            operation.cancel("nobody reads what it says")
            operation.wait(_CLEAN_UP_SECONDS)
            raise
    return operation.result()


def _watch(operation: Operation[Any], draw: Callable[[], None], every: float, interrupts: _Interrupts) -> None:
    heeded, ended = 0, False
    while not ended:
        ended = operation.wait(every)
        if interrupts.count > heeded and not ended:
            heeded = interrupts.count
            operation.cancel("interrupted")
            operation.note(_WORDS[heeded])
        draw()


_WORDS = {1: "interrupted: cleaning up", 2: "still cleaning up; one more interrupt leaves it"}


def _left(operation: Operation[Any]) -> CancelledError:
    operation.cancel("interrupted")
    return CancelledError(
        f"{operation.name} was left while it was cleaning up", cause="interrupted again", next_step="azray list"
    )


class _Interrupts:
    """Counts the signals that would raise KeyboardInterrupt, and raises it only for the last one that we heed.

    An exception can come between any two instructions, also while the thread that does the work is being started, and
    would leave that work running unseen; a count cannot.
    """

    def __init__(self) -> None:
        self.count = 0
        self._ours: list[int] = []

    def __enter__(self) -> Self:
        # Only the main thread gets signals, and only Python's own handler is ours to replace.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.default_int_handler:
                    signal.signal(number, self._count)
                    self._ours.append(number)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in self._ours:
            signal.signal(number, signal.default_int_handler)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.count >= _PATIENCE:
            raise KeyboardInterrupt
