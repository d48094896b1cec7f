"""How the tests run a tutorial: as its readers have it, in a process of its own; and what it has to clean up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import azray_lab

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# A generous deadline for machines that are busy with other things; the marks of the tests come a little later.
SECONDS = 580.0
Done = subprocess.CompletedProcess[str]


@pytest.fixture
def no_cluster_left() -> Iterator[None]:
    """A notebook that fails skips its own clean-up, so it is done here; and then it is the test that fails."""
    try:
        yield
        assert azray_lab.clusters() == []
    finally:
        for cluster in azray_lab.clusters():
            cluster.down()


@pytest.fixture(scope="session")
def python() -> Callable[..., Done]:
    """`python(*arguments, folder=, **environment)` runs this Python to its end; its output is text."""

    def run(*arguments: str, folder: Path = NOTEBOOKS, **environment: str) -> Done:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=2 * SECONDS,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def nbmake(python: Callable[..., Done], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """`nbmake(*notebooks, **environment)` executes them one after the other in a pytest of their own; all must pass.

    With `overwrite=True` the files that are named hold the outputs afterwards, so they had better be copies.
    """
    bare = tmp_path_factory.mktemp("nbmake") / "pytest.ini"
    bare.write_text("[pytest]\n")

    def run(*notebooks: Path, overwrite: bool = False, **environment: str) -> None:
        arguments = ["--nbmake", f"--nbmake-timeout={SECONDS:.0f}", "-c", str(bare), "-q", "-p", "no:cacheprovider"]
        arguments += ["--overwrite"] * overwrite
        folder = notebooks[0].parent
        done = python("-m", "pytest", *arguments, *map(str, notebooks), folder=folder, **environment)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert f"{len(notebooks)} passed" in done.stdout

    return run
