"""What can be run: how a command, a script, a notebook and a cell are described."""

from __future__ import annotations

from pathlib import Path

import pytest

from azray_lab import jobs
from azray_lab.errors import UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_command_is_quoted_for_the_shell(here: Path) -> None:
    """Blanks, quotes and dollars arrive as they were given."""
    work = jobs.command(["python", "-c", "print('a b', \"$HOME\")"])
    assert work.entrypoint == "python -c 'print('\"'\"'a b'\"'\"', \"$HOME\")'"
    assert work.directory == here
    with pytest.raises(UsageError, match="nothing to run"):
        jobs.command([])


def test_a_script_runs_in_the_current_directory(here: Path, tmp_path: Path) -> None:
    """A script below it is named from there; one elsewhere takes its own directory along."""
    (here / "sub").mkdir()
    (here / "sub/My Train!.py").write_text("")
    work = jobs.script("sub/My Train!.py", ["--lr", "0.1"])
    assert work.entrypoint == "python 'sub/My Train!.py' --lr 0.1"
    assert (work.directory, work.needs, work.name) == (here, "sub/My Train!.py", "my-train")
    (tmp_path / "other.py").write_text("")
    assert jobs.script(tmp_path / "other.py").directory == tmp_path
    with pytest.raises(UsageError, match="outside"):
        jobs.script(tmp_path / "other.py", directory=here)
    with pytest.raises(UsageError, match="no file"):
        jobs.script("missing.py")


def test_a_notebook_comes_back_beside_the_original(here: Path) -> None:
    """The executed copy has its own name, which may be chosen, and never replaces the notebook."""
    (here / "analysis.ipynb").write_text('{"cells": []}')
    work = jobs.notebook("analysis.ipynb", {"epochs": 3, "name": "a b"})
    assert work.output == here / "analysis.executed.ipynb"
    assert work.entrypoint.endswith("notebook analysis.ipynb -p epochs 3 -p name '\"a b\"'")
    assert jobs.notebook("analysis.ipynb", output="o.ipynb").output == here / "o.ipynb"
    with pytest.raises(UsageError, match="replace the notebook"):
        jobs.notebook("analysis.ipynb", output="./analysis.ipynb")
    with pytest.raises(UsageError, match="no folder"):
        jobs.notebook("analysis.ipynb", output="missing/o.ipynb")


def test_a_cell_must_be_python() -> None:
    """What the cluster could not even parse is told here, with its line."""
    work = jobs.cell("x = 1", variable="x")
    assert work.entrypoint.endswith("-o x")
    assert {"_azray_cell.py", "_azray_runner.py"} <= work.injected.keys()
    with pytest.raises(UsageError, match="line 2 of the cell") as caught:
        jobs.cell("x = 1\n!ls\n")
    assert "!ls" in caught.value.cause


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.1", 0.1), ("1e-3", 0.001), ("true", True), ("None", None), ("abc", "abc"), ("", "")],
)
def test_parameters_are_read_as_papermill_does(text: str, value: object) -> None:
    """Numbers and words of Python become values, all else stays text."""
    assert jobs.parameter(text) == value
    assert type(jobs.parameter(text)) is type(value)


def test_words_become_the_work_that_their_ending_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One choice serves the verb and Python: a notebook, a script with its arguments, or a command."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text("")
    (tmp_path / "a.ipynb").write_text('{"cells": []}')
    assert jobs.work_of(["a.py", "--lr", "0.1"]).entrypoint == "python a.py --lr 0.1"
    assert jobs.work_of(["python", "-m", "x"]).entrypoint == "python -m x"
    assert "notebook a.ipynb -p n 3" in jobs.work_of(["a.ipynb"], parameters={"n": 3}).entrypoint
    with pytest.raises(UsageError, match="takes no argument 'b'"):
        jobs.work_of(["a.ipynb", "b"])
    with pytest.raises(UsageError, match="for notebooks"):
        jobs.work_of(["a.py"], output="x.ipynb")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"cells": 5}'])
def test_what_is_no_notebook_is_not_sent(tmp_path: Path, content: str) -> None:
    """A broken notebook is told before anything travels."""
    broken = tmp_path / "a.ipynb"
    broken.write_text(content)
    with pytest.raises(UsageError, match="is no notebook"):
        jobs.notebook(broken)


def test_a_name_that_is_none_is_told_before_the_job_runs() -> None:
    """`-o "bad name"` would only fail after the job."""
    with pytest.raises(UsageError, match="no name of a variable"):
        jobs.cell("x = 1", variable="bad name")
