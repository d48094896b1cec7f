"""One JupyterLab and one Chromium for all browser tests, and notebooks whose cells have been run."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

import azray_lab
from azray_lab import registry
from azray_lab.testing.lab import App, Browser, Notebook, open_browser, run_jupyterlab
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard

# Far more than any step takes, because machines of CI are busy; a test that works waits for none of it.
SECONDS = 120.0
expect.set_options(timeout=1000 * SECONDS)
Show = Callable[..., Notebook]
SIZE = {"width": 1280, "height": 900}


@pytest.fixture(scope="package")
def home() -> Iterator[Path]:
    """The AZRAY_HOME of all browser tests, because the kernels of one JupyterLab share one."""
    # Beside that of other modules: short, because the sockets of clusters lie below it.
    with tempfile.TemporaryDirectory(prefix="b", dir=Path(os.environ["AZRAY_HOME"]).parent) as folder:
        yield Path(folder)


@pytest.fixture(scope="module", autouse=True)
def azray_home(home: Path) -> Iterator[Path]:
    """Replaces the fixture of that name; at the end of a module none of its clusters may be left either."""
    before = os.environ["AZRAY_HOME"]
    os.environ["AZRAY_HOME"] = str(home)
    yield home
    left = azray_lab.clusters()
    for cluster in left:
        cluster.down()
    os.environ["AZRAY_HOME"] = before
    assert not left, f"this module left clusters behind: {[cluster.name for cluster in left]}"


@pytest.fixture(scope="package")
def opened(chromium: str, home: Path) -> Iterator[Browser]:
    """The browser, in front of a JupyterLab whose kernels share the registry of `home`; about 5 s."""
    del chromium  # found again by open_browser; here it skips, or fails when AZRAY_REQUIRE names `browser`
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(dir=home.parent) as temporary:
        patch.setenv("AZRAY_HOME", str(home))
        folder, state = Path(temporary, "work"), Path(temporary, "state")
        folder.mkdir()
        state.mkdir()
        # Without a GPU each moving thing costs the processor that the cluster needs.
        with run_jupyterlab(folder, state) as lab, open_browser(lab, reduced_motion="reduce", viewport=SIZE) as browser:
            yield browser


@pytest.fixture(scope="module")
def browser(opened: Browser) -> Iterator[Browser]:
    """The browser as it was at first: a window of 1280 x 900; the module's kernels end with it."""
    yield opened
    opened.page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    opened.page.goto("about:blank")
    opened.lab.end_kernels()


_numbers = itertools.count()


@pytest.fixture(scope="module")
def show_all(browser: Browser) -> Show:
    """`show_all(*cells, app="lab")` opens a new notebook with these cells, runs them, and returns it."""

    def opened(*cells: str, app: App = "lab", run: int | None = None) -> Notebook:
        path = browser.lab.write(f"notebook-{next(_numbers)}.ipynb", cells)
        notebook = browser.open(path, app)
        for number in range(len(cells) if run is None else run):
            notebook.run(number)
            notebook.finish(number, SECONDS)
        return notebook

    return opened


@pytest.fixture
def show(browser: Browser, show_all: Show, tmp_path: Path) -> Iterator[Show]:
    """The same for one test, with a picture of its end."""
    yield show_all
    browser.page.screenshot(path=tmp_path / "last.png")  # pytest keeps it for whoever looks into a failure


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A cluster of three nodes, as its dashboard tells it; what was registered for it is forgotten afterwards."""
    with run_dashboard(nodes=3) as running:
        yield running
    for name in registry.names():
        registry.forget(name)
