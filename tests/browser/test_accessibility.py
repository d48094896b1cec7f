"""axe in the three themes of Jupyter: no violation inside of the form, the card, the dashboard and the GPUs' table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from azray_lab import registry
from azray_lab.testing.lab import THEMES, Browser, Notebook
from azray_lab.testing.ray_dashboard import run_dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Page

Show = Callable[..., Notebook]
pytestmark = [pytest.mark.slow, pytest.mark.browser]
FORM = """import azray_lab
form = azray_lab.ui({"name": "a11y", "workers": 2, "mounts": [{"uri": "az://data", "path": "/mnt/data"}]})
form"""
WRONG = """form.field("lease.idle").value = "soon"
form.field("local.dashboard_port").value = "80"
form.field("target").value = "aks"
form.button("up").click()"""

WILD = "<img src=x onerror=window.hit=1>"
# Each cell shows a card in another state; the operations are real ones whose work is told from here.
STATES = (
    f"""import threading
import azray_lab
from azray_lab import registry
from azray_lab.errors import StartError
from azray_lab.operation import Operation, Task
from azray_lab.widgets.card import card_for
WILD = "{WILD}"

def shown(subject, name, work):
    operation = Operation(f"up {{name}}", expected={{"gcs": 3.0, "workers": 60.0}}, subject=subject)
    card = card_for(Task(operation, work))
    operation.start(work)
    return card

def starts(operation):
    operation.note(WILD)
    with operation.stage("gcs"):
        pass
    with operation.stage("workers"):
        operation.wait_for(threading.Event().is_set, reason=WILD, seconds=600, stage="workers")

def fails(operation):
    with operation.stage("gcs"):
        raise StartError(WILD, cause=WILD, next_step=WILD)

shown("start", WILD, starts)""",
    'shown("failed", WILD, fails)',
    "shown(WILD, WILD, fails)",
    "azray_lab.attach('lost')",
    "azray_lab.attach('wire')",
    "azray_lab.attach('gpus')",
    """board = azray_lab.dashboard()
board.table.toggle("gone", wanted=True)
registry.forget("gone")
board""",
    "azray_lab.attach('gpus').gpus()",
)


def test_the_form_has_no_violation(browser, show):
    """The form with every setting unfolded, with plan, and with what is wrong beside its fields."""
    show(FORM, 'form.button("plan").click()\nform.wait(60)', WRONG)
    form = browser.page.locator(".azray-form")
    form.get_by_role("alert").wait_for()
    form.get_by_label("Environment variables").wait_for()
    form.get_by_role("table").wait_for()
    for theme in THEMES:
        browser.theme(theme)
        assert browser.violations(".azray-form") == [], theme


def test_axe_sees_what_is_inside(browser, show):
    """A field without a label, put into the form, is found: the other tests of this module can fail."""
    show(FORM)
    browser.page.locator(".azray-form .azray-text").wait_for()
    assert browser.violations(".azray-form") == []
    browser.page.evaluate("() => document.querySelector('.azray-form').append(document.createElement('input'))")
    assert any(line.startswith("label ") for line in browser.violations(".azray-form"))


@pytest.fixture(scope="module")
def states(browser: Browser, show_all: Show) -> Iterator[Page]:
    """A page with cards in every state, a dashboard and GPUs, with open tables, each word of them as wild as can be."""
    with run_dashboard(nodes=3) as ray, run_dashboard(nodes=1) as dead, run_dashboard(nodes=2, gpus=2) as gpus:
        ray.names[1] = WILD
        for name in ("wire", *(f"c-{number}" for number in range(7)), "gone"):
            ray.register(name)
        for job, status in (("job-1", "RUNNING"), (WILD, "PENDING"), ("job-3", "FAILED")):
            ray.add_job(job, WILD, status)
        dead.register("lost")
        dead.kill()
        gpus.register("gpus")
        gpus.add_actor(WILD, "head", 0.5)
        browser.page.set_viewport_size({"width": 1280, "height": 5200})  # what is out of sight is not drawn
        show_all(*STATES)
        cards = browser.page.locator(".az-card")
        for word, count in {"starting": 1, "failed": 2, "lost": 1, "running": 2, "down": 1}.items():
            head = cards.locator(f".az-head .az-state[data-state={word}]")
            expect(head).to_have_count(count)
        expect(cards.get_by_role("button", name="Close the card of gone")).to_be_visible()
        expect(browser.page.locator(".az-gpus .az-value").first).to_be_visible()
        browser.page.locator(".az-card details:not([open]):visible > summary").evaluate_all(
            "all => all.forEach(summary => summary.click())"
        )
        yield browser.page
    for name in registry.names():
        registry.forget(name)


def test_html_in_any_word_is_text(states: Page):
    """Names of clusters, nodes, jobs and actors, reasons, notes and errors with HTML in them are what they are."""
    for part in (".az-headline", ".az-notes", ".az-stages", ".az-error", ".az-nodes", ".az-jobs", ".az-card .az-gpus"):
        expect(states.locator(part).filter(has_text=WILD).first).to_be_visible()
    assert states.locator(".az-card").locator("img, script").count() == 0
    assert states.evaluate("window.hit") is None


def test_cards_have_no_violation(browser: Browser, states: Page):
    """Cards that start, run, failed, are lost or down, their tables, a dashboard with a gone row, the table of GPUs."""
    for theme in THEMES:
        browser.theme(theme)
        assert browser.violations(".jp-OutputArea-output") == [], theme
    states.get_by_role("button", name="Down", exact=True).first.click()
    expect(states.get_by_role("alertdialog").first).to_be_visible()
    assert browser.violations(".jp-OutputArea-output") == []
