"""The table of all clusters: its rows, the cards that they open, and what it makes of a broken registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from azray_lab import registry
from azray_lab.cluster import attach
from azray_lab.testing.ray_dashboard import FakeRay, run_dashboard
from azray_lab.widgets.dashboard import Dashboard
from azray_lab.widgets.feed import feed

Until = Callable[[Callable[[], Any], str], Any]


def test_the_dashboard_shows_two_hundred_clusters_in_one_look(fresh_home, until: Until):
    """All clusters of the registry are there, those that come later as well; a change of one is a patch of one row."""
    del fresh_home
    with run_dashboard(nodes=1) as ray:
        for number in range(200):
            ray.register(f"c-{number}")
        shown = Dashboard()
        try:
            assert len(shown.table.document["rows"]) == 200
            assert not ray.asked
            sent: list[Any] = []
            shown.table.observe(lambda change: sent.append(change["new"]["change"]), "patch")
            ray.register("later")
            feed().refresh("clusters")
            until(lambda: "later" in shown.table.document["rows"], "the later cluster")
            assert [set(change["rows"]) for change in sent if change] == [{"later"}]
            assert "later" in repr(shown)
            assert "c-199" in shown._repr_mimebundle_()["text/html"]
        finally:
            shown.close()


@pytest.mark.parametrize("workers", ["x", 3, [3], [{"count": "many"}]])
def test_a_broken_spec_in_the_registry_is_a_row_without_a_size(ray: FakeRay, workers: Any):
    """What a hand has put into one file keeps nobody from seeing the clusters."""
    handle = ray.register("a")
    registry.save(handle.but(spec={**handle.spec, "workers": workers}))
    shown = Dashboard()
    try:
        assert shown.table.document["rows"]["a"]["nodes"] == "-"
    finally:
        shown.close()


def test_a_row_opens_its_card_once(ray: FakeRay, until: Until):
    """Open puts the card below the table, twice does nothing more, Close takes it away and ends its feeding."""
    ray.register("a")
    shown = Dashboard()
    try:
        for _ in range(2):
            shown.table._handle_custom_msg({"do": "open", "name": "a"}, [])
        until(lambda: shown.table.area.children, "the card")
        assert [card.name for card in shown.table.area.children] == ["a"]
        assert attach("a").name == "a"
        shown.table._handle_custom_msg({"do": "close", "name": "a"}, [])
        until(lambda: not shown.table.area.children, "its end")
        assert feed().source("cluster/a") is None
    finally:
        shown.close()


def test_a_row_whose_cluster_is_gone_says_so_and_an_open_one_can_be_closed(ray: FakeRay, until: Until):
    """What ends elsewhere keeps its row while its card is open; what cannot be opened is told in the dashboard."""
    ray.register("a")
    shown = Dashboard()
    try:
        shown.table._handle_custom_msg({"do": "open", "name": "a"}, [])
        until(lambda: shown.table.area.children, "the card")
        registry.forget("a")
        feed().refresh("clusters")
        until(lambda: shown.table.document["rows"]["a"]["created"] is None, "the row of the open card")
        shown.table._handle_custom_msg({"do": "close", "name": "a"}, [])
        until(lambda: not shown.table.document["rows"], "the end of the row")
        ray.register("b")
        feed().refresh("clusters")
        until(lambda: "b" in shown.table.document["rows"], "the other cluster")
        registry.forget("b")
        shown.table._handle_custom_msg({"do": "open", "name": "b"}, [])
        until(lambda: "b" not in shown.table.document["rows"] or shown.table.document["problem"], "the word of it")
        assert not shown.table.area.children
    finally:
        shown.close()
