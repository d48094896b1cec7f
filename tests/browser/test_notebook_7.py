"""Card, dashboard and GPUs in Notebook 7: live, at 400 %, without motion, and with the keyboard where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from azray_lab import registry
from azray_lab.durable import write_json
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from azray_lab.testing.lab import Browser, Notebook

pytestmark = [pytest.mark.slow, pytest.mark.browser]
CELLS = ("import azray_lab\nazray_lab.attach('seven')", "azray_lab.dashboard()", "azray_lab.attach('seven').gpus()")
TALL = {"width": 1280, "height": 2600}
# A window of 1280 x 1024 pixels at 400 %.
ZOOMED = {"width": 320, "height": 256}
# What reaches beyond the right edge; tables, which WCAG 1.4.10 exempts, scroll within their frames.
BEYOND = """card => [...card.querySelectorAll(":not(.az-scroll *, .az-unseen)")]
    .filter(e => e.getClientRects().length)
    .filter(e => e.getBoundingClientRect().right > card.getBoundingClientRect().right + 1)
    .map(e => e.outerHTML.slice(0, 200))"""


@dataclass(frozen=True)
class Seven:
    """The page, and the cluster that it shows."""

    browser: Browser
    ray: FakeRay
    card: Locator
    table: Locator
    gpus: Locator

    @property
    def all(self) -> tuple[Locator, Locator, Locator]:
        """Everything of ours on the page."""
        return self.card, self.table, self.gpus


@pytest.fixture(scope="module")
def seven(browser: Browser, show_all: Callable[..., Notebook]) -> Iterator[Seven]:
    """A card, the dashboard and the chart of GPUs of one cluster, in a window that shows all three."""
    with run_dashboard(nodes=3, gpus=2) as ray:
        lease = Path(ray.register("seven").details["state_dir"]) / "lease.json"
        write_json(lease, {"max": 3600, "end": time.time() + 1800})
        ray.add_job("job-1", "python train.py --epochs 100")
        browser.page.set_viewport_size(TALL)  # type: ignore[arg-type]
        notebook = show_all(*CELLS, app="notebook")
        yield Seven(browser, ray, *(notebook.cell(number).locator(".az-card").first for number in range(3)))
    registry.forget("seven")


def test_the_three_are_live(seven: Seven):
    """What changes on the cluster arrives in the card and in the chart; the dashboard opens and closes a card."""
    for each in seven.all:
        expect(each).to_have_attribute("data-live", "true")
    seven.ray.use("worker-1", cpu=3.0, gpu=1.0)
    expect(seven.card).to_contain_text("3 of 12")
    expect(seven.gpus.locator("tr", has_text="worker-1").first).to_contain_text("50 %")
    seven.table.get_by_role("button", name="Open the card of seven").click()
    below = seven.browser.page.locator("section[aria-label='Cluster seven']")
    expect(below).to_have_count(2)
    expect(below.last.locator(".az-head .az-state")).to_have_text("running")
    seven.table.get_by_role("button", name="Close the card of seven").click()
    expect(below).to_have_count(1)


def test_the_keyboard_stays_where_it_was(seven: Seven):
    """Updates take neither the focus from the button that was pressed nor the number that is being typed."""
    extend = seven.card.get_by_role("button", name="Extend by 1 h")
    extend.focus()
    seven.browser.page.keyboard.press("Enter")
    expect(seven.card.locator(".az-lease")).to_contain_text("Lease ends in 1 h")
    expect(extend).not_to_have_attribute("aria-disabled", "true")
    expect(extend).to_be_focused()

    workers = seven.card.get_by_label("Workers")
    workers.fill("7")
    seven.ray.use("worker-2", cpu=2.0)
    expect(seven.card).to_contain_text("5 of 12")
    expect(workers).to_have_value("7")
    expect(workers).to_be_focused()

    seven.card.locator("summary", has_text="Jobs").click()
    stop = seven.card.get_by_role("button", name="Stop job job-1")
    stop.focus()
    seven.ray.add_job("job-2", "python serve.py")  # a newer row comes before the one that has the focus
    expect(seven.card.locator(".az-jobs tbody tr").first).to_contain_text("job-2")
    expect(stop).to_be_focused()
    seven.browser.page.keyboard.press("Enter")
    expect(seven.card.locator(".az-jobs")).to_contain_text("STOPPED: it was stopped")
    expect(stop).to_be_hidden()
    expect(seven.card.locator(".az-name")).to_be_focused()


def test_at_400_percent_nothing_is_cut_off(seven: Seven):
    """In a window of 320 pixels, with tables and the question before Down open, only tables scroll sideways."""
    page = seven.browser.page
    seven.ray.add_job("job-long", f"python {'train' * 30}.py")
    page.set_viewport_size(ZOOMED)  # type: ignore[arg-type]
    try:
        nodes = seven.card.locator("summary", has_text="Nodes")
        nodes.click()
        seven.card.get_by_role("button", name="Down", exact=True).click()
        expect(seven.card.get_by_role("alertdialog")).to_contain_text("job-long")
        for each in seven.all:
            each.scroll_into_view_if_needed()
            assert each.evaluate(BEYOND) == []
            assert each.evaluate("card => card.scrollWidth <= card.clientWidth")
            assert each.bounding_box()["width"] <= ZOOMED["width"]  # type: ignore[index]
        seven.card.get_by_role("button", name="Keep it").click()
    finally:
        page.set_viewport_size(TALL)  # type: ignore[arg-type]


def test_without_motion_nothing_moves(seven: Seven):
    """Whoever asks for less motion gets none, of ours or of the browser's own progress bar."""
    page = seven.browser.page
    button = seven.card.get_by_role("button", name="Down", exact=True)
    moving = "card => card.getAnimations({subtree: true}).length"
    duration = "button => getComputedStyle(button).transitionDuration"
    endless = """card => {
        const bar = card.appendChild(document.createElement("progress"));
        bar.className = "az-progress";
        return getComputedStyle(bar).display;
    }"""
    try:
        page.emulate_media(reduced_motion="no-preference")
        assert button.evaluate(duration) != "0s"
        page.emulate_media(reduced_motion="reduce")
        assert button.evaluate(duration) == "0s"
        button.hover()
        assert seven.card.evaluate(moving) == 0
        assert seven.card.evaluate(endless) == "none", "a bar without a value runs to and fro"
    finally:
        page.emulate_media(reduced_motion="reduce")
