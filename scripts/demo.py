"""Executes a tutorial, by default the quickstart, on a real Ray cluster and a real Blob service (`make demo`).

Starts Azurite on a free port, executes the notebook by papermill with a cluster name of its own, and writes the
executed notebook and an HTML of it to build/demo/. Whatever happens, also Ctrl-C: it ends what it started and proves
that nothing is left. Exit status: 0 done, 1 failed, 130 interrupted. The quickstart takes one to two minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
import uuid
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from azray_lab.errors import AzRayError, UnsupportedError
from azray_lab.testing.azurite import Azurite, find_azurite, run_azurite
from azray_lab.testing.node import install_azurite

ROOT = Path(__file__).resolve().parent.parent
# Every process that the demo starts inherits this, wherever it goes; so none can be overlooked at the end.
MARK = "TUTORIAL_DEMO"
GRACE_SECONDS = 15.0


class DemoError(Exception):
    """The demo failed; the message is one line."""


@dataclass(frozen=True)
class Demo:
    """A notebook, where its results go, and the word that marks its cluster and its processes."""

    notebook: Path
    folder: Path
    identity: str

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.folder / self.notebook.name

    @property
    def html(self) -> Path:
        """The executed notebook as one HTML file."""
        return self.executed.with_suffix(".html")

    @property
    def cluster(self) -> str:
        """The cluster's name: no other cluster of the user is touched."""
        return f"demo-{self.identity}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo and returns its exit status."""
    parser = argparse.ArgumentParser(description="Executes a tutorial notebook and cleans up after it.")
    parser.add_argument("notebook", nargs="?", type=Path, default=ROOT / "notebooks" / "01_quickstart.ipynb")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "demo", help="folder of the results")
    given = parser.parse_args(arguments)
    # Ending us is interrupting us: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo = Demo(given.notebook.resolve(), given.output.resolve(), uuid.uuid4().hex[:6])
    try:
        _say(run(demo))
    except KeyboardInterrupt:
        return _fail(130, "demo interrupted; everything that it had started is stopped")
    except (DemoError, AzRayError) as error:
        return _fail(1, f"demo failed: {error}")
    return 0


def run(demo: Demo) -> list[str]:
    """Runs the demo; returns what to tell. DemoError or AzRayError when anything failed."""
    os.environ.update({MARK: demo.identity, "RAY_USAGE_STATS_ENABLED": "0", "PYDEVD_DISABLE_FILE_VALIDATION": "1"})
    began = time.monotonic()
    with nothing_left(demo), cluster_down(demo), azurite() as server:
        os.environ.update(server.environment())
        cells = execute(demo)
        write_html(demo)
        no_secret(demo, server)
    return [
        f"done        {cells} cells in {time.monotonic() - began:.0f} s, the cluster's coming and going included",
        "Blob        was Azurite on this machine, in place of a storage account on Azure",
        f"notebook    {_shown(demo.executed)}",
        f"as a page   {_shown(demo.html)}",
        f"left over   nothing: cluster {demo.cluster}, Azurite and kernel have ended. Now try: make lab",
    ]


def _say(lines: Sequence[str]) -> None:
    print("\n".join(lines), flush=True)


def _fail(status: int, line: str) -> int:
    print(line, file=sys.stderr, flush=True)
    return status


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextlib.contextmanager
def azurite() -> Iterator[Azurite]:
    """A running Azurite, installed into this environment first where there is none."""
    try:
        find_azurite()
    except UnsupportedError:
        _say(["installing Azurite, the Blob emulator, into this environment (once)"])
        install_azurite()
    with run_azurite() as server:
        yield server


def execute(demo: Demo) -> int:
    """Executes the notebook and returns its number of code cells; DemoError names the cell that failed, and why."""
    import papermill
    from traitlets.config import Config

    _say([f"executing {_shown(demo.notebook)} with a cluster called {demo.cluster}"])
    demo.folder.mkdir(parents=True, exist_ok=True)
    demo.html.unlink(missing_ok=True)
    # Between us and the kernel encryption is to be had for nothing; without it the kernel warns on the terminal.
    config = Config({"KernelManager": {"transport_encryption": "auto"}})
    try:
        done = papermill.execute_notebook(
            demo.notebook, demo.executed, {"cluster_name": demo.cluster}, cwd=demo.notebook.parent, config=config
        )
    except papermill.PapermillExecutionError as error:
        first = next((line for line in error.source.splitlines() if line.strip()), "")
        words = " ".join(str(error.evalue).split())
        place = f"cell [{error.exec_count}] {first!r}"
        raise DemoError(f"{place}: {error.ename}: {words}. See {_shown(demo.executed)}") from error
    return sum(cell.cell_type == "code" for cell in done.cells)


def write_html(demo: Demo) -> None:
    """Writes the executed notebook as one HTML file."""
    from nbconvert import HTMLExporter

    with warnings.catch_warnings():
        # nbconvert asks for words that describe each picture; a plot made by code has none to give.
        warnings.simplefilter("ignore", UserWarning)
        page, _ = HTMLExporter().from_filename(str(demo.executed))  # type: ignore[no-untyped-call]
    demo.html.write_text(page, encoding="utf-8")


def no_secret(demo: Demo, server: Azurite) -> None:
    """DemoError when the storage account's key stands in what was written."""
    for path in (demo.executed, demo.html):
        if server.key in path.read_text(encoding="utf-8"):
            raise DemoError(f"{_shown(path)} holds the key of the storage account")


@contextlib.contextmanager
def cluster_down(demo: Demo) -> Iterator[None]:
    """Ends the demo's cluster if the notebook has not done so; a further Ctrl-C does not stop that."""
    import azray_lab

    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for cluster in azray_lab.clusters():
            if cluster.name == demo.cluster:
                print(f"ending the cluster {cluster.name}", file=sys.stderr, flush=True)
                cluster.down()


@contextlib.contextmanager
def nothing_left(demo: Demo) -> Iterator[None]:
    """DemoError when a process of the demo outlives the block; it is ended all the same."""
    try:
        yield
    finally:
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := started_by(demo)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    if left:
        raise DemoError(f"{len(left)} processes were left and are ended now: {', '.join(str(p.pid) for p in left)}")


def started_by(demo: Demo) -> list[psutil.Process]:
    """The processes, other than this one, that the demo started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == demo.identity:
                found.append(process)
    return found


if __name__ == "__main__":
    sys.exit(main())
