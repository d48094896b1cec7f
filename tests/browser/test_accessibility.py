"""axe in the three themes of Jupyter: no violation inside of the form, the card, the dashboard and the GPUs' table."""

from __future__ import annotations

import pytest

import azray_lab
from azray_lab.testing.lab import THEMES

pytestmark = [pytest.mark.slow, pytest.mark.browser]
FORM = """import azray_lab
form = azray_lab.ui({"name": "a11y", "workers": 2, "mounts": [{"uri": "az://data", "path": "/mnt/data"}]})
form"""
WRONG = """form.field("lease.idle").value = "soon"
form.field("local.dashboard_port").value = "80"
form.field("target").value = "aks"
form.button("up").click()"""


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


@pytest.mark.ray
def test_cards_have_no_violation(browser, show):
    """The card of a running cluster, its question before Down, the dashboard, and the table of GPUs."""
    with azray_lab.up(name="a11y", head={"gpus": {"count": 2, "type": "A100", "pretend": True}}):
        show('import azray_lab\nazray_lab.attach("a11y")', "azray_lab.dashboard()", 'azray_lab.attach("a11y").gpus()')
        card = browser.page.locator(".az-card").first
        card.locator(".az-state[data-state=running]").first.wait_for()
        for theme in THEMES:
            browser.theme(theme)
            assert browser.violations(".jp-OutputArea-output") == [], theme
        card.get_by_role("button", name="Down", exact=True).click()
        card.get_by_role("alertdialog").wait_for()
        assert browser.violations(".jp-OutputArea-output") == []
