"""Python calls with values of the wrong type: our errors, with what to give instead, and nothing is changed."""

from __future__ import annotations

import logging
import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab import registry
from azray_lab.cluster import lifecycle
from azray_lab.errors import ClusterLostError, SpecError, UsageError
from azray_lab.hardware.state import part
from azray_lab.targets.base import Handle, this_process

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster


@pytest.mark.parametrize("wrong", [5, [], b"x", 1.5, {}])
def test_what_is_no_name_is_refused(fresh_home: Path, wrong: Any) -> None:
    """`gpus` and `attach` say what a name is."""
    del fresh_home
    for call in (azray_lab.gpus, azray_lab.attach):
        with pytest.raises(UsageError, match="no name of a cluster"):
            call(wrong)


@pytest.mark.parametrize("wrong", [5, [], b"x", 1.5, ""])
def test_what_is_no_spec_is_refused(fresh_home: Path, wrong: Any) -> None:
    """`up` and `plan` say what a spec may be; an empty text is no file."""
    del fresh_home
    for call in (azray_lab.up, azray_lab.plan):
        with pytest.raises(SpecError, match="is no spec: a spec is a path, a mapping or a ClusterSpec"):
            call(wrong)


@pytest.fixture
def cluster(fresh_home: Path) -> Cluster:
    """A registered cluster of which nothing runs."""
    details = {"state_dir": str(fresh_home / "s"), "runtime_dir": str(fresh_home / "r"), "nodes": {}}
    spec = {"name": "a", "workers": [{"count": 1}]}
    registry.save(Handle("a", "local", "0a0b0c0d", spec, time.time(), phase="up", details=details))
    return azray_lab.attach("a")


@pytest.mark.parametrize("wrong", ["x", None, 1.5, True, -1, 1001])
def test_what_is_no_count_of_workers_is_refused(cluster: Cluster, wrong: Any) -> None:
    """`scale` names the limits."""
    with pytest.raises(UsageError, match=r"workers cannot be: 0 to 1000 can"):
        cluster.scale(wrong)


@pytest.mark.parametrize("wrong", [-1, 0, "0s", None, 1.5, 10**12])
def test_what_is_no_time_to_come_is_refused(cluster: Cluster, wrong: Any) -> None:
    """`extend` takes no time back, and the lease stays."""
    with pytest.raises(SpecError, match="azray extend a 2h"):
        cluster.extend(wrong)


def test_a_cluster_is_equal_to_its_copy_and_to_no_other(cluster: Cluster) -> None:
    """Two values of one cluster are one in sets and survive pickling; another cluster of that name is another."""
    copy = pickle.loads(pickle.dumps(cluster))  # noqa: S301 - of this very line
    assert copy == cluster == azray_lab.attach("a")
    assert len({copy, cluster}) == 1
    other = azray_lab.Cluster(cluster.handle.but(id="ffffffff"))
    assert other != cluster
    assert cluster != "a"


def test_a_cluster_that_starts_is_not_called_lost(cluster: Cluster) -> None:
    """While another process makes it, reading it says so and gives no advice to start it; the plan is to wait."""
    registry.save(cluster.handle.but(phase="starting", maker=this_process().to_dict()))
    with pytest.raises(UsageError, match="cluster a is starting: `up` is at work"):
        azray_lab.gpus("a")
    plan = azray_lab.plan(name="a", workers=1)
    assert (plan.action, plan.expected_seconds) == ("wait", None)
    assert "change: the cluster is starting; `up` waits until that has ended" in str(plan)


def test_no_gpus_are_not_called_pretended(fresh_home: Path) -> None:
    """A count of 0 leaves nothing to pretend, and the plan says nothing of it."""
    del fresh_home
    assert "pretended" not in str(azray_lab.plan(name="b", head={"gpus": {"count": 0, "pretend": True}}))
    assert "pretended" in str(azray_lab.plan(name="b", head={"gpus": {"count": 1, "pretend": True}}))


@pytest.mark.parametrize("answer", [[], {}, "text", 5, None, {"data": {"result": 5}}])
def test_an_answer_of_another_form_is_told(answer: Any) -> None:
    """JSON that is not Ray's names what was asked for."""
    with pytest.raises(ClusterLostError, match="another form than Ray's when it is asked for nodes"):
        part(answer, "nodes", "data", "result", "result")


def test_a_hand_broken_entry_hides_no_other(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """A handle without its folders is left out of lists, with a warning that names it."""
    registry.save(cluster.handle.but(name="broken", details={}))
    with caplog.at_level(logging.WARNING):
        assert [handle.name for handle, _ in lifecycle.overview()] == ["a"]
    assert "the handle of broken does not say where" in caplog.text
