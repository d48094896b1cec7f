"""A cluster whose file the registry has lost: what still runs of it is told and ended, never called down."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from azray_lab import registry
from azray_lab.cluster import Cluster, attach
from azray_lab.durable import write_json
from azray_lab.errors import ClusterLostError
from azray_lab.targets.base import Handle
from azray_lab.targets.local.processes import ID_VARIABLE, STATE_VARIABLE, launch


@pytest.fixture
def stray(fresh_home: Path, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose head is one sleeping process with the marks of a node; its handle is in its folder alone."""
    name = secrets.token_hex(4)  # nobody else's processes count
    state, log = fresh_home / "local" / name, tmp_path / "log"
    state.mkdir(parents=True)
    environment = {ID_VARIABLE: name, STATE_VARIABLE: str(state), "PATH": "/usr/bin:/bin"}
    head = launch([sys.executable, "-c", "import time; time.sleep(600)"], environment, log=log, directory=tmp_path)
    record = head.to_dict() | {"group": "head", "index": 0, "ip": "127.64.0.1"}
    details = {"state_dir": str(state), "runtime_dir": str(tmp_path / "run"), "nodes": {"head": record}}
    handle = Handle("stray", "local", name, {"name": "stray"}, 1.0, phase="up", details=details)
    write_json(state / "handle.json", handle.to_dict())
    yield Cluster(handle)
    Cluster(handle).down()


def test_it_is_not_called_ended_while_it_runs(stray: Cluster) -> None:
    """The status says that nobody registered it, how much of it runs, and what ends it; it has its address."""
    status = stray.status()
    assert status.state == "degraded"  # the process runs, and no dashboard answers
    assert status.reason.startswith("it is not registered, but 1 process of it runs; azray down stray ends it")
    assert [node.state for node in status.nodes] == ["running"]
    assert stray.endpoint == stray.handle.endpoint


def test_down_ends_what_runs_and_proves_it(stray: Cluster) -> None:
    """After `down` no process is left and the status is down; a second `down` finds nothing to do."""
    stray.down()
    with pytest.raises(registry.UnknownClusterError):
        attach("stray")
    assert stray.status().state == "down"
    assert stray.status().reason == "it was ended"
    with pytest.raises(ClusterLostError, match="was ended"):
        _ = stray.endpoint
    stray.down()
    assert registry.names() == []


def test_the_rest_of_a_cluster_without_its_head_is_lost_and_not_down(stray: Cluster, tmp_path: Path) -> None:
    """Where only another process of it lives, the last known handle finds it by its mark."""
    code = "import time; print(flush=True); time.sleep(600)"
    marks = {ID_VARIABLE: stray.handle.id, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, "-c", code], env=marks, cwd=tmp_path, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        write_json(Path(stray.handle.details["state_dir"]) / "ended.json", {"reason": "its head is gone"})
        status = stray.status()
        assert status.state == "lost"
        assert "2 processes of it run; azray down stray ends it. its head is gone" in status.reason
        stray.down()
        assert other.wait(timeout=60) != 0
