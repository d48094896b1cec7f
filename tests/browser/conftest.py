"""One JupyterLab and one Chromium for each module of browser tests, and notebooks whose cells have been run."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import azray_lab
from azray_lab.testing.lab import App, Browser, Notebook, open_browser, run_jupyterlab

# Far more than any step takes, because machines of CI are busy; a test that works waits for none of it.
SECONDS = 120.0
Show = Callable[..., Notebook]


@pytest.fixture(scope="module")
def browser(chromium: str, azray_home: Path) -> Iterator[Browser]:
    """A browser for the module, in front of a JupyterLab whose kernels share the module's registry of clusters."""
    del chromium  # found again by open_browser; here it skips, or fails when AZRAY_REQUIRE names `browser`
    with tempfile.TemporaryDirectory(dir=azray_home.parent) as temporary:
        folder, state = Path(temporary, "work"), Path(temporary, "state")
        folder.mkdir()
        state.mkdir()
        try:
            # Without a GPU each moving thing costs the processor that the cluster needs.
            with run_jupyterlab(folder, state) as lab, open_browser(lab, reduced_motion="reduce") as opened:
                yield opened
        finally:
            for cluster in azray_lab.clusters():
                cluster.down()


_numbers = itertools.count()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """`show(*cells, app="lab")` opens a new notebook with these cells, runs them, and returns it."""

    def opened(*cells: str, app: App = "lab", run: int | None = None) -> Notebook:
        path = browser.lab.write(f"notebook-{next(_numbers)}.ipynb", cells)
        notebook = browser.open(path, app)
        for number in range(len(cells) if run is None else run):
            notebook.run(number)
            notebook.finish(number, SECONDS)
        return notebook

    yield opened
    browser.page.screenshot(path=tmp_path / "last.png")  # pytest keeps it for whoever looks into a failure
