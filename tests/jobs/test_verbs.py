"""The verbs run, jobs and logs, as processes in a terminal and as cells of a notebook, on a real cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("cluster")]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder that is the current directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*words: str) -> subprocess.Popen[str]:
    """Starts `azray` with these words."""
    return subprocess.Popen(
        [sys.executable, "-m", "azray_lab", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


class Azray:
    """`azray` run to its end."""

    def __init__(self, *words: str) -> None:
        process = start(*words)
        self.out, self.err = process.communicate(timeout=120)
        self.code = process.returncode

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)


def test_run_prints_what_the_job_prints() -> None:
    """A command behind `--` sees the whole cluster; its lines are on stdout, the stages on stderr."""
    ran = Azray(
        "run", "--cluster", "jobs", "--", "python", "-c", "import ray; ray.init(); print('nodes', len(ray.nodes()))"
    )
    assert ran.code == 0, ran.err
    assert "[head] nodes 2\n" in ran.out
    assert "submit" in ran.err
    assert "SUCCEEDED" in ran.out.splitlines()[-1]


def test_what_stands_behind_a_script_is_the_scripts(project: Path) -> None:
    """Its options are not ours, its exit code is; with our --json before it stdout is one document."""
    (project / "show.py").write_text("import sys\nprint('given', sys.argv[1:])\nsys.exit(7)\n")
    ran = Azray("run", "--json", "show.py", "--json", "-p", "1", "--detach")
    assert ran.code == 7
    assert ran.json["exit_code"] == 7
    assert "[head] given ['--json', '-p', '1', '--detach']" in ran.err


def test_ctrl_c_stops_the_job_and_says_so() -> None:
    """Interrupting the terminal ends the job on the cluster; the exit code is 130."""
    process = start("run", "--", "bash", "-c", "echo ready; sleep 600")
    assert process.stdout is not None
    while "ready\n" not in (line := process.stdout.readline()) or "entrypoint" in line:
        assert line, process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "was stopped on the cluster" in err
    assert Azray("jobs", "--json").json[0]["status"] == "STOPPED"


def test_a_reader_that_goes_away_stops_the_job() -> None:
    """`azray run ... | head -1` leaves no job behind."""
    process = start("run", "--", "bash", "-c", "while true; do echo line; done")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    process.stdout.close()
    with process.stderr as told:
        told.read()
    assert process.wait(60) == 1
    assert Azray("jobs", "--json").json[0]["status"] == "STOPPED"


def test_detach_then_list_follow_and_stop(project: Path) -> None:
    """The id of a detached job is enough for all other verbs; stopping it is no failure."""
    (project / "train.py").write_text("import time\nprint('training')\ntime.sleep(600)\n")
    began = Azray("run", "--detach", "--json", "train.py")
    job = began.json["id"]
    assert (began.code, began.json["detached"]) == (0, True)
    follower = start("logs", job, "-f")
    assert follower.stdout is not None
    while "training" not in (line := follower.stdout.readline()):
        assert line, follower.communicate()
    assert job in Azray("jobs").out
    stopped = Azray("jobs", "stop", job, "--json")
    assert (stopped.code, stopped.json["status"]) == (0, "STOPPED")
    follower.communicate(timeout=60)
    assert follower.returncode == 0
    assert "[head] training\n" in Azray("logs", job).out
    unknown = Azray("jobs", "stop", job + "x", "--json")
    assert unknown.code == 2
    assert f"Did you mean '{job}'" in unknown.json["error"]["message"]


def test_what_a_detached_notebook_leaves_is_fetched_by_its_id(project: Path) -> None:
    """`azray jobs fetch` writes the executed copy; its exit code is its own, not that of the job."""
    cell: dict[str, Any] = {"cell_type": "code", "id": "a", "source": "1 / 0", "metadata": {}}
    cell |= {"outputs": [], "execution_count": None}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (project / "broken.ipynb").write_text(json.dumps(document))
    job = Azray("run", "--detach", "--json", "broken.ipynb").json["id"]
    Azray("logs", job, "-f")
    fetched = Azray("jobs", "fetch", job, "-o", "out.ipynb", "--json")
    assert (fetched.code, fetched.json["status"]) == (0, "FAILED")
    assert "ZeroDivisionError" in (project / "out.ipynb").read_text()


def test_the_log_of_a_node() -> None:
    """A node's own log comes through the cluster."""
    assert Azray("logs", "--node", "worker-1").out.strip()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["run"], "say what to run"),
        (["run", "missing.py"], "no file 'missing.py'"),
        (["run", "-p", "a", "1", "--", "true"], "-p gives a parameter to a notebook"),
        (["run", "-o", "x", "--", "true"], "-o is for notebooks and cells"),
        (["run", "--timeout", "soon", "--", "true"], "--timeout"),
        (["run", "--env", "NOT_SET_ANYWHERE", "--", "true"], "no variable 'NOT_SET_ANYWHERE'"),
        (["run", "--cluster", "jbos", "--", "true"], "Did you mean 'jobs'"),
        (["logs", "job", "--node", "head"], "a job and a node at once"),
    ],
)
def test_mistakes_are_told_before_anything_runs(words: list[str], what: str) -> None:
    """Exit code 2 and one line that says what to write."""
    ran = Azray(*words)
    assert ran.code == 2
    assert what in ran.err


CELLS = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def cell(text):
    print("CELL", shell.run_cell(text).success, flush=True)
    return shell.user_ns
shell.run_cell("%load_ext azray_lab")
names = cell("%%azray run -o total\\nprint('in the job')\\ntotal = sum(range(5))\\n")
print("TOTAL", names.get("total"))
names = cell("r = get_ipython().run_cell_magic('azray', 'run', '6 * 7')")
print("VALUE", names["r"].value)
cell("%%azray run\\n1 / 0\\n")
cell("%%azray run\\n!ls\\n")
"""


def test_a_cell_is_a_job(project: Path) -> None:
    """Its print is shown, its result is a variable here, its failure fails the cell, and no Python is told at once."""
    (project / "cells.py").write_text(CELLS)
    ran = subprocess.run(
        [sys.executable, "cells.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    told = [line for line in ran.stdout.splitlines() if line.startswith(("CELL", "TOTAL", "VALUE"))]
    assert told == ["CELL True", "TOTAL 10", "CELL True", "VALUE 42", "CELL False", "CELL False"], (
        ran.stdout + ran.stderr
    )
    assert "[head] in the job" in ran.stdout
    assert "exit code 1" in ran.stdout
    assert "line 1 of the cell is no Python" in ran.stdout + ran.stderr
