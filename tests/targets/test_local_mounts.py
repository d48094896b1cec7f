"""Mounts of a local cluster: there before its nodes, watched, gone after `down`; on Azurite, with or without FUSE."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab import registry
from azray_lab.errors import BlobNotFoundError
from azray_lab.operation import Operation
from azray_lab.planning import plan
from azray_lab.spec import settings
from azray_lab.spec.models import ClusterSpec
from azray_lab.storage.blobfuse.records import Records
from azray_lab.targets.local import mounts

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster
    from azray_lab.testing.azurite import Azurite

pytestmark = pytest.mark.azurite
SMALL = {"cpus": 1, "object_store_memory": "80MiB"}


@pytest.fixture(scope="module")
def place(azurite: Azurite, azray_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for mounts; the environment points at an account whose container `data` has small blobs."""
    del azray_home
    os.environ.update(azurite.environment())
    azurite.container("data")
    files = azray_lab.filesystem("az://")
    for number in range(60):
        files.pipe_file(f"data/set/{number}.txt", str(number).encode())
    return Path(os.path.realpath(tmp_path_factory.mktemp("mounts")))


@pytest.fixture(autouse=True)
def _account(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in azurite.environment().items():
        monkeypatch.setenv(name, value)


def _spec(place: Path, name: str, **mount: Any) -> ClusterSpec:
    mounts = [{"uri": "az://data/set", "path": str(place / name), **mount}]
    return ClusterSpec.model_validate({"name": name, "head": SMALL, "mounts": mounts, "lease": {"idle": "30s"}})


@pytest.fixture(scope="module")
def cluster(place: Path) -> Iterator[Cluster]:
    """A cluster with one mount, ended at the end."""
    running = azray_lab.up(_spec(place, "kept", profile="dataset"))
    yield running
    running.down()


@pytest.mark.ray
@pytest.mark.slow
class TestMounts:
    """Tests in this order share one cluster; the last one ends it."""

    def test_the_folder_is_there_for_the_nodes_and_in_the_status(self, cluster: Cluster, place: Path) -> None:
        """A task reads a blob as a file; status, handle and views name the mount, and no secret."""
        import ray

        cluster.connect(log_to_driver=False)
        path = str(place / "kept" / "7.txt")

        @ray.remote
        def read() -> str:
            return Path(path).read_text()

        assert ray.get(read.remote(), timeout=60) == "7"
        del read
        cluster.disconnect()
        [mount] = cluster.status().mounts
        assert (mount.path, mount.uri, mount.state) == (str(place / "kept"), "az://data/set", "mounted")
        assert cluster.handle.details["mounts"] == [str(place / "kept")]
        assert f"az://data/set at {place / 'kept'}: mounted" in repr(cluster)
        assert "AccountKey" not in str(cluster.handle.to_dict())

    def test_one_task_asks_for_a_mount_of_its_own(self, cluster: Cluster, place: Path) -> None:
        """A runtime environment mounts for the task, the status shows it, and a wrong one fails with its reason."""
        import ray
        from ray.exceptions import RuntimeEnvSetupError

        cluster.connect(log_to_driver=False)
        own = place / "own"

        def read(path: str) -> str:
            return Path(path).read_text()

        def asking(**mount: str) -> Any:
            return ray.remote(read).options(runtime_env={"azray_mounts": [{"uri": "az://data/set", **mount}]})

        good = asking(path=str(own), profile="dataset")
        assert ray.get(good.remote(str(own / "7.txt")), timeout=120) == "7"
        bad = asking(path=str(place / "bad"), profile="fast")
        with pytest.raises(RuntimeEnvSetupError, match="'dataset', 'checkpoints', 'models' or 'shared'"):
            ray.get(bad.remote("x"), timeout=120)
        cluster.disconnect()
        assert {mount.path for mount in cluster.status().mounts} == {str(place / "kept"), str(own)}

    def test_up_again_is_the_same_cluster_with_the_same_mount(self, cluster: Cluster, place: Path) -> None:
        """Nothing is mounted twice."""
        azray_lab.up(_spec(place, "kept", profile="dataset"))
        assert len([record for record in Records() if record.path == str(place / "kept")]) == 1
        assert cluster.state == "running"

    def test_the_watchdog_brings_back_what_was_taken_away(self, cluster: Cluster, place: Path) -> None:
        """Without anybody asking, the folder is there again, and the watchdog says so in its log."""
        path = place / "kept"
        _take_away(path)
        operation: Operation[Any] = Operation("test")
        operation.wait_for((path / "7.txt").exists, reason="the folder to be back", seconds=120)
        operation.wait_for(lambda: cluster.state == "running", reason="the status to say so", seconds=60)
        assert any("is there again" in line for line in cluster.logs("watchdog"))

    def test_a_node_that_joins_later_finds_the_folder(self, cluster: Cluster, place: Path) -> None:
        """Taken away just before a worker joins, it is there again for a task on that very node."""
        _take_away(place / "kept")
        spec = _spec(place, "kept", profile="dataset")
        more = spec.model_dump(mode="json", exclude_unset=True) | {"workers": [{"name": "more", "count": 1, **SMALL}]}
        azray_lab.up(ClusterSpec.model_validate(more))
        cluster.connect(log_to_driver=False)
        assert _read_on("more-1", str(place / "kept" / "7.txt")) == "7"
        cluster.disconnect()

    def test_down_takes_it_away_and_proves_it(self, cluster: Cluster, place: Path) -> None:
        """After `down` neither folder nor record is left; a second one does no harm."""
        cluster.down()
        assert list(place.iterdir()) == []
        assert list(Records()) == []
        cluster.down()


def _read_on(node: str, path: str) -> str:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray has no types for it
    [there] = [one["NodeID"] for one in nodes if one["NodeName"] == node]
    strategy: Any = NodeAffinitySchedulingStrategy(there, soft=False)
    read = ray.remote(scheduling_strategy=strategy)(lambda: Path(path).read_text())
    return str(ray.get(read.remote(), timeout=120))


def _take_away(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
        path.mkdir()
    else:
        subprocess.run(["umount", "-l", str(path)], check=True, timeout=20)


def test_a_mount_that_fails_stops_up_before_any_node(place: Path, fresh_home: Path) -> None:
    """A container that is not there: the error is the mount's, and neither folder, process nor handle stays."""
    del fresh_home
    spec = _spec(place, "failing", profile="dataset")
    wrong = spec.model_copy(update={"mounts": (spec.mounts[0].model_copy(update={"uri": "az://nowhere"}),)})
    with pytest.raises(BlobNotFoundError, match="azray blob ls"):
        azray_lab.up(wrong)
    assert registry.names() == []
    assert not (place / "failing").exists()
    assert not list((settings.state_dir() / "local").glob("*"))


def test_the_plan_says_what_will_be_and_what_cannot(place: Path, tmp_path: Path) -> None:
    """Where there is no blobfuse2 the plan is blocked, unless the spec allows a copy or the data may need no FUSE."""
    os.environ["PATH"] = str(tmp_path)
    needs = plan(_spec(place, "planned", profile="checkpoints"))
    assert any("blobfuse2 is not installed" in blocker for blocker in needs.body.blockers)
    allowed = plan(_spec(place, "planned", profile="checkpoints", fallback="copy"))
    assert allowed.body.blockers == ()
    assert any("will be a read-only copy" in note for note in allowed.body.notes)
    assert plan(_spec(place, "planned", profile="dataset")).body.blockers == ()
    assert not (place / "planned").exists()


def test_the_nodes_load_our_plugin_beside_the_user_s() -> None:
    """Ray's list of plugins keeps what is there, gets ours once, and is left alone when it is no list."""
    theirs = '[{"class": "my.Plugin"}]'
    once = mounts.plugins(theirs)
    assert [one["class"].rpartition(".")[2] for one in json.loads(once)] == ["Plugin", "MountPlugin"]
    assert mounts.plugins(once) == once
    assert mounts.plugins("no JSON") == "no JSON"
    from azray_lab.storage.blobfuse.ray_plugin import MountPlugin

    [named] = json.loads(mounts.plugins(""))
    assert named["class"] == f"{MountPlugin.__module__}.{MountPlugin.__name__}"


@pytest.mark.parametrize("wrong", [[{"uri": "az://data"}], [{"uri": "az://a", "path": "relative"}], {"uri": "az://a"}])
def test_a_task_that_asks_wrongly_is_told_what_is_wrong(wrong: Any) -> None:
    """Ray shows a ValueError of the plugin to whoever asked."""
    from azray_lab.storage.blobfuse.ray_plugin import MountPlugin

    with pytest.raises(ValueError, match=r"path|list"):
        MountPlugin.validate({"azray_mounts": wrong})
    MountPlugin.validate({"azray_mounts": [{"uri": "az://data", "path": "/mnt/data"}]})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([{"uri": "az://data", "pth": "/m"}], "0.pth is no setting of a mount. Did you mean 'path'?"),
        ("az://data", "azray_mounts: its value: Input should be a valid list"),
        ([{"uri": "az://data", "path": "/m", "engine": "hydrate", "read_only": False}], "contradict each other"),
    ],
)
def test_what_is_wrong_in_a_task_s_mount_is_one_line(wrong: Any, words: str) -> None:
    """As the spec tells it: the place, and the key that was probably meant."""
    from azray_lab.storage.blobfuse.ray_plugin import MountPlugin

    with pytest.raises(ValueError, match="azray_mounts") as caught:
        MountPlugin.validate({"azray_mounts": wrong})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
