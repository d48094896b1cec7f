"""The file that runs on the cluster, run here as the process that it is."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from azray_lab.jobs import runner


class Ran:
    """What one run left: its exit code, its output, and the content of its result file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        log = folder / "job-driver-x.log"
        with log.open("wb") as output:
            self.code = subprocess.run(
                [sys.executable, runner.__file__, *arguments],
                cwd=folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, runner.RESULT_VARIABLE: "azray/result"},
                check=False,
            ).returncode
        self.text = log.read_text()
        self.path = folder / "azray/result"

    @property
    def answer(self) -> tuple[str, Any]:
        """The cell's answer."""
        kind, content = pickle.loads(self.path.read_bytes())  # noqa: S301 - written a moment ago
        return kind, content


def run_cell(folder: Path, code: str, *arguments: str) -> Ran:
    """Runs `code` as a cell."""
    (folder / "cell.py").write_text(code)
    return Ran(folder, "cell", "cell.py", *arguments)


@pytest.mark.slow
def test_a_function_comes_back_by_value(tmp_path: Path) -> None:
    """What the cell defines needs no module here."""
    ran = run_cell(tmp_path, "print('hello')\nbase = 2\ndef add(x):\n    return x + base\nadd\n")
    kind, content = ran.answer
    assert (ran.code, ran.text, kind) == (0, "hello\n", "value")
    assert pickle.loads(content)(3) == 5  # noqa: S301 - written a moment ago


@pytest.mark.slow
def test_o_names_a_variable_or_the_last_expression(tmp_path: Path) -> None:
    """The variable wins; without one the last expression is meant; without either its names are told."""
    _, content = run_cell(tmp_path, "x = 1\n2\n", "-o", "x").answer
    assert pickle.loads(content) == 1  # noqa: S301
    _, content = run_cell(tmp_path, "x = 1\n2\n", "-o", "result").answer
    assert pickle.loads(content) == 2  # noqa: S301
    assert run_cell(tmp_path, "x = 1\n", "-o", "y").answer == ("missing", ["x"])
    assert run_cell(tmp_path, "x = 1\n").answer == ("none", "")


@pytest.mark.slow
def test_what_cannot_be_pickled_comes_back_as_text(tmp_path: Path) -> None:
    """The job has done its work; the value's text is better than nothing, and it is said."""
    ran = run_cell(tmp_path, "(n for n in 'ab')\n")
    assert ran.code == 0
    assert "cannot be pickled" in ran.text
    assert ran.answer[0] == "text"
    assert ran.answer[1].startswith("<generator")


def test_a_failing_cell_shows_its_own_traceback(tmp_path: Path) -> None:
    """The frames of this package are not in it; `sys.exit` is obeyed."""
    ran = run_cell(tmp_path, "def f():\n    1 / 0\nf()\n")
    assert ran.code == 1
    assert "ZeroDivisionError" in ran.text
    assert 'File "cell.py", line 2' in ran.text
    assert "runner.py" not in ran.text
    assert run_cell(tmp_path, "import sys\nsys.exit(7)\n").code == 7


def notebook(folder: Path, *cells: str, kernel: str = "python3") -> Path:
    """Writes a notebook whose first cell holds the parameters."""
    body: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "source": cell,
            "metadata": {"tags": ["parameters"]} if not index else {},
            "id": str(index),
        }
        for index, cell in enumerate(cells)
    ]
    for cell in body:
        cell |= {"outputs": [], "execution_count": None}
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}}
    path = folder / "n.ipynb"
    path.write_text(json.dumps({"cells": body, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.mark.slow
def test_a_notebook_that_fails_leaves_its_executed_copy(tmp_path: Path) -> None:
    """Outputs until the error, the error marked, exit code 1; a kernel that the cluster does not have is no error."""
    notebook(tmp_path, "n = 1", "print('n is', n)", "1 / 0", "print('never')", kernel="strange")
    ran = Ran(tmp_path, "notebook", "n.ipynb", "-p", "n", "3")
    assert ran.code == 1
    assert "n is 3" in ran.text
    assert "no kernel 'strange'" in ran.text
    assert "failed: ZeroDivisionError: division by zero" in ran.text
    copy = ran.path.read_text()
    assert "An Exception was encountered" in copy
    assert "never\\n" not in copy
