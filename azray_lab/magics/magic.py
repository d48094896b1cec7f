"""The magic itself: splits the line, calls the verb tree, turns errors into what a cell shows."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azray_lab.errors import AzRayError


def azray(line: str, cell: str | None = None) -> Any:
    """Ray clusters out of this notebook.

    %azray                          what is running
    %azray up --workers 2           make a cluster and connect this kernel to it
    c = %azray up --no-wait         the same, without waiting for it
    %azray status                   the cluster as it really is
    %azray scale NAME 4             change the number of workers
    %azray run train.py             run a script as a job
    %azray down NAME                end it

    %%azray run -o result           run this cell as a job
    %%azray up                      make the cluster that the YAML in this cell describes

    %azray -h lists all verbs; %azray up -h explains one. $name and {expression} are filled in.
    """
    from azray_lab import errors
    from azray_lab.magics.notebook import NotebookFace
    from azray_lab.verbs.tree import invoke

    try:
        with contextlib.closing(NotebookFace(cell)) as face:
            return face.shown(invoke(_words(line), face, program="%azray"))
    except errors.UsageError as error:
        # One name for all wrong use: what a notebook shows and papermill reports.
        said = errors.UsageError(error.message, cause=error.cause, next_step=error.next_step, **error.facts)
        raise _in_one_line(said) from error
    except errors.AzRayError as error:
        raise _in_one_line(error) from error.__cause__


def _words(line: str) -> list[str]:
    """The line as the tree's arguments: nothing means `list`, and `help VERB` means `VERB -h`."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        from azray_lab.errors import UsageError

        raise UsageError("%azray cannot read this line", cause=str(error).lower(), next_step="%azray -h") from error
    if not words:
        return ["list"]
    return [*words[1:], "-h"] if words[0] == "help" else words


def _in_one_line(error: AzRayError) -> AzRayError:
    """The same error, drawn by IPython as one line; the cell fails with its real type and words."""
    line = f"{type(error).__name__}: {error}"
    error._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]  # IPython's own hook
    return error
