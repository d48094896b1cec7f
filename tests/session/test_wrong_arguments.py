"""Python calls with values of the wrong type: our errors, with what to give instead, and nothing is changed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab import registry
from azray_lab.errors import SpecError, UsageError
from azray_lab.targets.base import Handle

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
