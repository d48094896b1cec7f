"""A journey without a mouse: from the form to a running cluster, and to its end."""

from __future__ import annotations

import pytest

import azray_lab

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.ray]
FORM = "import azray_lab\nform = azray_lab.ui({})\nform"


@pytest.mark.timeout(600)
def test_from_the_form_to_a_cluster_and_to_its_end(browser, show):
    """Tab leads through the form, Enter and Space press its buttons; the card's Down asks, and Enter ends it."""
    show(FORM)
    page, keyboard = browser.page, browser.page.keyboard
    form = page.locator(".azray-form")
    yaml = form.locator(".azray-text")
    yaml.wait_for()
    keyboard.press("Escape")  # out of the editor, where Tab is a character

    browser.walk(form.get_by_label("Name").first)
    keyboard.type("keys")
    browser.walk(form.get_by_role("button", name="Add a worker group"))
    keyboard.press("Enter")
    yaml.filter(has_text="count: 1").wait_for()
    assert form.get_by_role("button", name="Remove worker group").count() == 1
    browser.walk(form.get_by_role("button", name="Remove worker group 1"))
    keyboard.press("Space")
    form.get_by_text("No workers").wait_for()
    page.wait_for_function("() => document.activeElement.innerText.includes('Add a worker group')")

    browser.walk(form.get_by_label("End when idle for"))
    keyboard.type("30m")
    yaml.filter(has_text="idle: 30m").wait_for()
    browser.walk(yaml)
    browser.walk(form.get_by_role("button", name="Up", exact=True))
    keyboard.press("Enter")
    card = form.locator(".az-card")
    card.locator(".az-state[data-state=running]").first.wait_for()
    assert [cluster.name for cluster in azray_lab.clusters()] == ["keys"]

    form.get_by_text("%azray connect keys").wait_for()
    browser.walk(card.get_by_role("button", name="Down", exact=True))
    keyboard.press("Enter")
    asked = card.get_by_role("alertdialog")
    asked.wait_for()
    assert "Keep it" in browser.focused(), "the answer that ends nothing is not the first one"
    browser.walk(asked.get_by_role("button", name="End it"), "Shift+Tab", 3)
    keyboard.press("Enter")
    card.locator(".az-state[data-state=down]").first.wait_for()
    assert azray_lab.clusters() == []
