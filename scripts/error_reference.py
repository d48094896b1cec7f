"""Writes docs/reference/errors.md from the error tree; with --check fails when the committed page is out of date."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reference_page import finish  # type: ignore[import-not-found] # beside this script

from azray_lab import errors
from azray_lab.errors import AzRayError

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "errors.md"
HEAD = """# Errors

<!-- Written by scripts/error_reference.py from azray_lab/errors.py; do not edit. -->

Every error that AzRay Lab raises is an `AzRayError`. It says what happened and to what (`message`), why (`cause`), and
what to do next (`next_step`, mostly a command to copy); `facts` holds ids, counts and codes as plain JSON. No secret is
in any of the four.

| face | how an error looks |
|---|---|
| terminal | one line on stderr, `azray: MESSAGE: CAUSE. Next: STEP`, and the exit code |
| terminal with `--json` | the line on stderr, and `{"error": {...}}` on stdout |
| terminal with `--events` | the line on stderr, and `{"event": "error", "error": {...}}` as the last line of stdout |
| notebook | the cell fails with one line and without a traceback |
| Python | an exception with the four attributes; `str(error)` is the one line |

What is no `AzRayError` is a bug of AzRay Lab, or of what it calls, and keeps its traceback.

## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed |
| 2 | wrong usage; nothing was changed |
| 130 | interrupted or cancelled; what had been made was removed |

`azray run` returns the exit code of its job. A signal counts as 128 and its number, as in a shell: 137 is SIGKILL; 130
is a job that was stopped.

"""


def page() -> str:
    """The whole page: faces and exit codes, the tree, and what each error means."""
    return f"{HEAD}## The tree\n\n```\n{drawn()}\n```\n\n## Each error\n\n" + "\n".join(table()) + "\n"


def drawn() -> str:
    """The tree as `errors.py` draws it; fails when the drawing lacks an error."""
    blocks = inspect.cleandoc(errors.__doc__ or "").split("\n\n")
    tree = inspect.cleandoc(next(block for block in blocks if "AzRayError" in block and "|--" in block))
    if missing := [kind.__name__ for kind in kinds() if kind.__name__ not in tree]:
        raise SystemExit(f"the tree on top of errors.py lacks {', '.join(missing)}")
    return tree


def kinds(root: type[AzRayError] = AzRayError) -> Iterator[type[AzRayError]]:
    """The errors in the order of the tree: each one before those below it."""
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def table() -> Iterator[str]:
    """A row for each error: its name, the word that `--json` prints, its exit code, its meaning and its facts."""
    yield "| error | `code` in JSON | exit code | meaning | facts |"
    yield "|---|---|---|---|---|"
    for kind in kinds():
        text = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
        meaning, _, facts = text.partition(" facts: ")
        if not facts:
            meaning, _, facts = text.partition(" Facts: ")
        # The class says its code only through an instance.
        code = kind("").code
        yield f"| `{kind.__name__}` | `{code}` | {kind.exit_code} | {meaning.rstrip(';.')} | {facts} |"


if __name__ == "__main__":
    sys.exit(finish(PAGE, page()))
