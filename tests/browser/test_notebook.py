"""The magics as a person has them: typed and clicked in a real JupyterLab, in a real browser, on a real cluster."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

import azray_lab

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from azray_lab.testing.lab import Notebook

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.browser]
SECONDS = 120.0
CLUSTER = "lab"
CELLS = (
    "%load_ext azray_lab",
    f"cluster = %azray up --name {CLUSTER} --workers 1 --no-wait",
    "6 * 7",
    "cluster.result()",
    "%azray stauts",
    "%azray ",
    f"%azray down {CLUSTER} --yes",
)
LOAD, UP, BESIDE, SHOW, TYPO, COMPLETE, DOWN = range(len(CELLS))


@pytest.mark.timeout(600)
def test_a_cluster_comes_and_goes_in_the_browser(show):
    """Progress is live while the kernel does other things; cluster, completion and errors look as they should."""
    notebook = show(*CELLS, run=0)
    notebook.run(LOAD)
    notebook.finish(LOAD, SECONDS)
    assert notebook.text(LOAD) == ""

    notebook.run(UP)
    notebook.finish(UP, SECONDS)
    _until(lambda: re.search(r"\braylet\b", notebook.text(UP)))
    assert " took " not in notebook.text(UP), "the first stages were shown only when all was over"
    notebook.run(BESIDE)
    notebook.finish(BESIDE, SECONDS)
    assert notebook.text(BESIDE) == "42"

    notebook.run(SHOW)
    _until(lambda: f"up {CLUSTER} took " in notebook.text(UP))
    notebook.finish(SHOW, SECONDS)
    card = notebook.output(SHOW).locator(".az-card")
    _until(lambda: "running" in card.locator(".az-head").inner_text())
    card.locator("summary", has_text="Nodes").click()
    _until(lambda: _rows(card) == {"head": "running", "worker-1": "running"})

    notebook.run(TYPO)
    notebook.finish(TYPO, SECONDS)
    assert "status" in notebook.text(TYPO), "the nearest verb is not named"
    assert len(notebook.text(TYPO).splitlines()) == 1
    assert "Traceback" not in notebook.text(TYPO)

    _completes(notebook)

    notebook.run(DOWN)
    notebook.finish(DOWN, SECONDS)
    assert f"{CLUSTER} is down" in notebook.text(DOWN)
    assert azray_lab.clusters() == []


def _completes(notebook: Notebook) -> None:
    """TAB offers the verbs, then the cluster's name; Enter takes what is offered."""
    keyboard, items = notebook.page.keyboard, notebook.page.locator(".jp-Completer-item")
    editor = notebook.edit(COMPLETE)
    keyboard.press("Tab")
    items.first.wait_for()
    assert {"up", "status", "down", "run"} <= _offered(items)
    keyboard.press("Escape")
    _completed(editor, items, "dow", "down")
    _completed(editor, items, f" {CLUSTER[:-1]}", CLUSTER)
    assert editor.inner_text().strip() == f"%azray down {CLUSTER}"


def _completed(editor: Locator, items: Locator, typed: str, whole: str) -> None:
    """Types some letters and has them completed. A single offer is taken at once or by Enter, as Lab is set."""
    keyboard = editor.page.keyboard
    keyboard.type(typed)
    keyboard.press("Tab")
    _until(lambda: whole in editor.inner_text() or whole in _offered(items))
    if items.first.is_visible():
        keyboard.press("Enter")
    _until(lambda: editor.inner_text().strip().endswith(whole))


def _offered(items: Locator) -> set[str]:
    """The words of the completion menu; each item shows an icon's letter, the word, and its kind below each other."""
    return {lines[1] for lines in map(str.splitlines, items.all_inner_texts()) if len(lines) > 1}


def _rows(card: Locator) -> dict[str, str]:
    """The nodes in the table of a cluster, each with its state; found by the table's headings, as a reader does."""
    table = card.get_by_role("table", name="Nodes")
    headings = [heading.lower() for heading in table.locator("thead th").all_inner_texts()]
    found = {}
    for row in table.locator("tbody tr").all():
        cells = dict(zip(headings, [text.strip() for text in row.locator("th, td").all_inner_texts()], strict=True))
        found[cells["node"]] = cells["state"]
    return found


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long for the browser"
        time.sleep(0.05)
