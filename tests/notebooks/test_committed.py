"""Every tutorial is committed as papermill, nbmake and its readers want it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
# The others run where the extra [train] is not installed.
WITH_TORCH = {"02_train", "03_serve"}


def test_there_are_tutorials():
    """The parameters of the tests below name some."""
    assert len(NOTEBOOKS) >= 6


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_has_parameters_and_no_outputs(path: Path):
    """Its first code cell is tagged `parameters`, its outputs are cleared, and it begins with text."""
    cells = json.loads(path.read_text())["cells"]
    code: list[dict[str, Any]] = [cell for cell in cells if cell["cell_type"] == "code"]
    assert cells[0]["cell_type"] == "markdown"
    assert code[0]["metadata"]["tags"] == ["parameters"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_shows_no_environment_and_needs_no_torch_unannounced(path: Path):
    """The environment, which holds keys, is printed nowhere; torch is used only where the README says so."""
    sources = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any("print(os.environ" in source for source in sources)
    assert path.stem in WITH_TORCH or not any("import torch" in source for source in sources)
