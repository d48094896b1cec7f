"""Cards as a person has them: in a real JupyterLab, over a real cluster and over a dashboard on the wire."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab.testing.lab import Browser, Notebook, open_browser, run_jupyterlab
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = [pytest.mark.slow, pytest.mark.browser]
SECONDS = 240.0
WILD = "python <img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that JupyterLab shows."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def browser(chromium: str, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One JupyterLab and one page for the module; clusters are ended afterwards whatever happened."""
    del chromium  # found again by open_browser; here it skips, or fails when AZRAY_REQUIRE names `browser`
    state = tmp_path_factory.mktemp("state")
    try:
        with run_jupyterlab(folder, state) as lab, open_browser(lab) as opened:
            yield opened
            opened.page.screenshot(path=state / "last.png")  # pytest keeps it for whoever looks into a failure
    finally:
        for cluster in azray_lab.clusters():
            cluster.down()


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    """A cluster of three nodes, as its dashboard tells it."""
    with run_dashboard(nodes=3) as running:
        yield running


def write(folder: Path, name: str, *cells: str) -> str:
    """Writes a notebook of these cells, and returns its name."""
    fixed: dict[str, Any] = {"cell_type": "code", "outputs": [], "execution_count": None, "metadata": {}}
    made = [{**fixed, "id": f"cell-{number}", "source": source} for number, source in enumerate(cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (folder / name).write_text(json.dumps(document))
    return name


def card(notebook: Notebook, cell: int) -> Locator:
    """The card below a cell."""
    return notebook.cell(cell).locator(".az-card").first


def says(shown: Locator, *words: str) -> None:
    """Waits until the card says all these words, told by their order of appearance or not."""
    until(lambda: all(word in shown.inner_text() for word in words), lambda: f"{words} in:\n{shown.inner_text()}")


def state(shown: Locator, *words: str) -> None:
    """Waits until the card's own state is one of these words."""
    badge = shown.locator(".az-head .az-state")
    until(lambda: badge.inner_text().strip() in words, lambda: f"{words} instead of {badge.inner_text()}")


def until(condition: Callable[[], object], what: str | Callable[[], str]) -> None:
    """Waits for the browser; `what` may be asked when the wait was in vain."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what if isinstance(what, str) else what()}"
        time.sleep(0.05)


def run(notebook: Notebook, *cells: int) -> None:
    """Runs the cells and waits for each."""
    for cell in cells:
        notebook.run(cell)
        notebook.finish(cell, SECONDS)


def disabled(shown: Locator, name: str) -> bool:
    """Whether the button of that name does nothing now."""
    return shown.get_by_role("button", name=name, exact=True).get_attribute("aria-disabled") == "true"


def reread(browser: Browser, name: str) -> Notebook:
    """Saves the notebook, closes the tab, and opens it again in a new page of the browser."""
    browser.page.evaluate("window.jupyterapp.shell.currentWidget.context.save()")
    browser.page.goto("about:blank")
    return browser.open(name)


@pytest.mark.timeout(600)
def test_a_card_lives_through_a_closed_tab_and_tells_of_a_lost_kernel(browser: Browser, folder: Path, ray: FakeRay):
    """A tab that is opened again shows the truth; after a restart of the kernel the card says that it is not live."""
    ray.register("wire")
    ray.add_job("job-1", WILD)
    notebook = browser.open(write(folder, "tab.ipynb", "import azray_lab", "azray_lab.attach('wire')"))
    run(notebook, 0, 1)
    shown = card(notebook, 1)
    state(shown, "running")
    shown.locator("summary", has_text="Jobs").click()
    says(shown, WILD)
    assert notebook.page.evaluate("window.hit") is None, "a name was taken for HTML"

    notebook = reread(browser, "tab.ipynb")
    shown = card(notebook, 1)
    until(lambda: shown.get_attribute("data-live") == "true", "the card after the tab was opened again")
    ray.use("worker-1", cpu=3.0)
    says(shown, "3 of 12")

    notebook.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    until(lambda: shown.get_attribute("data-live") == "false", "the word that it is not live")
    says(shown, "Not live")
    assert disabled(shown, "Down")
    browser.page.wait_for_function(
        "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    )
    run(notebook, 0, 1)
    until(lambda: card(notebook, 1).get_attribute("data-live") == "true", "the new card")


@pytest.mark.timeout(300)
def test_a_start_that_fails_says_why_and_what_to_do(browser: Browser, folder: Path):
    """The card has the cause and the next step, as an alert; the cell fails too, in one line."""
    cells = ("%load_ext azray_lab", "%azray up --name big --set head.memory=900TiB")
    notebook = browser.open(write(folder, "fail.ipynb", *cells))
    run(notebook, 0, 1)
    shown = card(notebook, 1)
    state(shown, "failed")
    alert = shown.get_by_role("alert")
    assert re.search(r"Why\s+\S+", alert.inner_text())
    assert re.search(r"Next step\s+\S+", alert.inner_text())
    assert "Traceback" not in notebook.text(1)
    alert.get_by_role("button", name="Dismiss").click()
    until(lambda: not alert.is_visible(), "the dismissal")


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_cluster_by_its_card(browser: Browser, folder: Path):
    """Up by magic reaches running by itself; Extend, Scale, a second notebook, a killed head, and Down by buttons."""
    up = "%azray up --name lab --workers 1 --set lease.max=1h --no-wait"
    notebook = browser.open(write(folder, "life.ipynb", "%load_ext azray_lab", f"c = {up}", "azray_lab.attach('lab')"))
    run(notebook, 0, 1)
    shown = card(notebook, 1)
    state(shown, "starting")
    says(shown, "Stages", "so far")
    state(shown, "running")
    says(shown, "2 nodes", "Lease ends in")
    before = _minutes(shown)
    shown.get_by_role("button", name="Extend by 1 h").click()
    until(lambda: _minutes(shown) > before + 50, "the longer lease")

    workers = shown.get_by_label("Workers")
    workers.fill("2")
    workers.press("Enter")
    says(shown, "3 nodes")
    until(lambda: not disabled(shown, "Scale"), "the end of the scaling")
    state(shown, "running")

    other = reread(browser, write(folder, "other.ipynb", "import azray_lab", "azray_lab.attach('lab')"))
    run(other, 0, 1)
    second = card(other, 1)
    says(second, "3 nodes", "Lease ends in")
    head = azray_lab.attach("lab").handle.details["nodes"]["head"]["pid"]
    os.kill(head, signal.SIGKILL)
    state(second, "lost")
    says(second, "the head is gone")

    second.get_by_role("button", name="Down", exact=True).click()
    question = second.get_by_role("alertdialog")
    assert "End cluster lab?" in question.inner_text()
    other.page.keyboard.press("Escape")
    until(lambda: not question.is_visible(), "the end of the question")
    assert second.get_by_role("button", name="Down", exact=True).evaluate("node => node === document.activeElement")
    other.page.keyboard.press("Enter")
    question.get_by_role("button", name="End it").click()
    state(second, "down")
    assert "lab" not in [cluster.name for cluster in azray_lab.clusters()]


def _minutes(shown: Locator) -> int:
    """The minutes that the lease still has, as the card tells them."""
    found = re.search(r"Lease ends in (?:(\d+) h ?)?(?:(\d+) min)?", shown.inner_text())
    assert found
    return 60 * int(found[1] or 0) + int(found[2] or 0)
