"""The rules of tests/conftest.py, tried on small test runs of their own in a subprocess."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # a run of pytest each
CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
Run = Callable[..., subprocess.CompletedProcess[str]]
# Popen returns at the beginning of the exec; for a moment the process has no environment then.
LEAK = """
def test_leak():
    environment = {{**os.environ, **{environment}}}
    process = subprocess.Popen(["sleep", "{seconds}"], env=environment, start_new_session=True)
    while not open(f"/proc/{{process.pid}}/environ").read():
        pass
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs pytest on one test file with a copy of the conftest, outside of this project."""
    quick = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    def go(body: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        conftest = CONFTEST.read_text(encoding="utf-8").replace("GRACE_SECONDS = 10.0", "GRACE_SECONDS = 0.5")
        (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
        (tmp_path / "test_it.py").write_text("import os, subprocess, sys, pytest\n" + body, encoding="utf-8")
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser: b\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(tmp_path)]
        return subprocess.run(
            command, cwd=tmp_path, env={**quick, **environment}, capture_output=True, text=True, check=False
        )

    return go


def test_the_environment_is_clean(run: Run) -> None:
    """Settings of the user's Azure, Ray and AzRay never reach a test, and HOME and AZRAY_HOME are temporary."""
    body = """
def test_clean():
    assert not [k for k in os.environ if k.startswith(("AZURE_", "KUBECONFIG"))]
    assert os.environ["HOME"].startswith("/tmp/azr-") and os.environ["AZRAY_HOME"].startswith("/tmp/azr-")
    assert "RAY_ADDRESS" not in os.environ
"""
    done = run(body, AZURE_CLIENT_SECRET="x", RAY_ADDRESS="auto", KUBECONFIG="/nowhere", HOME="/nowhere")
    assert "1 passed" in done.stdout, done.stdout


def test_what_a_test_sets_ends_with_it(run: Run) -> None:
    """The environment and the working directory are put back after each test."""
    body = """
def test_one(tmp_path):
    os.environ["AZRAY_X"] = "1"
    os.chdir(tmp_path)
def test_two(tmp_path):
    assert "AZRAY_X" not in os.environ and "test_one" not in os.getcwd()
"""
    assert "2 passed" in run(body).stdout


@pytest.mark.parametrize(("required", "word"), [("", "1 skipped"), ("node", "1 skipped"), ("browser,node", "1 failed")])
def test_a_required_part_is_never_skipped(run: Run, required: str, word: str) -> None:
    """A part that is absent is a skip with its reason, and a failure when AZRAY_REQUIRE names it."""
    done = run('def test_b(require):\n    require("browser", None, "no such thing")\n', AZRAY_REQUIRE=required)
    assert word in done.stdout
    if "failed" in word:
        assert "AZRAY_REQUIRE names browser, but: browser: no such thing" in done.stdout


def test_a_marked_skip_of_a_required_part_fails(run: Run) -> None:
    """A skip of any wording fails when the test is marked with a required part."""
    done = run('@pytest.mark.browser\ndef test_b():\n    pytest.skip("not today")\n', AZRAY_REQUIRE="browser")
    assert "1 failed" in done.stdout
    assert "not today" in done.stdout


def test_a_module_cannot_skip_a_required_part(run: Run) -> None:
    """A module that skips itself as a whole for want of a required part is an error."""
    done = run('pytest.skip("browser: none", allow_module_level=True)\n', AZRAY_REQUIRE="browser")
    assert done.returncode
    assert "AZRAY_REQUIRE names browser" in done.stdout


def test_an_unknown_part_is_named(run: Run) -> None:
    """A typo in AZRAY_REQUIRE ends the run and names the parts that there are."""
    done = run("def test_a(): pass\n", AZRAY_REQUIRE="browsr")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "browsr; the parts are azurite, blobfuse2" in done.stdout + done.stderr


def test_a_cluster_left_behind_fails_its_module(run: Run) -> None:
    """A process with a cluster's id that outlives its module is an error, is named, and is ended."""
    body = LEAK.format(seconds="300.5", environment={"AZRAY_CLUSTER_ID": "x"})
    done = run(body)
    assert "1 passed, 1 error" in done.stdout
    assert "sleep 300.5" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["-p", "xdist.plugin", "-n", "2"]], ids=["one process", "two processes"])
def test_any_process_left_behind_fails_the_session(run: Run, arguments: list[str]) -> None:
    """Whatever else a test started must be gone at the end of the session; pytest-xdist's workers tell of it too."""
    body = LEAK.format(seconds="300.25", environment={})
    done = run(body, *arguments)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in done.stdout
    assert "processes left behind" in done.stdout
    assert "sleep 300.25" in done.stdout


@pytest.mark.slow
def test_modules_that_start_much_follow_each_other(run: Run, tmp_path: Path) -> None:
    """With two processes, those marked `ray` or `browser` run in one of them, and no module in both."""
    tests = tmp_path / "tests"
    tests.mkdir()
    says = "import os, pytest\ndef test_{}(): print(__name__, os.environ['PYTEST_XDIST_WORKER'])\n"
    for number in range(6):
        mark = "pytestmark = pytest.mark.browser\n" if number % 2 else ""
        text = says.format("one") + says.format("two") + mark
        (tests / f"test_{number}.py").write_text(text, encoding="utf-8")
    done = run("", "-p", "xdist.plugin", "-n", "2", "-rP", "--import-mode=importlib")
    assert "12 passed" in done.stdout, done.stdout
    where: dict[str, set[str]] = {}
    for name, worker in re.findall(r"^\S*(test_\d) (gw\d)$", done.stdout, flags=re.MULTILINE):
        where.setdefault(name, set()).add(worker)
    assert len(where) == 6
    assert all(len(workers) == 1 for workers in where.values())
    assert len(where["test_1"] | where["test_3"] | where["test_5"]) == 1
