"""Faults of the local target: kills, broken starts, small machines. Nothing of a cluster may stay."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import azray_lab
from azray_lab import registry
from azray_lab.cluster import Cluster, up_operation
from azray_lab.errors import CancelledError, ClusterLostError, PortTakenError, StartError
from azray_lab.operation import Operation
from azray_lab.spec import settings
from azray_lab.spec.models import ClusterSpec
from azray_lab.targets.base import Handle
from azray_lab.targets.local import commands, teardown
from azray_lab.targets.local.folders import Folders
from azray_lab.targets.local.machine import Share
from azray_lab.targets.local.target import LocalTarget

pytestmark = pytest.mark.ray


def wait_until(check: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """Polls a condition; fails naming what was waited for."""
    operation: Operation[Any] = Operation("test")
    return operation.wait_for(check, reason=what, seconds=seconds)


def leftovers(handle: Handle) -> list[str]:
    """What is left of a cluster: processes, folders, memory."""
    folders = Folders.of(handle)
    left = [f"process {p.pid}" for p in teardown.processes(handle)]
    left += [str(p) for p in (folders.state, folders.runtime) if p.exists()]
    return left


@pytest.fixture
def cluster(fresh_home: Path) -> Iterator[Cluster]:
    """A cluster with one worker, ended at the end."""
    del fresh_home
    running = azray_lab.up(name="faults", workers=1)
    yield running
    running.down()


def _process(cluster: Cluster, name: str, node: str = "head") -> psutil.Process:
    for process in teardown.processes(cluster.handle):
        if process.name().startswith(name) and process.environ().get("AZRAY_NODE") == node:
            return process
    raise AssertionError(f"no {name} on {node}")


@pytest.mark.slow
def test_kill_9_of_the_head_shows_as_lost_and_up_repairs_it(cluster: Cluster) -> None:
    """Each of the head's main processes may be killed: the state says lost and why, `up` repairs, nothing stays."""
    before = cluster.handle
    _process(cluster, "gcs_server").kill()
    status = wait_until(lambda: (s := cluster.status()).state == "lost" and s, "the loss to show")
    assert "gcs_server" in status.reason
    with pytest.raises(ClusterLostError, match="azray up --name faults"):
        _ = cluster.endpoint
    again = azray_lab.up(name="faults", workers=1)
    assert again.state == "running"
    assert again.handle.id != before.id
    assert leftovers(before) == []


@pytest.mark.slow
def test_kill_9_of_the_raylet_and_of_ray_start_leaves_nothing_after_down(cluster: Cluster) -> None:
    """Orphans of a killed raylet and of a killed `ray start` are found by their marks and ended."""
    handle = cluster.handle
    _process(cluster, "raylet").kill()
    psutil.Process(handle.details["nodes"]["head"]["pid"]).kill()
    wait_until(lambda: cluster.status().state == "lost", "the loss to show")
    cluster.down()
    assert leftovers(handle) == []
    assert registry.names() == []


@pytest.mark.slow
def test_a_killed_worker_degrades_and_up_starts_it_again(cluster: Cluster) -> None:
    """A dead worker is named with its reason; `up` with the same spec brings it back without touching the head."""
    head = cluster.handle.details["nodes"]["head"]
    _process(cluster, "raylet", "worker-1").kill()
    status = wait_until(lambda: (s := cluster.status()).state == "degraded" and s, "the loss to show")
    assert "worker-1" in status.reason
    again = azray_lab.up(name="faults", workers=1)
    assert again.state == "running"
    assert again.handle.details["nodes"]["head"] == head


@pytest.mark.slow
def test_a_process_that_hides_is_found(cluster: Cluster) -> None:
    """A program that clears its environment and leaves its parent is still ended, by its session."""
    hiding = (
        "import os,sys\nif os.fork(): sys.exit()\nos.setpgid(0,0)\n"
        "os.execve(sys.executable,[sys.executable,'-c',sys.argv[1]],{})"
    )
    naps = "import time\nprint('hidden', flush=True)\ntime.sleep(600)"
    import ray

    cluster.connect()

    @ray.remote
    def hide() -> None:
        subprocess.run([sys.executable, "-c", hiding, naps], check=True, stdout=subprocess.DEVNULL)

    ray.get(hide.remote())
    del hide
    cluster.disconnect()
    # What it asks in vain for a while is whether the fork has become the program yet.
    [hidden] = wait_until(lambda: _processes_with(naps), "the program to hide")
    assert hidden in teardown.processes(cluster.handle)
    handle = cluster.handle
    cluster.down()
    assert leftovers(handle) == []
    assert not hidden.is_running()


def _processes_with(argument: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [""])[-1] == argument]


def _cli(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "azray_lab", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def _started(name: str) -> Handle:
    found: Handle = wait_until(
        lambda: (h := registry.handle_or_none(name)) and h.details.get("nodes") and h, f"{name} to have a node"
    )
    return found


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_up_leaves_nothing(fresh_home: Path) -> None:
    """SIGINT to `azray up` ends with 130, in one line, and removes all that was started."""
    del fresh_home
    process = _cli("up", "--name", "broken-off")
    handle = _started("broken-off")
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in text
    assert leftovers(handle) == []
    assert registry.names() == []


@pytest.mark.slow
def test_kill_9_in_the_middle_of_up_is_cleaned_by_the_watchdog(fresh_home: Path) -> None:
    """After a kill of `azray up` itself the watchdog ends what it had started and says why; `down` removes the rest."""
    del fresh_home
    process = _cli("up", "--name", "killed")
    handle = _started("killed")
    process.kill()
    process.communicate(timeout=60)
    cluster = azray_lab.attach("killed")
    assert "broken off" in cluster.status().reason
    wait_until(lambda: cluster.status().state == "down", "the watchdog to end it")
    assert "broken off" in cluster.status().reason
    wait_until(lambda: not teardown.processes(handle), "the last process to end")
    cluster.down()
    assert leftovers(handle) == []


@pytest.mark.slow
def test_down_during_up_stops_the_up(fresh_home: Path) -> None:
    """`down` asks the `up` at work to stop, which cleans up and says who asked; nothing stays."""
    del fresh_home
    process = _cli("up", "--name", "hasty")
    handle = _started("hasty")
    azray_lab.attach("hasty").down()
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "azray down hasty" in text
    assert leftovers(handle) == []
    assert registry.names() == []


@pytest.mark.slow
def test_two_ups_of_one_name_make_one_cluster(fresh_home: Path) -> None:
    """Two processes that start one name at once get the same cluster."""
    del fresh_home
    both = [_cli("up", "--name", "twin", "--json") for _ in range(2)]
    outs = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert registry.names() == ["twin"]
    cluster = azray_lab.attach("twin")
    assert len([h for h in LocalTarget().find() if h.name == "twin"]) == 1
    cluster.down()


def test_a_taken_dashboard_port_names_who_has_it(fresh_home: Path) -> None:
    """The error names the port and the process that listens on it; nothing was started."""
    del fresh_home
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=str(os.getpid())) as caught:
            azray_lab.up(name="port", local={"dashboard_port": port})
    assert caught.value.facts["port"] == port
    assert registry.names() == []
    assert not list((settings.state_dir() / "local").glob("*"))


def test_a_start_that_fails_says_what_ray_said_and_leaves_nothing(fresh_home: Path) -> None:
    """What `ray start` refuses is the error's cause, and folders, processes and handle are gone."""
    del fresh_home
    spec = ClusterSpec.model_validate({"name": "refused", "env": {"RAY_gcs_server_port": "1", "RAY_SESSION_DIR": "1"}})
    spec = spec.model_copy(update={"head": spec.head.model_copy(update={"resources": {"CPU": 3}})})
    with pytest.raises(StartError, match="CPU") as caught:
        up_operation(spec).run()
    assert caught.value.facts["node"] == "head"
    assert registry.names() == []
    assert not list((settings.state_dir() / "local").glob("*"))


def test_a_repair_that_fails_keeps_the_lost_cluster_and_why(fresh_home: Path) -> None:
    """After a failed `up` on a lost cluster its handle still says why it was lost, and `down` still ends it."""
    state, runtime = fresh_home / "local" / "aa", fresh_home / "aa"
    Folders(state, runtime).make()
    (state / "head.log").write_text("ray.exceptions.OutOfMemoryError: node died\n")
    head = {"pid": 2**22, "started": 1.0, "session": 2**22, "group": "head", "index": 0, "ip": "127.64.0.1"}
    details = {"state_dir": str(state), "runtime_dir": str(runtime), "nodes": {"head": head}}
    registry.save(Handle("gone", "local", "aa", {"name": "gone"}, time.time(), "up", details=details))
    refused = ClusterSpec(name="gone")
    refused = refused.model_copy(update={"head": refused.head.model_copy(update={"resources": {"CPU": 3}})})
    with pytest.raises(StartError, match="CPU"):
        up_operation(refused).run()
    status = azray_lab.attach("gone").status()
    assert (status.state, status.reason) == ("lost", "the head is gone: ray.exceptions.OutOfMemoryError: node died")
    assert not runtime.exists()
    azray_lab.attach("gone").down()
    assert registry.names() == []


def test_cancelling_the_operation_is_the_same_as_ctrl_c(fresh_home: Path) -> None:
    """An operation in a thread that is cancelled removes what it had made."""
    del fresh_home
    task = up_operation(ClusterSpec(name="cancelled"))
    operation = task.start()
    handle = _started("cancelled")
    operation.cancel("the test asked")
    with pytest.raises(CancelledError, match="the test asked"):
        operation.result(timeout=60)
    assert leftovers(handle) == []


def test_a_runtime_folder_with_a_long_path_is_refused_before_anything_starts(
    fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's sockets would not fit; the error gives the length and the variable to set."""
    monkeypatch.setenv("AZRAY_RUNTIME_DIR", str(fresh_home / ("x" * 60)))
    with pytest.raises(StartError, match="AZRAY_RUNTIME_DIR"):
        azray_lab.up(name="long")
    assert registry.names() == []


def test_without_ray_the_error_is_the_pip_line(tmp_path: Path) -> None:
    """An environment that has everything but Ray gets one line with the command that installs it."""
    site = tmp_path / "site"
    site.mkdir()
    import click

    for entry in Path(click.__file__).parent.parent.iterdir():
        if not entry.name.lower().startswith("ray"):
            (site / entry.name).symlink_to(entry)
    root = str(Path(azray_lab.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-S", "-m", "azray_lab", "up", "--name", "none"],
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{site}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert 'pip install "ray[default]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.root
@pytest.mark.parametrize(
    ("mount", "words"),
    [("mount -t tmpfs -o size=32m tmpfs /dev/shm", "shm is too small"), ("", "no space for a Ray session")],
)
def test_small_shm_and_full_disk_are_clear_errors(fresh_home: Path, tmp_path: Path, mount: str, words: str) -> None:
    """In a mount namespace with a tiny /dev/shm or a tiny runtime disk, `up` says so and leaves nothing."""
    del fresh_home
    runtime = Path(os.environ["AZRAY_RUNTIME_DIR"]) / f"full{len(words)}"
    runtime.mkdir(mode=0o700)
    small = mount or f"mount -t tmpfs -o size=16m,mode=700 tmpfs {runtime}"
    script = f"{small} && exec {sys.executable} -m azray_lab up --name small"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**os.environ, "AZRAY_RUNTIME_DIR": str(runtime)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr
    assert words in done.stderr
    assert registry.names() == []


@pytest.mark.slow
def test_clusters_run_side_by_side(fresh_home: Path) -> None:
    """Two clusters have their own addresses, ports and tokens, and ending one leaves the other running."""
    del fresh_home
    a, b = azray_lab.up(name="a"), azray_lab.up(name="b")
    try:
        assert a.address != b.address
        assert a.dashboard_url != b.dashboard_url
        assert a.endpoint.headers() != b.endpoint.headers()
        handle = a.handle
        a.down()
        assert leftovers(handle) == []
        assert b.state == "running"
    finally:
        a.down()
        b.down()


@pytest.mark.slow
def test_an_idle_lease_ends_the_cluster_and_says_why(fresh_home: Path) -> None:
    """The watchdog ends an idle cluster, keeps the reason for `status`, and `down` forgets it."""
    del fresh_home
    cluster = azray_lab.up(name="leased", lease={"idle": "3s"})
    handle = cluster.handle
    status = wait_until(lambda: (s := cluster.status()).state == "down" and s, "the lease to end")
    assert "lease.idle" in status.reason
    assert (status.nodes, status.address, status.lease.expires) == ((), "", None)
    with pytest.raises(ClusterLostError, match="azray up"):
        cluster.scale(1)
    wait_until(lambda: not teardown.processes(handle), "the processes to end")
    wait_until(lambda: not Folders.of(handle).runtime.exists(), "the runtime folder to go")
    cluster.down()
    assert leftovers(handle) == []
    assert registry.names() == []


@pytest.mark.slow
def test_work_and_extend_keep_a_cluster_alive(fresh_home: Path) -> None:
    """A connected driver counts as work, a lease.max does not ask for work, and `extend` moves both ends."""
    del fresh_home
    cluster = azray_lab.up(name="busy", lease={"idle": "1m", "max": "1h"})
    try:
        cluster.connect()
        watch = Folders.of(cluster.handle).watch
        folders = Folders.of(cluster.handle)
        wait_until(lambda: "driver" in folders.read(watch).get("busy", ""), "the watchdog to see the driver")
        before = cluster.lease
        after = cluster.extend("2h")
        assert before.expires is not None
        assert after.expires is not None
        assert 7190 <= after.expires - before.expires <= 7200
        cluster.disconnect()
        wait_until(lambda: cluster.lease.idle_since, "the cluster to idle")
        assert (cluster.lease.expires or 0) > time.time() + 3600
        assert cluster.state == "running"
    finally:
        cluster.down()


def test_the_command_of_a_node_is_a_pure_function() -> None:
    """The exact command and marks of a head, as `plan` shows and `up` runs it."""
    spec = ClusterSpec.model_validate({"name": "a", "head": {"resources": {"special": 2}, "labels": {"team": "x"}}})
    share = Share(cpus=2, gpus=0, memory=100, object_store=200)
    command = commands.start_command(
        "head", "head", spec, share, ip="127.64.0.1", temp_dir=Path("/t/n0"), dashboard_port=8265, client_port=10001
    )
    assert command[1:] == (
        "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--head", "--port=0",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", "--dashboard-port=8265",
        "--ray-client-server-port=10001", "--node-ip-address=127.64.0.1", "--node-name=head", "--temp-dir=/t/n0",
        "--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2",
        "--num-gpus=0", "--memory=100", "--object-store-memory=200", '--resources={"special": 2}',
        "--labels=azray.io/node=head,ray.io/node-group=head,team=x",
    )  # fmt: skip
    environment = commands.node_environment(
        {"RAY_ADDRESS": "elsewhere", "PATH": "/bin"}, spec, share, cluster_id="1f", name="head", token=Path("/s/token")
    )
    assert "RAY_ADDRESS" not in environment
    assert (environment["AZRAY_CLUSTER_ID"], environment["AZRAY_NODE"]) == ("1f", "head")
    assert environment["RAY_AUTH_TOKEN_PATH"] == "/s/token"
    assert commands.node_ip("1f", 3) == "127.64.31.4"
