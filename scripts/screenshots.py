"""Makes the pictures in docs/images/ afresh: a real cluster in a real JupyterLab in the system's Chromium.

    python scripts/screenshots.py [PART...]      parts: steps, quickstart, interface, work; all of them without one

Takes about four minutes; executes the quickstart first when build/demo/ does not hold it. Leaves nothing running.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.testing.lab import Browser, Notebook, open_browser, run_jupyterlab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
EXECUTED = ROOT / "build" / "demo" / "01_quickstart.ipynb"
SECONDS = 240.0
TERMINAL = ("azray list", "azray status team-a", "azray stauts team-a", "azray down team-a --yes")
PROMPTS = ".prompts"
_SETTLE = 2_000  # milliseconds
SIZE = {"width": 1040, "height": 640}
TALL = {"width": 1200, "height": 880}
MARGIN = 14
CELLS = (
    "%load_ext azray_lab",
    "cluster = %azray up --name team-a --workers 2 --no-wait",
    "%azray ",
    "%azray down team-a --yes",
)
LOAD, UP, COMPLETE, DOWN = range(len(CELLS))
INTERFACE = (
    """import azray_lab
form = azray_lab.ui(name="team-a", workers=2, lease={"idle": "30m", "max": "8h"})
form""",
    """import time, ray
cluster = azray_lab.attach("team-a").connect()

@ray.remote
def work(data):
    time.sleep(600)

data = [ray.put(bytes(40_000_000)) for _ in range(4)]
tasks = [work.remote(data) for _ in range(2)]""",
    """cluster""",
    """with_gpus = {"name": "gpu", "count": 1, "gpus": {"count": 2, "type": "A100", "pretend": True}}
lab = azray_lab.up(name="vision", workers=[with_gpus])""",
    """lab.gpus()""",
    """azray_lab.dashboard()""",
)
FORM, BUSY, CARD, VISION, GPUS, BOARD = range(len(INTERFACE))
# The limit is so short that the card tells of the end after three minutes: in its last fifth.
WORK = (
    "%load_ext azray_lab",
    "%azray up --name team-a --workers 1 --max 4m",
    "%azray run --detach -- python -c 'import sys; sys.exit(3)'",
    "%azray run --detach -- python -c 'import time; time.sleep(600)'",
    "import azray_lab\nazray_lab.attach('team-a')",
)


def main(parts: list[str]) -> None:
    """Makes the pictures of these parts, or all, and says where they are."""
    if "quickstart" in parts and not EXECUTED.exists():
        subprocess.run([sys.executable, str(ROOT / "scripts" / "demo.py")], check=True)
    IMAGES.mkdir(parents=True, exist_ok=True)
    # A short path, because the sockets of the cluster lie below it.
    with tempfile.TemporaryDirectory(prefix="azs-", dir="/tmp") as temporary:
        home = Path(temporary)
        _settings(home)
        work = home / "work"
        work.mkdir()
        if "quickstart" in parts:
            shutil.copy(EXECUTED, work / "quickstart.ipynb")
        with (
            run_jupyterlab(work, home / "state") as lab,
            open_browser(lab, viewport=SIZE, device_scale_factor=1.5, reduced_motion="reduce") as browser,
        ):
            try:
                for part in parts:
                    PARTS[part](browser)
            finally:
                _end_clusters()
    for image in sorted(IMAGES.glob("*.png")):
        print(f"{image.relative_to(ROOT)}  {image.stat().st_size // 1024} KiB")


def _settings(home: Path) -> None:
    """Nothing of the user's clusters, settings and shell is in the pictures."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.environ.update(AZRAY_HOME=str(home / "azray"), HOME=str(home), PATH=path, RAY_USAGE_STATS_ENABLED="0")
    # The terminal's shell is a login shell, which sets up PATH and prompt anew. Each prompt leaves a line in a file.
    profile = f"PATH={shlex.quote(path)}\nPS1='$ '\nPROMPT_COMMAND='echo >> ~/{PROMPTS}'\ncd ~/work\n"
    (home / ".bash_profile").write_text(profile)


def _first_steps(browser: Browser) -> None:
    """Progress, the cluster with its nodes, completion, and the same cluster in a terminal."""
    notebook = _opened(browser, "first-steps.ipynb", CELLS)
    for cell in (LOAD, UP):
        notebook.run(cell)
        notebook.finish(cell, SECONDS)
    _until(lambda: "joining" in notebook.text(UP) or " took " in notebook.text(UP))
    _picture(browser.page, "progress")
    card = notebook.output(UP).locator(".az-card")
    _until(lambda: "0 of 3" in card.inner_text())
    card.locator("summary", has_text="Nodes").click()
    browser.page.wait_for_timeout(5 * _SETTLE)  # its charts show some time
    _picture(browser.page, "cluster")
    _completion(notebook)
    _terminal(browser)
    browser.open("first-steps.ipynb")


def _completion(notebook: Notebook) -> None:
    notebook.edit(COMPLETE)
    notebook.page.keyboard.press("Tab")
    notebook.page.locator(".jp-Completer-item").first.wait_for()
    _picture(notebook.page, "completion")
    notebook.page.keyboard.press("Escape")


def _terminal(browser: Browser) -> None:
    page = browser.page
    page.evaluate("() => void window.jupyterapp.commands.execute('terminal:create-new')")
    page.locator(".jp-Terminal .xterm-screen").click()
    page.wait_for_timeout(_SETTLE)  # the terminal takes its size from the page, and tells nobody when it has it
    prompts = Path.home() / PROMPTS
    for number, line in enumerate(TERMINAL, start=2):
        page.keyboard.type(f"{line}\n")
        _until(functools.partial(_has_lines, prompts, number))
    page.wait_for_timeout(_SETTLE)
    _picture(page, "terminal")


def _has_lines(file: Path, number: int) -> bool:
    return file.exists() and len(file.read_text().splitlines()) == number


def _registered() -> list[Any]:
    import azray_lab

    return azray_lab.clusters()


def _quickstart(browser: Browser) -> None:
    """The end of the executed quickstart, with its plot."""
    page = browser.open("quickstart.ipynb").page
    if page.locator("#filebrowser").is_visible():
        page.keyboard.press("Control+b")
    plot = page.locator(".jp-OutputArea-output img").last

    def shown() -> bool:
        # Lab makes cells when they come into view, and thereby moves those below.
        plot.evaluate("element => element.scrollIntoView({block: 'end'})")
        page.wait_for_timeout(_SETTLE / 4)
        box = plot.bounding_box()
        return box is not None and box["y"] > 0 and box["y"] + box["height"] < SIZE["height"]

    _until(shown)
    _picture(page, "quickstart")


def _opened(browser: Browser, path: str, cells: tuple[str, ...]) -> Notebook:
    notebook = browser.open(browser.lab.write(path, cells))
    browser.page.keyboard.press("Control+b")  # the file browser is not what the pictures are about
    return notebook


def _interface(browser: Browser) -> None:
    """The form, its plan, the card in two themes, the GPUs and the dashboard."""
    browser.page.set_viewport_size(TALL)  # type: ignore[arg-type]
    notebook = _opened(browser, "interface.ipynb", INTERFACE)
    _run(notebook, FORM)
    form = notebook.output(FORM).locator(".azray-form")
    form.locator(".azray-text").wait_for()
    _part(form, "form")
    form.get_by_role("button", name="Plan", exact=True).click()
    form.get_by_role("table").wait_for()
    _part(form.locator(".azray-result"), "plan")
    form.get_by_role("button", name="Up", exact=True).click()
    form.get_by_text("%azray connect team-a").wait_for(timeout=1000 * SECONDS)
    _run(notebook, BUSY)
    _run(notebook, CARD)
    card = notebook.output(CARD).locator(".az-card")
    _until(lambda: "running" in card.inner_text() and "2 of" in card.inner_text())
    browser.page.wait_for_timeout(20_000)  # its charts show some time
    _part(card, "card")
    browser.theme("JupyterLab Dark")
    browser.page.wait_for_timeout(_SETTLE)
    _part(card, "card-dark")
    browser.theme("JupyterLab Light")
    _run(notebook, VISION)
    _run(notebook, GPUS)
    browser.page.wait_for_timeout(5 * _SETTLE)
    _part(notebook.output(GPUS), "gpus")
    _run(notebook, BOARD)
    browser.page.wait_for_timeout(3 * _SETTLE)
    _part(notebook.output(BOARD), "dashboard")
    browser.page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    _end_clusters()


def _work(browser: Browser) -> None:
    """The jobs of a cluster in its card, and a lease that ends soon."""
    browser.page.set_viewport_size(TALL)  # type: ignore[arg-type]
    notebook = _opened(browser, "work.ipynb", WORK)
    for cell in range(len(WORK)):
        _run(notebook, cell)
    card = notebook.output(len(WORK) - 1).locator(".az-card")
    jobs = card.locator("summary", has_text="Jobs")
    jobs.click()
    # The notebook and the job that lasts.
    _until(lambda: "FAILED" in card.inner_text() and card.inner_text().count("RUNNING") > 1)
    _part(card, "jobs")
    jobs.click()
    _until(lambda: "the lease ends" in card.inner_text())
    _part(card, "lease")
    browser.page.set_viewport_size(SIZE)  # type: ignore[arg-type]
    _end_clusters()


def _run(notebook: Notebook, cell: int) -> None:
    notebook.run(cell)
    notebook.finish(cell, SECONDS)


def _part(element: Locator, name: str) -> None:
    """A picture of one element, with a margin."""
    page = element.page
    element.evaluate("(element, margin) => element.style.setProperty('padding', `${margin}px`)", MARGIN)
    page.mouse.move(0, 0)
    page.wait_for_timeout(_SETTLE / 2)
    element.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


def _end_clusters() -> None:
    for cluster in _registered():
        cluster.down()


def _picture(page: Page, name: str) -> None:
    page.mouse.move(0, SIZE["height"] - 1)  # no tooltip, no hover
    page.screenshot(path=IMAGES / f"{name}.png", animations="disabled")


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the page does not show what was waited for")
        time.sleep(0.05)


PARTS: dict[str, Callable[[Browser], None]] = {
    "steps": _first_steps,
    "quickstart": _quickstart,
    "interface": _interface,
    "work": _work,
}

if __name__ == "__main__":
    main(sys.argv[1:] or [*PARTS])
