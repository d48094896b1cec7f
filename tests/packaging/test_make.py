"""The first step of every make target: which Python makes .venv, and what is said when none can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# A Python that answers like one without ensurepip, as Debian's is before python3-venv is installed.
NO_ENSUREPIP = f"""#!/bin/sh
case "$2" in *ensurepip*) exit 1 ;; esac
exec {sys.executable} "$@"
"""
TOO_OLD = "#!/bin/sh\nexit 1\n"


def _program(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def _make_venv(root: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(root / "scripts/make_venv.sh")]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def test_without_ensurepip_the_package_to_install_is_named(root: Path, tmp_path: Path) -> None:
    """A Python that cannot make environments ends with one line that names python3-venv; nothing is made."""
    python = _program(tmp_path / "python3", NO_ENSUREPIP)
    done = _make_venv(root, tmp_path, PYTHON=str(python))
    assert done.returncode == 1
    assert "sudo apt-get install python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_unfit_python_is_named(root: Path, tmp_path: Path) -> None:
    """When no Python of a supported version is found, the error says what was tried and how to name one."""
    python = _program(tmp_path / "python3", TOO_OLD)
    done = _make_venv(root, tmp_path, PYTHON=str(python))
    assert done.returncode == 1
    assert f"tried: {python}" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_the_first_fit_python_on_path_is_taken(root: Path, tmp_path: Path) -> None:
    """An unfit python3 in front of PATH is passed over for a fit python3.13 behind it."""
    _program(tmp_path / "python3", TOO_OLD)
    _program(tmp_path / "python3.13", NO_ENSUREPIP)
    done = _make_venv(root, tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert f"{tmp_path}/python3.13 cannot make virtual environments" in done.stderr


def test_help_lists_the_commands(root: Path) -> None:
    """`make` alone lists every command that the README and the contributor's guide name."""
    done = subprocess.run(["make", "-C", str(root)], capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("  make ")}
    assert {"demo", "test", "test-fast", "lab", "check", "bench", "docs", "wheel", "clean", "help"} <= listed


@pytest.mark.parametrize("name", [".ci/run", "scripts/make_venv.sh", "scripts/install.sh", "scripts/check.sh"])
def test_shell_scripts_parse(root: Path, name: str) -> None:
    """Bash accepts each script, and each stops at unset variables and failed pipes."""
    text = (root / name).read_text(encoding="utf-8")
    assert "set -euo pipefail" in text or "set -uo pipefail" in text
    subprocess.run(["bash", "-n", str(root / name)], check=True)
