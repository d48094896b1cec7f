"""Cards, dashboard and GPUs in a page that is no Jupyter, by the rules of such hosts (VS Code, exported pages).

The page has a manager of widgets, ipywidgets' own, that loads anywidget as an AMD module and restores what was saved; a
policy by which nothing is fetched, evaluated or written into attributes; and, when bare, none of Jupyter's variables.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ipywidgets.embed import embed_data
from playwright.sync_api import expect

import azray_lab
from azray_lab import registry
from azray_lab.testing.ray_dashboard import run_dashboard
from azray_lab.widgets.card import card_for
from azray_lab.widgets.cluster import source_of
from azray_lab.widgets.dashboard import Dashboard
from azray_lab.widgets.gpu_chart import GpuChart

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

    from azray_lab.testing.lab import Browser

pytestmark = [pytest.mark.slow, pytest.mark.browser]
HOST = "http://outside.test"
BUNDLES = Path(sys.prefix, "share", "jupyter", "nbextensions")
# anywidget imports a widget's module from a blob, and its styles are text in the page; so VS Code allows both.
POLICY = "default-src 'none'; script-src 'self' blob:; style-src 'unsafe-inline'; img-src data:; font-src data:"
PAGE = """<!doctype html><html lang="en"{mode}><head><meta charset="utf-8"><title>Outside</title>
<link rel="icon" href="data:,">
<script type="application/json" id="state">{state}</script><script type="application/json" id="views">{views}</script>
</head><body><main><div><span id="help_menu"></span></div></main><script src="/outside.js"></script></body></html>"""
# What a kernel that is there would send.
BEAT = """() => window.Jupyter.WidgetManager._managers[0].get_state().then(all =>
    Promise.all(Object.keys(all.state).map(id => window.Jupyter.WidgetManager._managers[0].get_model(id))))
    .then(models => models.filter(model => model.get("whole")).forEach(model => model.set("patch",
        {number: model.get("whole").number, now: Date.now() / 1000, change: {}, beat: true})))"""
WILD = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def saved() -> Iterator[dict[str, Any]]:
    """The saved state of a running card with GPUs, nodes, a job and an error, a dashboard and a chart of GPUs."""
    with run_dashboard(nodes=3, gpus=2) as ray:
        ray.register("wire")
        ray.add_job("job-1", WILD)
        card = card_for("wire")
        source_of("wire").tell(RuntimeError(WILD))
        shown: list[Any] = [card, Dashboard(), GpuChart(azray_lab.attach("wire").gpus())]
        try:
            card.show(source_of("wire").document())
            # Whole, as a notebook saves it, and saved yesterday.
            kept = embed_data(views=shown, drop_defaults=False)
            for model in kept["manager_state"]["state"].values():
                if "whole" in model["state"]:
                    model["state"]["whole"]["now"] -= 86400
            yield kept
        finally:
            for each in shown:
                each.close()
    registry.forget("wire")


@pytest.fixture
def outside(opened: Browser, saved: dict[str, Any]) -> Iterator[Browser]:
    """A page of its own, in front of the host."""
    beside = opened.beside()
    beside.page.route(f"{HOST}/**", lambda route: _answer(route, saved))
    yield beside
    beside.page.close()


def _answer(route: Route, saved: dict[str, Any]) -> None:
    path = route.request.url.removeprefix(HOST)
    scripts = {
        "/outside.js": Path(__file__).with_name("outside.js"),
        "/extension.js": BUNDLES / "jupyter-js-widgets" / "extension.js",
        "/anywidget.js": BUNDLES / "anywidget" / "index.js",
    }
    if path in scripts:
        route.fulfill(body=scripts[path].read_text(encoding="utf-8"), content_type="text/javascript")
        return
    texts = {"state": saved["manager_state"], "views": [view["model_id"] for view in saved["view_specs"]]}
    # As in any page: what is between script tags must not end them.
    filled = {name: json.dumps(value).replace("<", "\\u003c") for name, value in texts.items()}
    body = PAGE.format(**filled, mode=" data-bare=1" if path == "/bare" else "")
    route.fulfill(body=body, content_type="text/html", headers={"Content-Security-Policy": POLICY})


def _shown(page: Page, path: str) -> None:
    page.goto(HOST + path)
    expect(page.locator(".az-card")).to_have_count(3)
    page.locator(".az-card summary:visible").evaluate_all("all => all.forEach(summary => summary.click())")


@pytest.mark.parametrize("path", ["/bare", "/"])
def test_outside_of_jupyter(outside: Browser, path: str):
    """Nothing throws, the policy is kept, axe finds nothing in light and dark, and what is saved is never live."""
    page, troubles = outside.page, []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    _shown(page, path)
    jupyter = "getComputedStyle(document.body).getPropertyValue('--jp-layout-color1')"
    assert bool(page.evaluate(jupyter)) == (path == "/")
    expect(page.locator(".az-card[data-live=false]")).to_have_count(3)
    expect(page.locator(".az-card").first).to_contain_text("Not live")
    expect(page.locator(".az-error").filter(has_text=WILD)).to_be_visible()
    assert page.locator(".az-card img").count() == 0
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert outside.violations(".az-card") == [], scheme
    page.evaluate(BEAT)
    expect(page.locator(".az-card[data-live=true]")).to_have_count(3)
    assert outside.violations(".az-card") == []
    assert troubles == []
