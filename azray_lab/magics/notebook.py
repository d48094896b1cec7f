"""The notebook as a face: progress in a display that is updated in place, values returned to the cell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from IPython import get_ipython
from IPython.display import display

from azray_lab import views
from azray_lab.errors import UnsupportedError
from azray_lab.magics.capped import Capped
from azray_lab.magics.pending import Pending
from azray_lab.verbs.follow import follow
from azray_lab.verbs.lines import LogLines
from azray_lab.verbs.watch import repeat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from IPython.display import DisplayHandle

    from azray_lab.operation import Operation, Task

T = TypeVar("T")

# How often progress is redrawn, in seconds; each redraw is a message that a notebook may keep.
EVERY = 0.25


class NotebookFace:
    """A cell of a notebook, or a line of IPython in a terminal."""

    connects = True
    interactive = False

    def __init__(self, cell: str | None) -> None:
        self.cell = cell
        self.json = False
        self.events = False
        self._text = Capped(sys.stdout.write)

    def follow(self, task: Task[T]) -> T:
        """Runs `task` and draws it below the cell; an interrupt of the cell cancels it and waits for its clean-up."""
        return follow(task, _drawing(task), every=EVERY)

    def detach(self, name: str, task: Task[T], then: Callable[[T], Any]) -> Pending[T]:
        """Runs `task` in a thread, draws it below this cell for as long as it lasts, and returns at once."""
        del name
        # A thread that writes to a terminal writes into what is being typed; there the handle's repr tells how it goes.
        return Pending(task, then, _drawing(task) if _in_kernel() else _nothing, every=EVERY)

    def watch(self, read: Callable[[], Any], *, every: float, times: int | None) -> None:
        """Shows the readings below the cell, each in the place of the one before."""
        repeat(read, _InPlace(self).show, every=every, times=times)

    def say(self, text: str) -> None:
        """Writes a line to the cell's output; Jupyter draws standard error in red, as if something were wrong."""
        print(text)  # noqa: T201 - in the thread of the cell, so it lands there

    def write(self, text: str) -> None:
        """Writes `text` to the cell's standard output; of megabytes only the first and the last part (see `close`)."""
        if _in_kernel():
            self._text.write(text)
        else:
            sys.stdout.write(text)

    def close(self) -> None:
        """Writes the last part of what was too much for a cell."""
        self._text.close()

    def confirm(self, question: str) -> bool:
        """True: a cell is the written wish, and nobody sits beside a notebook that papermill runs."""
        del question
        return True

    def assign(self, name: str, value: Any) -> None:
        """Sets a variable of the notebook."""
        shell = get_ipython()
        if shell is None or not name.isidentifier():
            raise UnsupportedError(f"{name!r} cannot be a variable here", next_step="-o result")
        shell.user_ns[name] = value

    def replace(self, command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
        """Refuses: replacing the kernel would end the notebook."""
        del command, environment
        raise UnsupportedError(
            "a notebook has no terminal to attach", cause="this is a kernel", next_step="azray attach, in a terminal"
        )

    def shown(self, value: Any) -> Any:
        """The value as the cell gets it: itself, or plain data with `--json`."""
        return value.to_dict() if self.json and hasattr(value, "to_dict") else value


def _drawing(task: Task[Any]) -> Callable[[], None]:
    """What draws `task` now and then; nothing where a live card shows it."""
    return _nothing if views.show(task) else Progress(task.operation).draw


def _nothing() -> None:
    """Draws nothing."""


class _InPlace:
    """Values as one display that is updated in place; one after the other in IPython on a terminal, which cannot."""

    def __init__(self, face: NotebookFace) -> None:
        self._face = face
        self._display: DisplayHandle | None = None

    def show(self, value: Any) -> None:
        """Shows `value`, in the place of the one before where that can be."""
        shown = self._face.shown(value)
        if self._display is None or not _in_kernel():
            self._display = display(shown, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._display.update(shown)  # type: ignore[no-untyped-call]


class Progress:
    """An operation as one display that is updated in place; drawing is safe from any thread.

    In IPython on a terminal a display cannot be updated: new events become lines there.
    """

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self._display: DisplayHandle | None = None
        self._last = ""
        self._written = 0
        self._log = LogLines()
        self._updates = _in_kernel()
        self.draw()

    def draw(self) -> None:
        """Shows the operation as it is now; does nothing when nothing has changed."""
        if not self._updates:
            self._draw_lines()
        elif (text := views.operation_text(self.operation)) != self._last:
            self._last = text
            if self._display is None:
                self._display = display(self, display_id=True)  # type: ignore[no-untyped-call]
            else:
                self._display.update(self)  # type: ignore[no-untyped-call]

    def _draw_lines(self) -> None:
        events = self.operation.events[self._written :]
        self._written += len(events)
        for line in self._log.of(events):
            print(line, file=sys.stderr)  # noqa: T201 - a terminal

    def __repr__(self) -> str:
        return views.operation_text(self.operation)

    def _repr_html_(self) -> str:
        return views.operation_html(self.operation)


def _in_kernel() -> bool:
    """Whether output goes to a front end that can update a display."""
    return getattr(get_ipython(), "kernel", None) is not None
