"""The form as a person has it: typed and clicked in JupyterLab and in Notebook 7, up to a real cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import azray_lab

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]
FORM = """import azray_lab
form = azray_lab.ui({"name": "form", "workers": 1, "lease": {"idle": "30m"}})
form"""
# A cell that runs until the test lets it end.
BUSY = """import pathlib, time
while not pathlib.Path("{go}").exists():
    time.sleep(0.02)"""
# The elements that reach beyond the form's right edge.
BEYOND = """form => [...form.querySelectorAll("*")]
    .filter(e => e.getClientRects().length)
    .filter(e => e.getBoundingClientRect().right > form.getBoundingClientRect().right + 1)
    .map(e => e.outerHTML.slice(0, 200))"""
EVIL = "<img src=x onerror=alert(1)>"


def _form(page: Page) -> Locator:
    form = page.locator(".azray-form")
    form.locator(".azray-text").wait_for()
    return form


def _button(form: Locator, name: str) -> Locator:
    return form.get_by_role("button", name=name, exact=True)


def _says(locator: Locator, words: str) -> None:
    locator.filter(has_text=words).first.wait_for()


def test_the_form_is_answered_beside_a_running_cell(browser, show):
    """By Lab's defaults what is typed and Plan are answered while a cell runs, and nothing lands in that cell."""
    notebook = show(FORM, BUSY.format(go="beside"), run=1)
    form = _form(browser.page)
    notebook.run(1)
    form.get_by_label("CPUs").first.fill("3")
    _says(form.locator(".azray-text"), "cpus: 3")
    _button(form, "Plan").click()
    _says(form.get_by_role("table"), "CPU 3")
    assert notebook.prompt(1) == "[*]:"
    assert form.locator(".azray-waits").inner_text() == ""
    (browser.lab.folder / "beside").touch()
    notebook.finish(1, 60)
    assert notebook.text(1) == "", "a callback wrote into another cell"


def test_without_subshells_the_form_says_that_it_waits(browser, show):
    """Where comms go by the cells' thread, a press that waits for a cell is told at once, and answered when it ends."""
    browser.lab.subshells("disabled")
    try:
        notebook = show(FORM, BUSY.format(go="waits"), run=1)
        form = _form(browser.page)
        notebook.run(1)
        form.get_by_label("CPUs").first.fill("3")
        _button(form, "Plan").click()
        _says(form.locator(".azray-waits"), "waits for the running cell")
        assert notebook.prompt(1) == "[*]:"
        (browser.lab.folder / "waits").touch()
        notebook.finish(1, 60)
        _says(form.get_by_role("table"), "CPU 3")
        assert form.locator(".azray-waits").inner_text() == ""
        assert notebook.text(1) == "", "a callback wrote into another cell"
    finally:
        browser.lab.subshells("perCommTarget")


def test_wrong_text_is_told_beside_its_field(browser, show):
    """Wrong text is told as text beside its field; Up names the place and goes there; mended, Plan shows its table."""
    show(FORM)
    form = _form(browser.page)
    idle = form.get_by_label("End when idle for")
    idle.fill(EVIL)
    _says(form.locator(".azray-note"), f"'{EVIL}' is no duration")
    _button(form, "Up").click()
    _says(form.get_by_role("alert"), "Lease: End when idle for")
    browser.page.wait_for_function("() => document.activeElement.value?.startsWith('<img')")
    assert form.locator("img").count() == 0
    idle.fill("45m")
    _says(form.locator(".azray-status"), "The spec is complete.")
    _button(form, "Plan").click()
    _says(form.get_by_role("table"), "worker-1")
    assert azray_lab.clusters() == []


def test_the_form_in_notebook_7(browser, show):
    """In Notebook 7 the form grows by a group, shows its advanced settings, plans, and its YAML can be copied."""
    browser.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(FORM, app="notebook")
    form = _form(browser.page)
    _button(form, "Add a worker group").click()
    _says(form.locator(".azray-text"), "name: worker-2")
    variables = form.get_by_label("Environment variables")
    assert not variables.is_visible()
    _button(form, "Show advanced settings").click()
    variables.fill("OMP_NUM_THREADS: 4")
    _says(form.locator(".azray-text"), "OMP_NUM_THREADS: '4'")
    _button(form, "Copy").click()
    _button(form, "Copied").wait_for()
    copied = browser.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == form.locator(".azray-text").inner_text()
    _button(form, "Plan").click()
    _says(form.get_by_role("table"), "worker-2-1")


def test_the_form_at_400_percent(browser, show):
    """In a window of 320 pixels, which is 1280 at 400 %, nothing of the form is cut off or beside the page."""
    browser.page.set_viewport_size({"width": 320, "height": 256})
    try:
        show(FORM, app="notebook")
        form = _form(browser.page)
        _button(form, "Show advanced settings").click()
        form.get_by_label("Environment variables").wait_for()
        assert form.evaluate(BEYOND) == []
        assert form.evaluate("form => form.scrollWidth <= form.clientWidth")
    finally:
        browser.page.set_viewport_size({"width": 1280, "height": 900})


def test_a_restarted_kernel_is_told(browser, show):
    """A form whose kernel was restarted says that it is not live, its YAML can be copied; run again, it lives."""
    notebook = show(FORM)
    form = _form(browser.page)
    browser.page.evaluate("() => void window.jupyterapp.commands.execute('notebook:restart-kernel')")
    browser.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    _says(form.locator(".azray-status"), "Not live: run the cell again")
    for name in ("Plan", "Up", "Add a worker group"):
        assert _button(form, name).is_disabled()
    assert form.get_by_label("CPUs").first.is_disabled()
    assert _button(form, "Copy").is_enabled()
    assert form.get_attribute("data-live") == "false"
    notebook.run(0)
    _says(form.locator(".azray-status"), "The spec is complete.")
    notebook.finish(0, 60)
    assert _button(form, "Plan").is_enabled()


@pytest.mark.ray
def test_hundreds_of_clicks_start_one_cluster(browser, show):
    """Up clicked 300 times makes one cluster; its card reaches running by itself, and the form says how to use it."""
    show(FORM)
    form = _form(browser.page)
    _says(form.locator(".azray-status"), "The spec is complete.")
    _button(form, "Up").evaluate("button => { for (let i = 0; i < 300; i++) button.click(); }")
    form.locator(".az-card .az-state[data-state=running]").first.wait_for()
    _says(form.locator(".azray-message"), "%azray connect form")
    assert form.locator(".az-card").count() == 1
    found = azray_lab.clusters()
    assert [cluster.name for cluster in found] == ["form"]
    assert [node.name for node in found[0].nodes] == ["head", "worker-1"]
    found[0].down()
