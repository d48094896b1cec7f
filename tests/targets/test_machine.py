"""Shares of a machine: what each node gets, and the errors where it does not suffice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from azray_lab.accelerators import Device
from azray_lab.errors import ResourceError
from azray_lab.spec.models import HeadSpec, NodeSpec, WorkerGroup
from azray_lab.targets.local import machine
from azray_lab.targets.local.machine import Machine, shares

GIB = 2**30
GPUS = tuple(Device("NVIDIA", "Tesla T4", "T4", str(index), memory_total=16 * GIB) for index in range(4))
BIG = Machine(cpus=16, memory=64 * GIB, free_memory=60 * GIB, free_shm=30 * GIB, gpus=GPUS)


def _nodes(workers: int) -> dict[str, NodeSpec]:
    return {"head": HeadSpec(), **{f"worker-{i}": WorkerGroup() for i in range(1, workers + 1)}}


@given(workers=st.integers(0, 30))
def test_shares_never_exceed_the_machine(workers: int) -> None:
    """Whatever the number of nodes, memory, object stores and GPUs together are at most what is there."""
    given_out = shares(BIG, _nodes(workers))
    assert sum(s.memory + s.object_store for s in given_out.values()) <= BIG.free_memory
    assert sum(s.object_store for s in given_out.values()) <= BIG.free_shm
    taken = [gpu for s in given_out.values() for gpu in s.devices]
    assert len(taken) == len(set(taken)) <= len(BIG.gpus)
    assert all(s.cpus >= 1 for s in given_out.values())


def test_what_a_spec_says_counts() -> None:
    """CPUs, GPUs and memory of a spec are taken as they are, and the others share the rest of the GPUs."""
    nodes = {"head": HeadSpec(cpus=0, gpus=0), "worker-1": WorkerGroup(gpus=3, memory="2GiB")}
    found = shares(BIG, nodes)
    assert (found["head"].cpus, found["head"].gpus) == (0, 0)
    assert (found["worker-1"].gpus, found["worker-1"].memory) == (3, 2 * GIB)
    assert [device.index for device in found["worker-1"].devices] == ["0", "1", "2"]
    assert found["worker-1"].gpu_type == "T4"


def test_more_gpus_than_there_are_is_an_error_that_names_the_way_out() -> None:
    """GPUs that are not there are refused, and given when they are pretended."""
    with pytest.raises(ResourceError, match="pretend: true") as caught:
        shares(BIG, {"head": HeadSpec(gpus=5)})
    assert caught.value.facts == {"needed": 5, "available": 4}
    pretended = shares(BIG, {"head": HeadSpec(gpus={"count": 8, "type": "H100", "pretend": True})})["head"]
    assert (pretended.gpus, pretended.devices, pretended.pretended, pretended.gpu_type) == (8, (), True, "H100")


def test_too_many_nodes_for_the_memory_name_how_many_fit() -> None:
    """Absurd sizes end before anything starts."""
    small = Machine(cpus=2, memory=2 * GIB, free_memory=2 * GIB, free_shm=GIB, gpus=())
    with pytest.raises(ResourceError, match="at most 4 workers"):
        shares(small, _nodes(100))


def test_a_small_shm_is_an_error_that_names_both_ways_out() -> None:
    """Object stores that do not fit into /dev/shm are no silent fallback to a disk."""
    docker = Machine(cpus=4, memory=8 * GIB, free_memory=7 * GIB, free_shm=64 * 2**20, gpus=())
    with pytest.raises(ResourceError, match=r"shm-size.*object_store_directory"):
        shares(docker, _nodes(1))


def test_this_machine_is_measured() -> None:
    """The real machine has CPUs and memory, and no more free memory than memory."""
    here = machine.measure()
    assert here.cpus >= 1
    assert 0 < here.free_memory <= here.memory
