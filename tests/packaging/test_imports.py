"""Importing is free: what `import azray_lab` and `%load_ext azray_lab` must not load."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = (
    "ray",
    "pydantic",
    "azure",
    "kubernetes",
    "ipywidgets",
    "obstore",
    "fsspec",
    "adlfs",
    "pandas",
    "numpy",
    "aiohttp",
)
BARE = "import sys; import azray_lab"
SHELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.run_line_magic("load_ext", "azray_lab")
assert "azray" in shell.magics_manager.magics["line"]
"""
REPORT = f"""
import json
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
"""


@pytest.mark.parametrize("code", [BARE, SHELL], ids=["import", "load_ext"])
def test_nothing_heavy_is_loaded(code: str) -> None:
    """A bare import and the magics' registration load no Ray, no Azure SDK, no pydantic, no widgets."""
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_errors_and_operation_are_as_light() -> None:
    """The two modules that every room uses load nothing heavy either."""
    code = "import sys, azray_lab.errors, azray_lab.operation, azray_lab.views"
    done = subprocess.run([sys.executable, "-c", code + REPORT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
