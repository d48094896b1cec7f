"""Runs a task in a thread and draws it from the thread that asked, so that Ctrl-C cancels and never cuts a clean-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from azray_lab.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    operation = task.start()
    _watch(operation, draw, every)
    return operation.result()


def _watch(operation: Operation[Any], draw: Callable[[], None], every: float) -> None:
    interrupts = 0
    while True:
        try:
            ended = operation.wait(every)
            draw()
        except KeyboardInterrupt:
            interrupts += 1
            _interrupt(operation, interrupts)
        except BaseException:
            operation.cancel("nobody reads what it says")
            operation.wait(_CLEAN_UP_SECONDS)
            raise
        else:
            if ended:
                return


def _interrupt(operation: Operation[Any], count: int) -> None:
    if operation.done:
        return
    operation.cancel("interrupted")
    if count >= _PATIENCE:
        raise CancelledError(
            f"{operation.name} was left while it was cleaning up", cause="interrupted again", next_step="azray list"
        )
    operation.note("interrupted: cleaning up" if count == 1 else "still cleaning up; one more interrupt leaves it")
