"""The contract suite of targets: a test class of each target inherits it and runs it against its real self.

class TestMyTarget(TargetContract):
kind = "my"

@pytest.fixture(scope="class")
@classmethod
def target(cls): return MyTarget(...)
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from azray_lab.errors import UnknownNameError
from azray_lab.operation import Operation
from azray_lab.spec.models import ClusterSpec
from azray_lab.targets.base import Amount, Handle, NodeUsage, Target


class Kept:
    """Stands for the registry: keeps the last handle that a target saved."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def __call__(self, handle: Handle) -> None:
        """Keeps one more."""
        self.handles.append(handle)

    @property
    def last(self) -> Handle:
        """The handle that was saved last."""
        return self.handles[-1]


def status_code(url: str, path: str, headers: dict[str, str]) -> int:
    """The HTTP status that a dashboard gives."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.ray
class TargetContract:
    """Tests in this order share one cluster; the last one ends it."""

    name = "contract"

    @pytest.fixture(scope="class")
    @classmethod
    def target(cls) -> Iterator[Target]:
        """The target under test; a subclass gives it."""
        raise AssertionError("a subclass gives its target")

    @pytest.fixture(scope="class")
    @classmethod
    def kept(cls, target: Target) -> Iterator[Kept]:
        """What the target saved; whatever still runs at the end is ended."""
        kept = Kept()
        yield kept
        if kept.handles:
            target.down(kept.last, Operation("end"))

    def spec(self, workers: int) -> ClusterSpec:
        """The spec of these tests."""
        return ClusterSpec.model_validate({"name": self.name, "target": self.kind, "workers": workers})

    kind: Any = "local"

    def test_plan_names_every_node_and_creates_nothing(self, target: Target) -> None:
        """A plan has the nodes of the spec, no blockers, and leaves no cluster behind."""
        before = {handle.id for handle in target.find()}
        plan = target.plan(self.spec(1))
        assert [node.name for node in plan.nodes] == ["head", "worker-1"]
        assert plan.blockers == ()
        assert {handle.id for handle in target.find()} == before

    def test_up_makes_what_the_spec_says(self, target: Target, kept: Kept) -> None:
        """After `up` the cluster is running with the nodes of its spec, and each finished stage is in the timeline."""
        operation: Operation[Handle] = Operation("up")
        handle = target.up(self.spec(1), None, operation, kept)
        assert kept.last == handle
        status = target.status(handle)
        assert (status.state, status.reason) == ("running", "")
        assert [node.name for node in status.nodes] == ["head", "worker-1"]
        assert all(node.resources["CPU"] >= 1 for node in status.nodes)
        assert {t["stage"] for t in handle.timeline} >= {"workers"}

    def test_a_handle_is_plain_json_without_secret(self, target: Target, kept: Kept) -> None:
        """A handle survives JSON, still finds its cluster, and does not hold the token."""
        import json

        text = json.dumps(kept.last.to_dict())
        copy = Handle.from_dict(json.loads(text))
        assert target.state(copy) == "running"
        token = target.address(copy).headers()["Authorization"].split()[1]
        assert len(token) > 20
        assert token not in text

    def test_find_reads_the_truth(self, target: Target, kept: Kept) -> None:
        """A cluster is found without its handle."""
        assert kept.last.id in {handle.id for handle in target.find()}
        assert target.remains(kept.last)

    def test_whoever_has_no_token_is_refused(self, target: Target, kept: Kept) -> None:
        """The dashboard answers with the token and refuses without it and with another."""
        endpoint = target.address(kept.last)
        assert status_code(endpoint.dashboard_url, "/api/version", endpoint.headers()) == 200
        assert status_code(endpoint.dashboard_url, "/api/version", {}) == 401
        assert status_code(endpoint.dashboard_url, "/api/version", {"Authorization": "Bearer " + "0" * 64}) in {
            401,
            403,
        }

    def test_logs_have_the_name_of_their_node(self, target: Target, kept: Kept) -> None:
        """Each node wrote something, and an unknown node is an error that names the known ones."""
        assert {name for name, _ in target.logs(kept.last, None, follow=False)} == {"head", "worker-1"}
        assert {name for name, _ in target.logs(kept.last, "worker-1", follow=False)} == {"worker-1"}
        with pytest.raises(UnknownNameError, match="worker-1"):
            target.logs(kept.last, "worker-11", follow=False)

    def test_usage_tells_of_every_node(self, target: Target, kept: Kept) -> None:
        """Each node reports its CPUs, memory and object store; memory of one machine counts once in the sum."""
        deadline = time.monotonic() + 60
        found, nodes = target.usage(kept.last), dict[str, NodeUsage]()
        while len(nodes) < 2 or not all(n.cpu and n.memory and n.object_store for n in nodes.values()):
            assert time.monotonic() < deadline, f"not every node has reported what it uses: {nodes}"
            time.sleep(0.2)
            found = target.usage(kept.last)
            nodes = {node.name: node for node in found.nodes}
        assert set(nodes) == {"head", "worker-1"}
        assert found.total("cpu") == Amount(0.0, sum(n.resources["CPU"] for n in target.status(kept.last).nodes))
        for node in nodes.values():
            assert node.object_store is not None
            assert 0 <= node.object_store.used < node.object_store.total
        hosts = {node.host: node.memory.total for node in nodes.values() if node.memory}
        memory = found.total("memory")
        assert memory is not None
        assert 0 < memory.used < memory.total == sum(hosts.values())

    def test_scale_closes_the_gap_both_ways(self, target: Target, kept: Kept) -> None:
        """Scaling starts the missing node, and then ends the surplus ones; the head stays the same."""
        head = kept.last.details["nodes"]["head"]
        target.scale(kept.last, self.spec(2), Operation("scale"), kept)
        assert [n.name for n in target.status(kept.last).nodes] == ["head", "worker-1", "worker-2"]
        target.scale(kept.last, self.spec(0), Operation("scale"), kept)
        status = target.status(kept.last)
        assert ([n.name for n in status.nodes], status.state) == (["head"], "running")
        assert kept.last.details["nodes"]["head"] == head

    def test_down_leaves_nothing_and_may_be_repeated(self, target: Target, kept: Kept) -> None:
        """After `down` the cluster is found no more, has no address, and a second `down` does no harm."""
        handle = kept.last
        target.down(handle, Operation("down"))
        assert handle.id not in {other.id for other in target.find()}
        assert target.remains(handle) == ()
        target.down(handle, Operation("down"))
