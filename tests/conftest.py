"""What every test runs in: a clean environment, a short temporary home, and a look at what was left behind.

- The environment holds nothing of the user's Azure, Ray, Kubernetes or AzRay; HOME, XDG and AZRAY_HOME are temporary.
- `AZRAY_REQUIRE=azurite,browser,...` names parts whose absence is a failure instead of a skip. A test says that a part
  is absent by `require("browser", found, "no chromium on PATH")`, or by `pytest.skip("browser: no chromium on PATH")`.
- A cluster that outlives its test module fails that module; any other process that outlives the session fails that.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from azray_lab.accelerators import detect
from azray_lab.targets.local.gpus import schedulable

pytest_plugins = ["azray_lab.testing"]

PARTS = ("azurite", "blobfuse2", "browser", "gpu", "node", "ray", "root", "torch")
BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
# Every process that a test starts inherits this; unlike AZRAY_* it can never be taken for a setting.
SESSION = "PYTEST_AZRAY_SESSION"
FOREIGN = ("AZURE_", "AZRAY_", "RAY_", "KUBE", "JUPYTER", "IPYTHON", "XDG_", "PAPERMILL_", "IDENTITY_", "MSI_")
# Ray's sockets lie below, and a socket's path has at most 107 bytes; so /tmp, whatever TMPDIR says.
SHORT = "/tmp"  # noqa: S108 - mkdtemp makes the folder, private to this user
GRACE_SECONDS = 10.0

_required: frozenset[str] = frozenset()
_root = Path()


def pytest_configure(config: pytest.Config) -> None:
    """Takes the user's settings out of the environment and moves HOME before any test module is imported."""
    global _required, _root  # noqa: PLW0603 - set once for the whole session
    _required = frozenset(filter(None, os.environ.get("AZRAY_REQUIRE", "").replace(" ", "").split(",")))
    if unknown := _required - set(PARTS):
        message = f"AZRAY_REQUIRE names {', '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}"
        raise pytest.UsageError(message)
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        return  # pytest-xdist's controller runs no test; what is set here, its workers would inherit
    _root = Path(tempfile.mkdtemp(prefix="azr-", dir=SHORT))
    config.add_cleanup(lambda: shutil.rmtree(_root, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    home = _root / "home"
    home.mkdir()
    os.environ |= {"HOME": str(home), "AZRAY_HOME": str(_root / "0"), "AZRAY_RUNTIME_DIR": str(_root)}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", SESSION: _root.name}
    # A shell starts its background jobs with SIGINT ignored, and what is ignored stays so in every process below.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if _required:  # public fixtures look it up themselves
        os.environ["AZRAY_REQUIRE"] = ",".join(sorted(_required))


@pytest.fixture(scope="module", autouse=True)
def azray_home() -> Iterator[Path]:
    """A fresh AZRAY_HOME for each test module; at its end no cluster of it may be left."""
    before = os.environ["AZRAY_HOME"]
    home = Path(tempfile.mkdtemp(prefix="m", dir=_root))
    os.environ["AZRAY_HOME"] = str(home)
    yield home
    os.environ["AZRAY_HOME"] = before
    left = _end(_wait_until_gone("AZRAY_HOME", str(home), also="AZRAY_CLUSTER_ID"))
    assert not left, "this module left processes of clusters behind:\n" + "\n".join(left)


@pytest.fixture
def fresh_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AZRAY_HOME for this test alone, for tests that count or break what the registry holds."""
    del tmp_path_factory  # its paths are too long for Ray's sockets
    home = Path(tempfile.mkdtemp(prefix="t", dir=_root))
    monkeypatch.setenv("AZRAY_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _environment_as_before() -> Iterator[None]:
    """Whatever a test does to the environment, the working directory and Ctrl-C ends with it."""
    environment, folder, interrupt = dict(os.environ), Path.cwd(), signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, interrupt)  # Ray Train leaves a handler that wants a cluster
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], Any], str], Any]:
    """`until(check, what)` polls until `check` gives something true, and returns that; fails after 120 s."""

    def wait(check: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if value := check():
                return value
            time.sleep(0.01)
        raise AssertionError(f"waited 120 s for {what}")

    return wait


# Parts that may be absent.


@pytest.fixture(scope="session")
def require() -> Callable[..., None]:
    """`require(part, found, reason)` skips when `found` is false, and fails when AZRAY_REQUIRE names the part."""

    def check(part: str, found: object, reason: str) -> None:
        assert part in PARTS, f"{part} is none of {PARTS}"
        if not found:
            pytest.skip(f"{part}: {reason}")

    return check


@pytest.fixture(scope="session")
def chromium(require: Callable[..., None]) -> str:
    """The path of the system's Chromium, for Playwright's `executable_path`."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    require("browser", found, "no Chromium on PATH (as root on Debian: apt-get install chromium)")
    return str(found)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked `gpu` or `root` where there is none; fixtures see to the other parts."""
    absent = {}
    found = detect()
    if not schedulable(found.devices):
        reasons = [reason.text for reason in found.reasons]
        absent["gpu"] = "; ".join(reasons) or "no GPU that Ray schedules"
    if os.geteuid():
        absent["root"] = "not run as root"
    for item in items:
        for part, reason in absent.items():
            if item.get_closest_marker(part):
                item.add_marker(pytest.mark.skip(reason=f"{part}: {reason}"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip for want of a required part is a failure."""
    report = yield
    _fail_if_required(report, {mark.name for mark in item.iter_markers()})
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for modules that skip themselves as a whole."""
    report = yield
    _fail_if_required(report, set())
    return report


def _fail_if_required(report: Any, marks: set[str]) -> None:
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    reason = str(words).removeprefix("Skipped: ")
    named = reason.partition(" ")[0].rstrip(":").lower()
    absent = _required & ({named} if named in PARTS else marks)
    if absent:
        report.outcome = "failed"
        report.longrepr = f"AZRAY_REQUIRE names {', '.join(sorted(absent))}, but: {reason}"


# Two processes.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A module stays on one worker, for its fixtures; what starts clusters or browsers is two chains, begun first.

    More than two clusters at once are too much for two cores, and a long module begun last would be waited for alone.
    The controller has no marks, so it looks for them in the files.
    """
    from xdist.scheduler import LoadFileScheduling

    heavy = {path for path in config.rootpath.glob("tests/**/test_*.py") if _STARTS_MUCH.search(path.read_text())}

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # without types
        def _split_scope(self, nodeid: str) -> str:
            path: str = super()._split_scope(nodeid)
            if config.rootpath / path not in heavy:
                return path
            return _CHAINS[path.startswith(_PAGES)]

        def _assign_work_unit(self, node: Any) -> None:
            for chain in _CHAINS:
                if chain in self.workqueue:
                    self.workqueue.move_to_end(chain, last=False)
            super()._assign_work_unit(node)

    return Scheduling(config, log)


_STARTS_MUCH = re.compile(r"mark\.(ray|browser)\b|\(TargetContract\)")
_PAGES = ("tests/browser/", "tests/notebooks/")
_CHAINS = ("clusters", "pages")


# What is left behind.


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the session when a process that a test started is still there, and ends it."""
    left = session.config.stash.setdefault(_LEFT, [])
    if _root.name:  # pytest-xdist's controller has none, and knows from its workers
        left += _end(_wait_until_gone(SESSION, _root.name))
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left"] = left


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes over what a worker of pytest-xdist has found."""
    node.config.stash.setdefault(_LEFT, []).extend(getattr(node, "workeroutput", {}).get("left", []))


_LEFT = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Names what the tests left behind."""
    if left := config.stash.get(_LEFT, []):
        terminalreporter.section("processes left behind by the tests (ended now)", red=True)
        for line in left:
            terminalreporter.write_line(line)


def _wait_until_gone(name: str, value: str, also: str = "") -> list[psutil.Process]:
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := _carriers(name, value, also)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def _carriers(name: str, value: str, also: str) -> list[psutil.Process]:
    """The processes whose environment has `name=value`, and `also` when given; this one is not among them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get(name) == value and (not also or also in environment) and not _tracker(process):
                found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def _tracker(process: psutil.Process) -> bool:
    # Python's own resource tracker lives as long as pytest does.
    return process.ppid() == os.getpid() and "multiprocessing.resource_tracker" in " ".join(process.cmdline())


def _end(processes: list[psutil.Process]) -> list[str]:
    told = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            told.append(f"pid {process.pid}: {' '.join(process.cmdline())[:200]}")
            process.kill()
    return told
