"""Jobs on a real cluster: what runs, what comes back, what goes wrong, what is left."""

from __future__ import annotations

import json
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from azray_lab import jobs
from azray_lab.errors import (
    CancelledError,
    ClusterLostError,
    CredentialError,
    DeadlineError,
    JobError,
    JobFailedError,
    PackageTooLargeError,
    UnknownNameError,
    UsageError,
)
from azray_lab.jobs import package
from azray_lab.jobs.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from azray_lab.operation import Task
    from azray_lab.targets.base import Endpoint

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SLEEP = ["sleep", "600"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder that is the current directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


class Run:
    """One job run to its end, with its log."""

    def __init__(self, endpoint: Endpoint, work: jobs.Work, **settings: Any) -> None:
        self.texts: list[str] = []
        self.task = jobs.run(endpoint, work, on_log=self.texts.append, **settings)
        self.result = self.task.run()

    @property
    def log(self) -> str:
        """All that it printed."""
        return "".join(self.texts)


def interrupted(task: Task[jobs.JobResult], when: Callable[[], bool]) -> CancelledError:
    """Starts `task`, cancels it as soon as `when()`, and returns the error with which it ends."""
    operation = task.start()
    while not when():
        assert not operation.wait(0.1), operation.events
    operation.cancel()
    with pytest.raises(CancelledError) as caught:
        operation.result(60)
    return caught.value


def test_a_script_with_its_arguments_and_its_directory(endpoint: Endpoint, project: Path) -> None:
    """The directory travels without what .gitignore names; the log names the node; the values are all there."""
    (project / "train.py").write_text(
        "import helper, os, ray, sys\nray.init()\nprint(helper.WORD, sys.argv[1:], os.environ['MODE'], os.listdir())\n"
    )
    (project / "helper.py").write_text("WORD = 'from the helper'\n")
    (project / ".gitignore").write_text("secret.txt\n")
    (project / "secret.txt").write_text("x")
    run = Run(endpoint, jobs.script("train.py", ["--lr", "0.1"]), env={"MODE": "fast"})
    line = next(line for line in run.log.splitlines() if "from the helper" in line)
    assert line.startswith("[head] from the helper ['--lr', '0.1'] fast")
    assert "secret.txt" not in line
    assert run.result.check().exit_code == 0
    assert (run.result.node, run.result.entrypoint) == ("head", "python train.py --lr 0.1")
    assert run.result.started is not None
    assert run.result.ended is not None
    assert [timing.stage for timing in run.task.operation.timeline] == ["package", "submit", "job"]
    assert jobs.get(endpoint, run.result.id).to_dict() == {
        key: value for key, value in run.result.to_dict().items() if key not in {"output", "detached"}
    }


def test_the_same_directory_is_sent_once(endpoint: Endpoint, project: Path) -> None:
    """The second package of the same content is found on the cluster."""
    (project / "data.txt").write_text("unchanged")
    dashboard = Client(endpoint).dashboard
    with package.build(project) as first:
        assert package.upload(dashboard, first) is True
    with package.build(project) as second:
        assert package.upload(dashboard, second) is False


def test_exit_codes_and_signals(endpoint: Endpoint) -> None:
    """A code comes back as it is, a signal as 128 + its number; `check` raises."""
    three = jobs.run(endpoint, jobs.command(["bash", "-c", "exit 3"])).start()
    killed = jobs.run(endpoint, jobs.command(["bash", "-c", "kill -KILL $$"])).start()
    assert three.result(120).exit_code == 3
    ended = killed.result(120)
    assert (ended.status, ended.exit_code) == ("FAILED", 137)
    assert "SIGKILL" in str(ended)
    with pytest.raises(JobFailedError, match="SIGKILL"):
        ended.check()


def test_interrupting_stops_the_job(endpoint: Endpoint) -> None:
    """A job that never ends is stopped on the cluster, although it ignores SIGTERM, and the error says so."""
    texts: list[str] = []
    code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready'); time.sleep(600)"
    task = jobs.run(endpoint, jobs.command(["python", "-c", code]), on_log=texts.append)
    error = interrupted(task, lambda: "] ready\n" in "".join(texts))
    assert "was stopped on the cluster" in error.message
    assert jobs.get(endpoint, error.facts["job"]).status == "STOPPED"
    assert error.exit_code == 130


def test_interrupting_before_the_job_has_started(endpoint: Endpoint) -> None:
    """A submission that is interrupted leaves no job behind."""
    task = jobs.run(endpoint, jobs.command(SLEEP))
    error = interrupted(task, lambda: any(event.stage == "job" for event in task.operation.events))
    assert jobs.get(endpoint, error.facts["job"]).done


def test_a_job_that_never_ends_has_a_time_limit(endpoint: Endpoint) -> None:
    """Above `timeout` the job is stopped."""
    with pytest.raises(DeadlineError) as caught:
        jobs.run(endpoint, jobs.command(SLEEP), timeout=1).run()
    assert jobs.get(endpoint, caught.value.facts["job"]).status == "STOPPED"


def test_detach_leaves_it_running_until_it_is_stopped(endpoint: Endpoint) -> None:
    """The id comes back at once; the job is listed, followed by somebody else, and stopped by its id."""
    result = jobs.run(endpoint, jobs.command(SLEEP), detach=True).run()
    assert result.detached
    assert f"azray logs {result.id} -f" in str(result)
    assert result.id in {job.id for job in jobs.list_jobs(endpoint)}
    texts: list[str] = []
    follower = threading.Thread(target=lambda: texts.extend(jobs.logs(endpoint, result.id, follow=True)))
    follower.start()
    assert jobs.stop(endpoint, result.id).status == "STOPPED"
    follower.join(60)
    assert not follower.is_alive()
    assert jobs.stop(endpoint, result.id).exit_code == 130


def test_an_unknown_job_names_the_nearest(endpoint: Endpoint) -> None:
    """Get, stop and logs answer alike."""
    known = jobs.run(endpoint, jobs.command(["true"]), detach=True).run().id
    asked: list[Callable[[], object]] = [
        lambda: jobs.get(endpoint, known + "x"),
        lambda: jobs.stop(endpoint, known + "x"),
        lambda: list(jobs.logs(endpoint, known + "x")),
        lambda: list(jobs.logs(endpoint, known + "x", follow=True)),
    ]
    for ask in asked:
        with pytest.raises(UnknownNameError, match=f"Did you mean '{known}'"):
            ask()


def test_a_hundred_megabytes_of_output(endpoint: Endpoint) -> None:
    """They all arrive, while only a few are held in memory; so do a line of 9 MB and bytes that are no text."""
    code = (
        "import sys\nline = 'x' * 79 + '\\n'\n"
        "for n in range(1_250): sys.stdout.write(line * 1000)\n"
        "print('y' * 9_000_000)\nsys.stdout.flush()\nsys.stdout.buffer.write(b'\\xff\\xfe end\\n')\n"
    )
    counted = {"x" * 79: 0, "bytes": 0}
    tail = [""]

    def count(text: str) -> None:
        counted["x" * 79] += text.count("x" * 79)
        counted["bytes"] += len(text)
        tail[0] = (tail[0] + text)[-200:]

    task = jobs.run(endpoint, jobs.command(["python", "-c", code]), on_log=count)
    tracemalloc.start()
    result = task.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert result.check().status == "SUCCEEDED"
    assert counted["x" * 79] == 1_250_000
    assert counted["bytes"] > 109_000_000
    assert tail[0].endswith("yyy\n[head] \ufffd\ufffd end\n")
    assert peak < 40 * 2**20


def test_a_directory_above_the_limit_is_not_sent(endpoint: Endpoint, project: Path) -> None:
    """Nothing is submitted; the error names what is large."""
    (project / "weights.bin").write_bytes(bytes(range(256)) * 40_000)
    before = len(jobs.list_jobs(endpoint))
    with pytest.raises(PackageTooLargeError, match=r"weights\.bin \(9\.8 MiB\)"):
        jobs.run(endpoint, jobs.command(["true"]), limit=10_000).run()
    assert len(jobs.list_jobs(endpoint)) == before


def test_rays_limit_is_where_we_say(endpoint: Endpoint, tmp_path: Path) -> None:
    """The dashboard takes LIMIT bytes and refuses one more; a Ray that changes this fails here."""
    dashboard = Client(endpoint).dashboard
    body = tmp_path / "body"
    with body.open("wb") as file:
        file.truncate(package.LIMIT + 1)
    with body.open("rb") as file, pytest.raises(JobError, match="exceeded"):
        dashboard.put("/api/packages/gcs/_ray_pkg_over.zip", file, package.LIMIT + 1)
    with body.open("rb") as file:
        dashboard.put("/api/packages/gcs/_ray_pkg_at.zip", file, package.LIMIT)


def test_an_ignored_script_is_told_before_sending(endpoint: Endpoint, project: Path) -> None:
    """A script that .gitignore names would not be there."""
    (project / ".gitignore").write_text("train.py\n")
    (project / "train.py").write_text("")
    with pytest.raises(UsageError, match=r"train\.py does not travel"):
        jobs.run(endpoint, jobs.script("train.py")).run()


def write_notebook(path: Path, *cells: str) -> None:
    """Writes a notebook whose first cell holds the parameters."""
    body: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": str(index),
            "source": source,
            "metadata": {} if index else {"tags": ["parameters"]},
            "outputs": [],
            "execution_count": None,
        }
        for index, source in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path.write_text(json.dumps({"cells": body, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}))


def test_a_notebook_comes_back_executed(endpoint: Endpoint, project: Path) -> None:
    """Its copy lies beside it, with outputs and the parameters that were given; the original is as it was."""
    write_notebook(project / "analysis.ipynb", "epochs = 1", "import ray; ray.init(); print('epochs', epochs)")
    original = (project / "analysis.ipynb").read_text()
    run = Run(endpoint, jobs.notebook("analysis.ipynb", {"epochs": 3}))
    assert run.result.check().output == project / "analysis.executed.ipynb"
    assert "[head] epochs 3\n" in run.log
    copy = json.loads((project / "analysis.executed.ipynb").read_text())
    assert any("epochs 3" in "".join(o.get("text", "")) for cell in copy["cells"] for o in cell.get("outputs", []))
    assert (project / "analysis.ipynb").read_text() == original
    assert [path.name for path in project.iterdir() if path.name.startswith(".")] == []


def test_a_notebook_that_fails_in_cell_3(endpoint: Endpoint, project: Path) -> None:
    """The executed copy comes back with the error marked, and the exit code is the job's."""
    write_notebook(project / "broken.ipynb", "n = 1", "print('before')", "1 / 0", "print('after')")
    run = Run(endpoint, jobs.notebook("broken.ipynb", output="out.ipynb"))
    assert (run.result.status, run.result.exit_code) == ("FAILED", 1)
    assert run.result.output == project / "out.ipynb"
    copy = json.loads((project / "out.ipynb").read_text())
    outputs = [output for cell in copy["cells"] for output in cell.get("outputs", [])]
    assert "ZeroDivisionError" in {output.get("ename") for output in outputs}
    assert "before" in json.dumps(outputs)
    assert "ZeroDivisionError: division by zero" in run.log


def ended(endpoint: Endpoint, job: str) -> jobs.Job:
    """The job when it has ended."""
    for _ in jobs.logs(endpoint, job, follow=True):
        pass
    return jobs.get(endpoint, job)


def test_what_a_detached_notebook_leaves_is_fetched_later(endpoint: Endpoint, project: Path) -> None:
    """The executed copy comes by the job's id, to the file that is named or to one named after the job."""
    write_notebook(project / "analysis.ipynb", "epochs = 1", "print('epochs', epochs)")
    began = jobs.run(endpoint, jobs.notebook("analysis.ipynb", {"epochs": 3}), detach=True).run()
    assert f"azray jobs fetch {began.id}" in str(began)
    ended(endpoint, began.id)
    assert jobs.fetch(endpoint, began.id).output == project / f"{began.id}.ipynb"
    named = jobs.fetch(endpoint, began.id, output=Path("copy.ipynb")).output
    assert named == project / "copy.ipynb"
    assert "epochs 3" in named.read_text()
    with pytest.raises(UsageError, match="no folder"):
        jobs.fetch(endpoint, began.id, output=Path("missing/copy.ipynb"))


def test_what_a_detached_cell_leaves_is_fetched_later(endpoint: Endpoint) -> None:
    """Its value comes when it has ended, and not before; a command leaves nothing to fetch."""
    began = jobs.run(endpoint, jobs.cell("import time\ntime.sleep(600)\n"), detach=True).run()
    with pytest.raises(JobError, match="has left no result yet"):
        jobs.fetch(endpoint, began.id)
    jobs.stop(endpoint, began.id)
    began = jobs.run(endpoint, jobs.cell("total = 6 * 7", variable="total"), detach=True).run()
    assert ended(endpoint, began.id).status == "SUCCEEDED"
    assert jobs.fetch(endpoint, began.id, variable="total").value == 42
    command = jobs.run(endpoint, jobs.command(["true"]), detach=True).run()
    assert f"azray jobs fetch {command.id}" not in str(command)
    with pytest.raises(UsageError, match="nothing to fetch"):
        jobs.fetch(endpoint, command.id)


def test_a_cell_brings_back_its_value(endpoint: Endpoint) -> None:
    """50 MB of anything come back whole; what it prints is in the log."""
    code = "print('hi')\nresult = {'data': bytes(range(256)) * 200_000, 'n': len([1])}\n"
    run = Run(endpoint, jobs.cell(code, variable="result"))
    assert "[head] hi\n" in run.log
    assert run.result.check().value == {"data": bytes(range(256)) * 200_000, "n": 1}


def test_a_variable_that_the_cell_does_not_have(endpoint: Endpoint) -> None:
    """The error names the nearest that it has."""
    with pytest.raises(UnknownNameError, match="Did you mean 'result'"):
        jobs.run(endpoint, jobs.cell("result = 1", variable="reslt")).run()


def test_a_wrong_token(endpoint: Endpoint, tmp_path: Path) -> None:
    """The dashboard refuses it, and that is what the error says; the token is not in it."""
    token = tmp_path / "token"
    token.write_text("0" * 48)
    token.chmod(0o600)
    with pytest.raises(CredentialError, match="refused the token") as caught:
        jobs.list_jobs(replace(endpoint, token_path=str(token)))
    assert "0" * 48 not in repr(caught.value.to_dict())


def test_a_cluster_that_is_gone(endpoint: Endpoint) -> None:
    """Nobody listens: the cluster is lost, in one line."""
    with pytest.raises(ClusterLostError, match="cannot be reached"):
        jobs.list_jobs(replace(endpoint, dashboard_url="http://127.0.0.1:9"))
