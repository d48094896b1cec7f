"""What a notebook keeps beside a live card: it is of the moment at which the cell showed it, and says so."""

from __future__ import annotations

import pytest

from azray_lab import registry
from azray_lab.cluster import up_operation
from azray_lab.operation import Operation
from azray_lab.spec import ClusterSpec
from azray_lab.widgets.card import card_for


@pytest.mark.usefixtures("fresh_home")
def test_the_card_of_a_start_says_when_it_was_so(until):
    """Text and HTML below `up` show its beginning for good; both tell the time, so that nobody takes them for now."""
    with registry.lock("a", Operation("somebody else")):
        task = up_operation(ClusterSpec(name="a"))
        task.start()
        card = card_for(task)
        until(lambda: task.operation.events, "its wait for the lock")
        for shown in (card.static_text(), card.static_html()):
            assert "up a: running for" in shown
            assert "this is how it was at 20" in shown
        task.operation.cancel("by the test")
        task.operation.wait(60)
    card.close()
