"""Which notebook cell launched an actor or a task: Ray's call sites, read with what this kernel knows of its cells.

Ray keeps where each actor and task was made when RAY_record_task_actor_creation_sites is set in the driver, which
`connect` does. In a notebook that place is the file name under which IPython compiled the cell, and IPython of that
very kernel can say which cell it is (`CachingCompiler.format_code_name`). So this answers in the kernel that launched
the work, and for its own work only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

# One frame of a Python traceback, as Ray keeps it.
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
# File name -> `In[3]`, or None for a file that is no cell.
CellName = Callable[[str], str | None]


def cell_of(call_site: str | None, name: CellName | None = None) -> str:
    """The cell and its line, `In[3], line 2`, where a call site lies in a cell of this kernel; else an empty string.

    The innermost frame that is a cell counts: it holds the line that calls `.remote()`.
    """
    name = name or name_in_this_kernel
    found = ""
    for frame in _FRAME.finditer(call_site or ""):
        if cell := name(frame["file"]):
            found = f"{cell}, line {frame['line']}"
    return found


def name_in_this_kernel(file: str) -> str | None:
    """What IPython calls the cell that it compiled under this file name; None where there is no IPython or no cell."""
    # Never imported: where it is not loaded there are no cells.
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    known = shell.compile.format_code_name(file) if shell else None
    return str(known[1]) if known else None
