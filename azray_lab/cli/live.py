"""An operation on a terminal: rich redraws its stages in place. The only module that imports rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich.live
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from azray_lab import views
from azray_lab.cli.drawing import Drawing

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import RenderableType
    from typing_extensions import Self

    from azray_lab.operation import Operation

_STYLES = {"done": "green", "running": "cyan", "failed": "bold red"}


class Live(Drawing):
    """Redraws the operation's stages in place on stderr."""

    def __init__(self, operation: Operation[Any]) -> None:
        super().__init__(operation)
        # Times are computed when it is drawn, so rich needs no refresh thread of its own.
        self._live = rich.live.Live(console=Console(stderr=True), auto_refresh=False, transient=False)

    def draw(self) -> None:
        """Draws the operation as it is now."""
        self._live.update(render(self.operation), refresh=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()


def render(operation: Operation[Any]) -> RenderableType:
    """An operation as rich draws it: headline, stages, notes."""
    table = Table.grid(padding=(0, 2))
    for row in views.stages(operation):
        stage, state, took, message = views.row_cells(row, operation.elapsed)
        table.add_row(f"  {stage}", Text(state, _STYLES[state]), Text(took, "dim"), Text(message))
    notes = [Text(f"  {note}", "yellow") for note in views.notes(operation.events)]
    return Group(Text(views.headline(operation), "bold"), table, *notes)
