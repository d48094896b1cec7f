"""The Blob service for tests: found or named as missing, alone on its port, gone with the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from azray_lab.errors import StartError, UnsupportedError
from azray_lab.testing import node
from azray_lab.testing.azurite import Azurite, find_azurite, run_azurite

pytestmark = [pytest.mark.azurite, pytest.mark.slow]  # one server after the other
pytest_plugins = ["pytester"]


def _until(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline, f"waited 20 s until {what}"
        time.sleep(0.02)


def test_two_servers_run_side_by_side(azurite: Azurite):
    """Each has its own port and its own data."""
    azurite.container("first")
    with run_azurite() as other:
        assert other.blob_endpoint != azurite.blob_endpoint
        assert other.container("first") == "az://first"
    assert not psutil.pid_exists(other.pid)
    assert psutil.pid_exists(azurite.pid)


def test_its_data_is_gone_with_it(azurite: Azurite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The temporary folder is removed when the block ends."""
    del azurite  # its fixture tells whether Azurite is here
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with run_azurite():
        assert list(tmp_path.iterdir())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_dies_with_the_process_that_started_it(azurite: Azurite, tmp_path: Path, number: signal.Signals):
    """Also when that process is killed: neither the server nor its data stays."""
    del azurite  # its fixture tells whether Azurite is here
    starter = subprocess.Popen(
        [sys.executable, "-m", "azray_lab.testing.azurite", "run"],
        stdout=subprocess.PIPE,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with starter:
        assert starter.stdout is not None
        assert b"AccountKey=" in starter.stdout.readline()
        (server,) = psutil.Process(starter.pid).children()
        starter.send_signal(number)
        starter.wait(20)
    _until(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "the server is gone")
    _until(lambda: not list(tmp_path.iterdir()), "its data is gone")


def test_a_taken_port_is_an_error_with_the_servers_words(azurite: Azurite):
    """The error carries the end of Azurite's own log."""
    port = int(azurite.blob_endpoint.split(":")[2].partition("/")[0])
    with pytest.raises(StartError, match="EADDRINUSE"), run_azurite(port):
        pass


def test_a_wrong_place_for_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """AZRAY_AZURITE that names nothing is an error, not a reason to take another."""
    monkeypatch.setenv("AZRAY_AZURITE", str(tmp_path / "none"))
    with pytest.raises(UnsupportedError, match="AZRAY_AZURITE names no file"):
        find_azurite()


def test_an_installation_that_is_there_is_kept(azurite: Azurite, tmp_path: Path):
    """A second `install` looks at the version and does nothing."""
    del azurite
    main = node.install_folder(tmp_path) / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    main.parent.mkdir(parents=True)
    package = main.parents[3] / "package.json"
    package.write_text(f'{{"version": "{node.AZURITE_VERSION}"}}')
    assert node.install_azurite(tmp_path) == main
    package.write_text('{"version": "3.0.0"}')
    assert node.installed_main(tmp_path) is None


_USER = "def test_it(azurite):\n    '''Asks for the server.'''\n    assert azurite.container('abc') == 'az://abc'\n"


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["azray_lab.testing", "azray_lab.testing.azurite"])
def test_other_projects_get_the_fixture(
    azurite: Azurite, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, plugin: str
):
    """Either module named as a plugin gives the fixture `azurite`."""
    del azurite
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they cost seconds and are not wanted
    pytester.makeconftest(f"pytest_plugins = [{plugin!r}]\n")
    pytester.makepyfile(_USER)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.parametrize(("required", "outcome"), [("node", {"skipped": 1}), ("browser, azurite", {"errors": 1})])
def test_where_it_is_missing_tests_are_skipped_or_fail(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, required: str, outcome: dict[str, int]
):
    """Missing is a skip with its reason, and an error when AZRAY_REQUIRE names it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("AZRAY_AZURITE", "/nonexistent")
    monkeypatch.setenv("AZRAY_REQUIRE", required)
    pytester.makeconftest("pytest_plugins = ['azray_lab.testing']\n")
    pytester.makepyfile(_USER)
    pytester.runpytest_subprocess().assert_outcomes(**outcome)


def test_importing_it_loads_no_pytest_and_no_sdk():
    """A demo that only wants the server pays for neither."""
    program = (
        "import sys, azray_lab.testing.azurite; print([m for m in ('pytest', 'azure', 'fsspec') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
