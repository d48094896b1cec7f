"""What can be run as a job: a command, a script, a notebook, a cell. Pure descriptions; nothing is read or sent here.

Each says which command runs on the cluster, which directory travels, what is laid on top of it, and what comes back.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUNNER = "_azray_runner.py"
CELL = "_azray_cell.py"


@dataclass(frozen=True)
class Work:
    """One thing to run. `needs` is a file that must be among those that travel; `result` the ending of what comes back.

    `output` is where a notebook's executed copy goes, here.
    """

    name: str
    entrypoint: str
    directory: Path
    injected: Mapping[str, bytes] = field(default_factory=dict)
    needs: str = ""
    result: str = ""
    output: Path | None = None
    variable: str = ""


def command(arguments: Sequence[str], *, directory: Path | None = None) -> Work:
    """A command as it is, started in the travelled working directory (default: the current one)."""
    if not arguments:
        raise UsageError("there is nothing to run", next_step="azray run -- python -m my_module")
    return Work(_slug(Path(arguments[0]).stem), shlex.join(arguments), _directory(directory))


def script(path: Path | str, arguments: Sequence[str] = (), *, directory: Path | None = None) -> Work:
    """A Python script with its arguments."""
    folder, inside = _inside(Path(path), directory)
    return Work(_slug(Path(inside).stem), shlex.join(["python", inside, *arguments]), folder, needs=inside)


def notebook(
    path: Path | str,
    parameters: Mapping[str, Any] | None = None,
    *,
    output: Path | str | None = None,
    directory: Path | None = None,
) -> Work:
    """A notebook, executed by papermill; the executed copy comes back to `output` (default: NAME.executed.ipynb)."""
    folder, inside = _inside(Path(path), directory)
    _check_notebook(Path(path))
    given = [word for name, value in (parameters or {}).items() for word in ("-p", name, json.dumps(value))]
    target = Path(output) if output else Path(path).with_suffix(".executed.ipynb")
    if not target.parent.is_dir():
        raise UsageError(f"there is no folder {str(target.parent)!r} for the executed copy", next_step="--output FILE")
    if target.resolve() == Path(path).resolve():
        raise UsageError("the executed copy would replace the notebook itself", next_step="--output ANOTHER_FILE")
    return Work(
        _slug(Path(inside).stem),
        shlex.join(["python", RUNNER, "notebook", inside, *given]),
        folder,
        injected=_runner(),
        needs=inside,
        result=".ipynb",
        output=target.absolute(),
    )


def cell(code: str, *, variable: str = "", directory: Path | None = None) -> Work:
    """A cell's code as a program of its own; `variable` of it, or its last expression's value, comes back.

    Nothing of the notebook's own variables is there. UsageError where the code is no Python.
    """
    try:
        ast.parse(code)
    except SyntaxError as error:
        raise UsageError(
            f"line {error.lineno} of the cell is no Python",
            cause=f"{error.msg}: {(error.text or '').strip()!r}",
            next_step="write plain Python in a %%azray run cell; magics and ! belong to the notebook",
        ) from error
    if variable and not variable.isidentifier():
        raise UsageError(f"{variable!r} is no name of a variable", next_step="%%azray run -o result")
    words = ["python", RUNNER, "cell", CELL, *(["-o", variable] if variable else [])]
    injected = {**_runner(), CELL: code.encode()}
    return Work("cell", shlex.join(words), _directory(directory), injected, result=".pickle", variable=variable)


def _check_notebook(path: Path) -> None:
    try:
        fine = isinstance(json.loads(path.read_text(encoding="utf-8"))["cells"], list)
    except (ValueError, KeyError, TypeError):
        fine = False
    if not fine:
        raise UsageError(f"{str(path)!r} is no notebook", cause="it is not the JSON of one", next_step="open it in Lab")


def kind_of(words: Sequence[str]) -> str:
    """What `words` ask to run, by the ending of the first: notebook, script or command."""
    endings = {".ipynb": "notebook", ".py": "script"}
    return endings.get(Path(words[0]).suffix, "command") if words else "command"


def work_of(
    words: Sequence[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    output: Path | str | None = None,
    directory: Path | None = None,
) -> Work:
    """The work that `words` ask for: a notebook with `parameters`, a script with its arguments, or a command."""
    kind = kind_of(words)
    if kind == "notebook" and len(words) == 1:
        return notebook(words[0], parameters, output=output, directory=directory)
    if kind == "notebook":
        raise UsageError(f"a notebook takes no argument {words[1]!r}", next_step="give parameters by name")
    if parameters or output:
        raise UsageError("parameters and an output are for notebooks", next_step="leave them out")
    if kind == "script":
        return script(words[0], words[1:], directory=directory)
    return command(words, directory=directory)


def parameter(text: str) -> Any:
    """A parameter's value as papermill reads it on its command line: a number, true, false, none, or the text."""
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def with_runner(work: Work) -> Work:
    """`work` with the runner's file beside it, whose `set_up` opens the job's sealed variables on the cluster."""
    return replace(work, injected={**work.injected, **_runner()})


def _runner() -> dict[str, bytes]:
    # Read, never imported: it belongs to the cluster.
    return {RUNNER: Path(__file__).with_name("runner.py").read_bytes()}


def _directory(directory: Path | None) -> Path:
    try:
        return (directory or Path.cwd()).resolve()
    except FileNotFoundError as error:
        raise UsageError(
            "the current directory is gone", cause="it was deleted", next_step="cd to a directory that is there"
        ) from error


def _inside(path: Path, directory: Path | None) -> tuple[Path, str]:
    """The directory that travels and the path of the file in it: the current one unless the file lies elsewhere."""
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}", next_step=f"ls {shlex.quote(str(path.parent))}")
    real = path.resolve()
    folder = _directory(directory)
    if real.is_relative_to(folder):
        return folder, real.relative_to(folder).as_posix()
    if directory is not None:
        raise UsageError(
            f"{str(path)!r} lies outside of the working directory {str(directory)!r}",
            next_step=f"--working-dir {shlex.quote(str(path.parent))}",
        )
    return real.parent, real.name


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24] or "job"
