"""Cards as a person has them: in a real JupyterLab, over a real cluster and over a dashboard on the wire."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

import azray_lab
from azray_lab import jobs

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from azray_lab.testing.lab import Browser, Notebook
    from azray_lab.testing.ray_dashboard import FakeRay

pytestmark = [pytest.mark.slow, pytest.mark.browser]
Until = Callable[[Callable[[], Any], str], Any]
WILD = "python <img src=x onerror=window.hit=1>"
ATTACH = ("import azray_lab", "azray_lab.attach('wire')")
SAVE = "window.jupyterapp.shell.currentWidget.context.save()"
WIDGETS = "@jupyter-widgets/jupyterlab-manager:plugin"


def card(notebook: Notebook, cell: int) -> Locator:
    """The card below a cell."""
    return notebook.cell(cell).locator(".az-card").first


def state(shown: Locator, word: str) -> None:
    """Waits until the card's own state is this word."""
    expect(shown.locator(".az-head .az-state")).to_have_text(word)


def button(shown: Locator, name: str) -> Locator:
    """The button of that name."""
    return shown.get_by_role("button", name=name, exact=True)


def row(shown: Locator, job: str) -> Locator:
    """The job's row in the card's table."""
    return shown.locator(".az-jobs tbody tr").filter(has_text=job)


def reread(browser: Browser, notebook: Notebook) -> Notebook:
    """Saves the notebook, closes the page, and opens it again."""
    path = browser.page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    notebook.page.evaluate(SAVE)
    browser.page.goto("about:blank")
    return browser.open(path)


def test_a_card_lives_through_a_closed_tab_and_tells_of_a_lost_kernel(browser, show, ray: FakeRay):
    """A tab that is opened again shows the truth; after a restart of the kernel the card says that it is not live."""
    ray.register("wire")
    ray.add_job("job-1", WILD)
    notebook = show(*ATTACH)
    shown = card(notebook, 1)
    state(shown, "running")
    shown.locator("summary", has_text="Jobs").click()
    expect(row(shown, "job-1")).to_contain_text(WILD)
    assert shown.locator("img").count() == 0, "a name was taken for HTML"

    notebook = reread(browser, notebook)
    shown = card(notebook, 1)
    expect(shown).to_have_attribute("data-live", "true")
    ray.use("worker-1", cpu=3.0)
    expect(shown).to_contain_text("3 of 12")

    browser.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    expect(shown).to_have_attribute("data-live", "false")
    expect(shown).to_contain_text("Not live")
    expect(shown).to_contain_text("3 of 12")  # and not what it began with
    expect(button(shown, "Down")).to_have_attribute("aria-disabled", "true")
    browser.page.wait_for_function(
        "window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    )
    for cell in (0, 1):
        notebook.run(cell)
        notebook.finish(cell, 120)
    expect(card(notebook, 1)).to_have_attribute("data-live", "true")


def test_a_notebook_whose_kernel_is_gone_shows_no_figures_as_if_they_were_live(browser, show, ray: FakeRay):
    """Saved with the state of widgets and opened again, its card says that it is not live; its buttons do nothing."""
    ray.register("wire")
    browser.lab.configure(WIDGETS, {"saveState": True})
    try:
        notebook = show(*ATTACH)
        state(card(notebook, 1), "running")
        notebook.page.evaluate(SAVE)
        browser.lab.end_kernels()
        shown = card(reread(browser, notebook), 1)
        expect(shown).to_have_attribute("data-live", "false")
        expect(shown).to_contain_text("Not live: this shows how it was at")
        for name in ("Scale", "Down"):
            expect(button(shown, name)).to_have_attribute("aria-disabled", "true")
    finally:
        browser.lab.configure(WIDGETS, {"saveState": False})


def test_a_start_that_fails_says_why_and_what_to_do(show):
    """The card has the cause and the next step, as an alert; the cell fails too, in one line."""
    notebook = show("%load_ext azray_lab", "%azray up --name big --set head.memory=900TiB")
    shown = card(notebook, 1)
    state(shown, "failed")
    alert = shown.get_by_role("alert")
    expect(alert).to_contain_text(re.compile(r"Why\s+\S+"), use_inner_text=True)
    expect(alert).to_contain_text(re.compile(r"Next step\s+\S+"), use_inner_text=True)
    assert "Traceback" not in notebook.text(1)
    button(alert, "Dismiss").click()
    expect(alert).to_be_hidden()


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_cluster_by_its_card(browser, show, until: Until):
    """Up by magic reaches running by itself; two notebooks agree on Extend, Scale, a job and its Stop; Down asks."""
    up = "%azray up --name lab --workers 1 --set lease.max=1h --no-wait"
    notebook = show("%load_ext azray_lab", f"c = {up}")
    shown = card(notebook, 1)
    state(shown, "starting")
    expect(shown).to_contain_text("so far")
    state(shown, "running")
    expect(shown).to_contain_text("2 nodes")
    before = _minutes(shown)
    button(shown, "Extend by 1 h").click()
    until(lambda: _minutes(shown) > before + 50, "the longer lease")

    beside = browser.beside()
    other = beside.open(browser.lab.write("other.ipynb", ["import azray_lab\nazray_lab.attach('lab')"]))
    other.run(0)
    second = card(other, 0)
    expect(second).to_contain_text("2 nodes")
    assert abs(_minutes(second) - _minutes(shown)) <= 1

    expect(shown.get_by_label("Workers")).to_have_attribute("max", "1000")
    shown.get_by_label("Workers").fill("2")
    shown.get_by_label("Workers").press("Enter")
    for each in (shown, second):
        expect(each).to_contain_text("3 nodes")
        state(each, "running")
        expect(button(each, "Scale")).not_to_have_attribute("aria-disabled", "true")
    expect(second.get_by_label("Workers")).to_have_value("2")
    _stop_a_job(shown, second)

    os.kill(azray_lab.attach("lab").handle.details["nodes"]["head"]["pid"], signal.SIGKILL)
    for each in (shown, second):
        state(each, "lost")
        expect(each).to_contain_text("the head is gone")
    beside.page.close()
    _end_by_keyboard(notebook, shown)
    assert "lab" not in [cluster.name for cluster in azray_lab.clusters()]


def _stop_a_job(shown: Locator, second: Locator) -> None:
    """A job that is submitted elsewhere is named by Down, in both cards; Stop in one of them ends it in both."""
    endpoint = azray_lab.attach("lab").endpoint
    jobs.Client(endpoint).submit({"entrypoint": "sleep 600", "submission_id": "long", "entrypoint_num_cpus": 0})
    for each in (shown, second):
        each.locator("summary", has_text="Jobs").click()
        expect(row(each, "long")).to_contain_text("RUNNING")
        button(each, "Down").click()
        expect(each.get_by_role("alertdialog")).to_contain_text("1 job or connected program:long sleep 600")
        button(each, "Keep it").click()
    button(shown, "Stop job long").click()
    for each in (shown, second):
        expect(row(each, "long")).to_contain_text("STOPPED: it was stopped")
        expect(button(each, "Stop job long")).to_be_hidden()
    assert jobs.get(endpoint, "long").status == "STOPPED"


def _end_by_keyboard(notebook: Notebook, shown: Locator) -> None:
    """Escape keeps the cluster and gives the keyboard back to Down; Enter and End it end the cluster."""
    button(shown, "Down").click()
    question = shown.get_by_role("alertdialog")
    expect(question).to_contain_text("End cluster lab?")
    expect(question).to_contain_text("which jobs run on it is not known")
    notebook.page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    expect(button(shown, "Down")).to_be_focused()
    notebook.page.keyboard.press("Enter")
    button(question, "End it").click()
    state(shown, "down")


def _minutes(shown: Locator) -> int:
    """The minutes that the lease still has, as the card tells them."""
    expect(shown).to_contain_text("Lease ends in")
    found = re.search(r"Lease ends in (?:(\d+) h ?)?(?:(\d+) min)?", shown.inner_text())
    assert found
    return 60 * int(found[1] or 0) + int(found[2] or 0)
