"""The tutorial on GPUs as its readers have it: unmodified, under nbmake, with pretended GPUs where there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

GPUS = Path(__file__).parents[2] / "notebooks" / "05_gpus.ipynb"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("no_cluster_left")
def test_the_tutorial_runs_unmodified_under_nbmake(nbmake: Callable[..., None]):
    """Every cell of the committed notebook works and every check in it holds."""
    nbmake(GPUS)
