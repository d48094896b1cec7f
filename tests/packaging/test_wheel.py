"""The wheel, as a user gets it: built once, installed into an environment of its own, and run from there."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """The built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return next(out.glob("azray_lab-*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; the wheel's dependencies come from this one's site-packages.

    A path in a .pth file is added without reading the .pth files behind it; so the editable install of the working
    tree, which is such a file, is not seen, and `azray_lab` can only come from the wheel.
    """
    place = tmp_path_factory.mktemp("env")
    venv.create(place, with_pip=False)
    python = place / "bin/python"
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
    ]
    subprocess.run([*command, str(wheel)], check=True, capture_output=True)
    folder = next(place.glob("lib/python*/site-packages"))
    (folder / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return place


def _run(installed: Path, *command: str) -> str:
    done = subprocess.run(
        [str(installed / "bin" / command[0]), *command[1:]], cwd=installed, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    """Every file of the package is in the wheel, with its licence; tests, notebooks and scripts are not."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"azray_lab"}
    assert {"azray_lab/py.typed", "azray_lab/testing/azurite.py", "azray_lab/cli/__init__.py"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_every_file_git_knows_of_the_package_is_in_the_wheel(wheel: Path, root: Path) -> None:
    """Nothing of the package is left behind: data files travel as modules do."""
    listed = subprocess.run(["git", "ls-files", "azray_lab"], cwd=root, capture_output=True, text=True, check=False)
    assert set(listed.stdout.split()) <= set(zipfile.ZipFile(wheel).namelist())


def test_the_package_comes_from_the_wheel(installed: Path) -> None:
    """In the fresh environment `azray_lab` is the wheel's, with the wheel's version."""
    code = "import azray_lab, sys; print(azray_lab.__file__); print(azray_lab.__version__)"
    file, version = _run(installed, "python", "-c", code).splitlines()
    assert Path(file).is_relative_to(installed)
    assert version == "0.1.0"


def test_the_command_is_installed(installed: Path) -> None:
    """`azray --version` and the help of every verb run out of the wheel."""
    assert "0.1.0" in _run(installed, "azray", "--version")
    assert "up" in _run(installed, "azray", "--help")


@pytest.mark.slow
def test_every_module_of_the_wheel_imports(installed: Path) -> None:
    """Each module of the package imports in the fresh environment."""
    code = """
import importlib, pkgutil, azray_lab
for module in pkgutil.walk_packages(azray_lab.__path__, "azray_lab."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("all")
"""
    assert _run(installed, "python", "-c", code).splitlines()[-1] == "all"
