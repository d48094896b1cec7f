"""A live cluster through the public Python API: no-op, scale, replace, connect, versions, tokens, loss."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import azray_lab
from azray_lab import registry
from azray_lab.cluster import Cluster, connection
from azray_lab.errors import (
    InsecureFileError,
    ReplaceRequiredError,
    SpecError,
    UnknownClusterError,
    UnsupportedError,
    UsageError,
    VersionMismatchError,
)
from azray_lab.operation import Operation
from azray_lab.spec.models import ClusterSpec
from azray_lab.targets.local import teardown

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(azray_home: Path) -> Iterator[Cluster]:
    """One cluster for the module."""
    del azray_home
    with azray_lab.up(name="live", workers=1) as running:
        yield running


def test_up_again_is_a_no_op(cluster: Cluster) -> None:
    """The same name and spec give the running cluster: same processes, and no stage is run."""
    before = {p.pid for p in teardown.processes(cluster.handle)}
    task = azray_lab.cluster.up_operation(cluster.spec)
    again = task.run()
    assert [e.kind for e in task.operation.events if e.kind == "started"] == []
    assert again.handle.details["nodes"] == cluster.handle.details["nodes"]
    assert before <= {p.pid for p in teardown.processes(cluster.handle)}


def test_another_count_of_workers_scales(cluster: Cluster) -> None:
    """`up` with more workers adds nodes, `scale` takes them away, and the head is the same."""
    head = cluster.handle.details["nodes"]["head"]
    azray_lab.up(name="live", workers=2)
    assert [n.name for n in cluster.nodes] == ["head", "worker-1", "worker-2"]
    cluster.scale(1)
    assert [n.name for n in cluster.nodes] == ["head", "worker-1"]
    assert cluster.handle.details["nodes"]["head"] == head
    assert cluster.spec.workers[0].count == 1


def test_a_lease_is_changed_in_place_and_what_is_not_said_stays(cluster: Cluster) -> None:
    """`up` with a lease alone writes it for the watchdog and leaves the workers; saying nothing leaves both."""
    nodes = cluster.handle.details["nodes"]
    azray_lab.up(name="live", lease={"max": "2h"})
    assert cluster.lease.max == 7200
    assert cluster.lease.expires == pytest.approx(cluster.handle.created + 7200)
    task = azray_lab.cluster.up_operation(ClusterSpec(name="live"))
    task.run()
    assert not task.operation.events[:-1]
    assert cluster.lease.max == 7200
    assert cluster.handle.details["nodes"] == nodes
    azray_lab.up(name="live", lease={})
    assert cluster.lease.expires is None


def test_another_thing_changed_says_what_would_be_replaced(cluster: Cluster) -> None:
    """Each change is listed with both values, and the cluster stays as it is."""
    with pytest.raises(ReplaceRequiredError, match="azray down live") as caught:
        azray_lab.up(name="live", workers=1, head={"cpus": 7}, env={"A": "b"})
    assert caught.value.facts["changes"] == ["env.A: unset -> b", "head.cpus: unset -> 7"]
    assert cluster.state == "running"


def test_a_plan_tells_what_up_would_do(cluster: Cluster) -> None:
    """For a running cluster: nothing, scale or replace; for a new one: create, with the commands."""
    actions = [
        azray_lab.plan(name="live", workers=1).action,
        azray_lab.plan(name="live", workers=3).action,
        azray_lab.plan(name="live", head={"cpus": 1}).action,
    ]
    assert actions == ["nothing", "scale", "replace"]
    new = azray_lab.plan(name="another", workers=1)
    assert new.action == "create"
    assert new.expected_seconds  # the module's own `up` had as many nodes
    assert new.body.nodes[0].command[1:4] == ("-m", "ray.scripts.scripts", "start")
    assert cluster.name == "live"


def test_the_kernel_connects_leaves_and_comes_back(cluster: Cluster) -> None:
    """`connect` works when ray is imported already, twice, and after `disconnect`, which withdraws the token."""
    import ray

    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    for _ in range(2):
        cluster.connect()
        cluster.connect()
        assert ray.get(double.remote(21)) == 42
        assert {node.name for node in cluster.nodes} == {"head", "worker-1"}
        cluster.disconnect()
        assert not ray.is_initialized()
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_connecting_again_with_other_options_is_refused(cluster: Cluster) -> None:
    """Options that cannot count any more are not ignored; the same ones, or none, leave the connection as it is."""
    import ray

    cluster.connect(log_to_driver=False)
    job = ray.get_runtime_context().get_job_id()
    cluster.connect(log_to_driver=False)
    cluster.connect()
    with pytest.raises(UsageError, match=r"other options: log_to_driver was False") as refused:
        cluster.connect(log_to_driver=True)
    assert "disconnect()" in refused.value.next_step
    assert ray.get_runtime_context().get_job_id() == job
    cluster.disconnect()


def test_a_ray_of_the_users_own_is_not_touched(cluster: Cluster) -> None:
    """A process that is connected elsewhere is told to leave first."""
    code = (
        "import ray, azray_lab\nray.init(num_cpus=1, include_dashboard=False, logging_level='error')\n"
        "try:\n azray_lab.attach('live').connect()\nexcept azray_lab.AzRayError as e: print(e.next_step)\n"
        "print(ray.is_initialized()); ray.shutdown()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split() == ["ray.shutdown()", "True"], done.stderr
    assert cluster.state == "running"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("ray_version", "2.1.0", 'pip install "ray==2.1.0"'), ("python_version", "3.9.1", "a kernel of Python 3.9")],
)
def test_other_versions_say_what_differs_and_what_to_run(cluster: Cluster, field: str, value: str, words: str) -> None:
    """The check comes before `ray.init`, names both sides, and gives the command."""
    with pytest.raises(VersionMismatchError) as caught:
        connection.check_versions(cluster.handle.but(**{field: value}))
    assert words in str(caught.value)
    assert value in str(caught.value.facts["there"])


def test_a_token_that_others_can_read_is_refused(cluster: Cluster) -> None:
    """A token file with wide permissions is not used, and the error has the chmod."""
    token = Path(cluster.handle.token_path)
    token.chmod(0o644)
    try:
        with pytest.raises(InsecureFileError, match="chmod 600"):
            cluster.connect()
        assert "chmod 600" in cluster.status().reason
    finally:
        token.chmod(0o600)


def test_reprs_tell_the_state(cluster: Cluster) -> None:
    """Text and HTML show name, state and nodes, and no secret."""
    token = Path(cluster.handle.token_path).read_text()
    for text in (repr(cluster), cluster._repr_html_(), str(cluster.to_dict())):
        assert "running" in text
        assert "worker-1" in text
        assert token not in text


def test_logs_have_their_node_and_follow_ends_with_the_cluster(cluster: Cluster) -> None:
    """Each line carries its node; what a task prints on a node is among them."""
    assert any(line.startswith("[head] ") for line in cluster.logs())
    assert all(line.startswith("[worker-1] ") for line in cluster.logs("worker-1"))
    cluster.connect()
    import ray

    @ray.remote
    def speak() -> None:
        sys.stdout.write("a word from a task\n")

    ray.get(speak.remote())
    operation: Operation[None] = Operation("wait")
    found = operation.wait_for(
        lambda: [line for line in cluster.logs() if "a word from a task" in line], reason="the line", seconds=20
    )
    assert found
    cluster.disconnect()


def test_a_registry_that_is_lost_is_made_again_from_the_processes(cluster: Cluster) -> None:
    """A running cluster whose handle was deleted is found by name and in the list."""
    before = cluster.handle
    registry.forget("live")
    assert azray_lab.attach("live").handle.id == before.id
    registry.forget("live")
    assert [c.name for c in azray_lab.clusters()] == ["live"]


def test_wrong_uses_are_usage_errors(cluster: Cluster) -> None:
    """Unknown clusters, later targets, wrong durations and negative counts are refused with the way out."""
    with pytest.raises(UnknownClusterError, match="'live'"):
        azray_lab.attach("liv")
    for target in ("dsvm", "aks"):
        with pytest.raises(UnsupportedError, match="not in this version"):
            azray_lab.up(name="later", target=target)
    with pytest.raises(SpecError, match="30m"):
        cluster.extend("soon")
    for count in (-1, 100_000):
        with pytest.raises(UsageError, match=f"{count} workers"):
            cluster.scale(count)


def test_a_head_that_dies_while_connected_leaves_the_process_alive() -> None:
    """The connection is given up with a warning before Ray ends the process, and `up` repairs the cluster."""
    code = """
import azray_lab, ray, logging, sys
from azray_lab.operation import Operation
from azray_lab.targets.local import teardown
cluster = azray_lab.up(name="dying").connect()
state = {"kept": 1}
for process in teardown.processes(cluster.handle):
    if process.name() == "gcs_server":
        process.kill()
Operation("test").wait_for(lambda: not ray.is_initialized(), reason="the disconnect", seconds=60)
print("alive with", state, cluster.state)
again = azray_lab.up(name="dying").connect()
print("again", ray.get(ray.remote(lambda: 7).remote()))
again.down()
print("connected", ray.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "alive with {'kept': 1} lost" in done.stdout
    assert "again 7" in done.stdout
    assert "connected False" in done.stdout
    assert "azray up --name dying repairs it" in done.stderr
