"""Fixtures of the faces: real processes of `azray`, a real IPython shell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class Ended:
    """A process that has ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its stdout as one JSON document."""
        return json.loads(self.out)


Azray = Callable[..., Ended]


@pytest.fixture(scope="session")
def azray() -> Azray:
    """Runs `azray` with the given words in a process of its own, without a terminal."""

    def run(*words: str, stdin: str | None = None, **environment: str) -> Ended:
        return _run([sys.executable, "-m", "azray_lab", *words], stdin, environment)

    return run


@pytest.fixture(scope="session")
def azray_count() -> Azray:
    """The same with the verb `count` of the tests."""

    def run(*words: str, stdin: str | None = None, **environment: str) -> Ended:
        return _run([sys.executable, str(PROGRAMS / "azray_count.py"), *words], stdin, environment)

    return run


def _run(command: list[str], stdin: str | None, environment: dict[str, str]) -> Ended:
    import os

    done = subprocess.run(
        command,
        input=stdin if stdin is not None else "",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for the verb `count`, whose clean-up may go ahead at once."""
    (tmp_path / "may-clean").touch()
    yield tmp_path
    (tmp_path / "go").touch()
