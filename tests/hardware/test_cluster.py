"""A real cluster with pretended GPUs: what Ray is told of them, who holds them, and the notebook cell that did it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import nbformat
import pytest
import ray
from nbclient import NotebookClient

import azray_lab
from azray_lab.errors import ResourceError

pytestmark = [pytest.mark.slow, pytest.mark.ray]
NAME = "gpus"
SPEC = {
    "name": NAME,
    "head": {"cpus": 2, "gpus": {"type": "A100", "count": 2, "pretend": True}},
    "workers": [{"name": "h", "count": 1, "cpus": 1, "gpus": {"type": "H100", "count": 1, "pretend": True}}],
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[azray_lab.Cluster]:
    """A head with two pretended A100 and a worker with a pretended H100, connected."""
    with azray_lab.up(SPEC) as made:
        yield made.connect(log_to_driver=False)
        made.disconnect()


class Holds:
    """Holds the GPUs that it is given."""

    def place(self) -> tuple[Any, list[str]]:
        """The node's accelerator type, and the GPUs that Ray gave."""
        context = ray.get_runtime_context()
        return context.get_node_labels()["ray.io/accelerator-type"], context.get_accelerator_ids()["GPU"]


Model: Any = ray.remote(num_cpus=0)(Holds)


@ray.remote(num_cpus=0, num_gpus=1, accelerator_type="H100")
def held(seconds: float) -> str:
    """Runs for so long where an H100 is."""
    time.sleep(seconds)
    return str(ray.get_runtime_context().get_node_labels()["azray.io/node"])


def test_the_spec_is_what_ray_has_and_all_say_pretended(cluster):
    """Counts and types from Ray itself; status, plan and report say that they are pretended."""
    rows = cluster.gpus().rows
    assert [(row.node, row.type, row.count, row.pretended) for row in rows] == [
        ("head", "A100", 2, True),
        ("h-1", "H100", 1, True),
    ]
    assert ray.cluster_resources()["accelerator_type:A100"] == 1.0  # type: ignore[no-untyped-call]
    assert str(cluster).count("(pretended)") == 2
    assert str(azray_lab.plan(SPEC)).count("(pretended)") == 2
    assert str(azray_lab.gpus(NAME)).startswith("gpus: 3 GPUs, all pretended")


def test_fractions_types_and_placement_are_rays_own(cluster):
    """Half a GPU, a type by label and by resource, and a placement group: each holder is named with what it holds."""
    half = Model.options(num_gpus=0.5, name="half").remote()
    assert ray.get(half.place.remote(), timeout=60) == ("A100", ["0"])
    by_label = Model.options(num_gpus=0.25, label_selector={"ray.io/accelerator-type": "H100"}, name="label").remote()
    assert ray.get(by_label.place.remote(), timeout=60)[0] == "H100"
    group = ray.util.placement_group([{"GPU": 1}])
    ray.get(group.ready(), timeout=60)
    strategy = ray.util.scheduling_strategies.PlacementGroupSchedulingStrategy(group)
    grouped = Model.options(num_gpus=1, scheduling_strategy=strategy, name="grouped").remote()
    ray.get(grouped.place.remote(), timeout=60)

    found = {h.name: h for row in cluster.gpus().rows for h in row.holders}
    assert {name: holder.gpus for name, holder in found.items()} == {"half": 0.5, "label": 0.25, "grouped": 1.0}
    assert {holder.kind for holder in found.values()} == {"actor"}
    assert {holder.job for holder in found.values()} == {ray.get_runtime_context().get_job_id()}
    for actor in (half, by_label, grouped):
        ray.kill(actor)
    ray.util.remove_placement_group(group)


def test_a_running_task_holds_a_gpu_until_it_ends(cluster, until):
    """A task with `accelerator_type` is listed while it runs, on the node of that type, and not after."""
    reference = held.remote(3600)
    found = until(lambda: [h for row in cluster.gpus().rows for h in row.holders if h.kind == "task"], "the task")
    assert [(holder.name, holder.gpus) for holder in found] == [("held", 1.0)]
    ray.cancel(reference, force=True)
    until(lambda: not any(h.kind == "task" for row in cluster.gpus().rows for h in row.holders), "the task's end")


CONNECT = f"import azray_lab, ray\ncluster = azray_lab.attach({NAME!r}).connect(log_to_driver=False)"
LAUNCH = """@ray.remote(num_cpus=0, num_gpus=0.5)
class Holder:
    def ready(self): return True

def launch(name):
    return Holder.options(name=name).remote()"""
USE = "# a comment, so that the line is not the first\nholder = launch('mine')\nray.get(holder.ready.remote())"


@pytest.mark.usefixtures("cluster")
def test_the_cell_that_launched_a_holder_is_named_in_its_kernel():
    """A real kernel: the report names the cell and line that called `.remote()`; what others launched has no cell."""
    other = Model.options(num_gpus=0.5, name="not mine").remote()
    ray.get(other.place.remote(), timeout=60)
    sources = [CONNECT, LAUNCH, USE, "sorted((h.name, h.cell) for row in cluster.gpus().rows for h in row.holders)"]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()
    assert cells[-1].outputs[0].data["text/plain"] == "[('mine', 'In[2], line 6'), ('not mine', '')]"
    ray.kill(other)


def test_more_than_there_is_fails_with_the_reason_and_the_way_out():
    """Without `pretend`, `plan` is blocked and `up` fails at once, leaving nothing; the hint names type and count."""
    spec = {"name": "greedy", "head": {"gpus": {"type": "H100", "count": 64}}}
    hint = r"wants 64 H100 GPUs: this machine has .*\{count: 64, type: H100, pretend: true\}"
    (blocker,) = azray_lab.plan(spec).to_dict()["blockers"]
    with pytest.raises(ResourceError, match=hint) as caught:
        azray_lab.up(spec)
    assert blocker == str(caught.value)
    assert "greedy" not in [each.name for each in azray_lab.clusters()]
