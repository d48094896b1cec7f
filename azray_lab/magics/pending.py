"""What `%azray up --no-wait` returns: work that goes on, and becomes its result."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from azray_lab import views

if TYPE_CHECKING:
    from collections.abc import Callable

    from azray_lab.operation import Operation, Task

T = TypeVar("T")


class Pending(Generic[T]):
    """A task that runs in the background: `result()` waits for it, `cancel()` ends it.

    Once it is done, this object has the attributes of its result: `c = %azray up --no-wait`, later `c.status()`.
    """

    def __init__(self, task: Task[T], then: Callable[[T], Any], draw: Callable[[], None], *, every: float) -> None:
        self._operation: Operation[T] = task.start()
        self._then = then
        self._lock = threading.Lock()
        self._value: list[Any] = []
        threading.Thread(target=self._draw, args=(draw, every), name="azray-progress", daemon=True).start()

    def _draw(self, draw: Callable[[], None], every: float) -> None:
        while not self._operation.wait(every):
            draw()
        draw()

    @property
    def done(self) -> bool:
        """Whether the work has ended, in whatever way."""
        return self._operation.done

    def result(self, timeout: float | None = None) -> Any:
        """The cluster, connected to this kernel; waits for it, at most `timeout` seconds, and raises what went wrong.

        The kernel is connected here, in the thread that asks, because a connection belongs to a kernel's cell.
        """
        made = self._operation.result(timeout)
        with self._lock:
            if not self._value:
                self._value.append(self._then(made))
            return self._value[0]

    def cancel(self, timeout: float | None = None) -> bool:
        """Ends the work and waits until what it had made is removed; True when it has ended."""
        self._operation.cancel("cancelled")
        return self._operation.wait(timeout)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if not self.done:
            raise AttributeError(f"{self._operation.name} has not ended, so it has no {name!r} yet: .result() waits")
        return getattr(self.result(), name)

    def __repr__(self) -> str:
        return f"<{views.headline(self._operation)}>"
