"""What the benchmarks share: running commands, medians, a table of figures, and a private home for clusters."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

AZRAY = (sys.executable, "-m", "azray_lab")
# With users, Python keeps what it has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
_COLUMNS = ("figure", "ours", "peer", "ratio", "target", "met")


@dataclass(frozen=True)
class Figure:
    """One line of the table: medians of ours and of the peer in `unit`, and the target in words and as a verdict.

    `ratio` is by default that of the medians.
    """

    name: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    target: str = ""
    met: bool | None = None
    ratio: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The line's cells."""
        other = "-" if self.peer is None else f"{_number(self.peer, self.unit)} ({self.peer_name})"
        quotient = self.ratio or (self.ours / self.peer if self.peer else None)
        ratio = "-" if quotient is None else f"{quotient:.2f}"
        verdict = {None: "-", True: "yes", False: "NO"}[self.met]
        return self.name, _number(self.ours, self.unit), other, ratio, self.target or "-", verdict


def _number(value: float, unit: str) -> str:
    digits = {"ms": 1, "s": 2, "%": 2, "MiB": 1, "B": 0}[unit]
    return f"{value:.{digits}f} {unit}"


def report(title: str, figures: Sequence[Figure]) -> int:
    """Prints the table; the exit code is 0 also where a target is missed, for a figure is no test."""
    rows = [_COLUMNS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_COLUMNS))]
    print(f"{title}\n{machine()}")
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def machine() -> str:
    """The machine in one line; the load shows whether the figures can be believed."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {_cpu()}, Python {platform.python_version()}, Ray {metadata.version('ray')}, load {load}"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def seconds(command: Sequence[str], environment: Mapping[str, str] | None = None, *, limit: float = 300.0) -> float:
    """How long `command` takes from its start to its end; CalledProcessError with what it said when it fails.

    TimeoutExpired after `limit` seconds.
    """
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=limit)
    return time.perf_counter() - began


def alternating(rounds: int, *works: Callable[[], float]) -> list[list[float]]:
    """What each of `works` measured in each round, A B B A A B, so that a slow minute meets all of them.

    One round before is not counted: it compiles modules and fills the page cache.
    """
    for work in works:
        work()
    out: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        turns = list(zip(works, out, strict=True))
        for work, values in turns if number % 2 == 0 else reversed(turns):
            values.append(work())
    return out


def paired(ours: Sequence[float], peer: Sequence[float]) -> float:
    """The median of the rounds' ratios: where a machine's speed drifts, neighbours in time still compare."""
    return statistics.median(a / b for a, b in zip(ours, peer, strict=True))


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


@contextlib.contextmanager
def home() -> Iterator[dict[str, str]]:
    """The environment of a private home for handles and of a short runtime folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="azb-", dir="/tmp"))
    own = {"AZRAY_HOME": str(folder / "home"), "AZRAY_RUNTIME_DIR": str(folder / "r"), "RAY_USAGE_STATS_ENABLED": "0"}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AZRAY_", "RAY_"))}
    try:
        yield clean | own
    finally:
        shutil.rmtree(folder)


def azray(environment: Mapping[str, str], *words: str) -> Any:
    """The document of `azray WORDS --json`; SystemExit with its error when it fails."""
    done = subprocess.run(
        [*AZRAY, *words, "--json"], env=environment, stdout=subprocess.PIPE, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise SystemExit(done.returncode)
    return json.loads(done.stdout)


@contextlib.contextmanager
def cluster(environment: Mapping[str, str], name: str) -> Iterator[dict[str, Any]]:
    """A running cluster, as the handle that the registry has of it; ended at the end."""
    try:
        azray(environment, "up", "--name", name)
        handle = json.loads((Path(environment["AZRAY_HOME"]) / "clusters" / f"{name}.json").read_text())
        yield handle
    finally:
        subprocess.run([*AZRAY, "down", name, "--yes"], env=environment, check=False, capture_output=True, timeout=120)
