"""Credentials in Ray's workers: tasks, Tune trials, Train workers and jobs have them, and Ray's records have not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import azray_lab
from azray_lab import jobs
from azray_lab.errors import CredentialError
from azray_lab.testing.blob_server import run_blob_server
from azray_lab.testing.entra import run_entra

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster
    from azray_lab.storage.checkpoints import Checkpoints
    from azray_lab.testing.azurite import Azurite
    from azray_lab.testing.entra import Entra

_SECRET = "s3cret-of-the-app-0815"
_OTHER = "another-s3cret-4711"
_TENANT = "11111111-1111-1111-1111-111111111111"
_CONTENT = b"only with a credential"

_slow = [
    *(pytest.mark.slow, pytest.mark.ray, pytest.mark.azurite, pytest.mark.timeout(600)),
    # Tune and Train use what Ray Data calls deprecated.
    *(pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Entra]:
    """A fake Entra ID with one service principal."""
    with run_entra(tmp_path_factory.mktemp("entra")) as server:
        server.secrets["app"] = _SECRET
        yield server


@pytest.fixture(scope="module")
def cluster(azray_home: Path, azurite: Azurite, entra: Entra) -> Iterator[Cluster]:
    """A cluster whose processes inherit no credential; they trust the fake Entra ID."""
    del azray_home
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(azurite.connection_string) as service:
        service.create_container("private").upload_blob("x", _CONTENT)
    os.environ["REQUESTS_CA_BUNDLE"] = str(entra.ca)
    running = azray_lab.up(name="creds", head={"cpus": 3}, workers=[{"name": "other", "cpus": 1}])
    del os.environ["REQUESTS_CA_BUNDLE"]
    try:
        yield running
    finally:
        running.down()


def _key(azurite: Azurite) -> dict[str, str]:
    return {
        "AZURE_STORAGE_ACCOUNT_URL": azurite.blob_endpoint,
        "AZURE_STORAGE_KEY": azurite.key,
        "AZURE_STORAGE_AUTH_MODE": "account_key",
    }


def _read() -> bytes:
    """What a worker does: our file system, by the variables that it has."""
    import azray_lab

    content: bytes = azray_lab.filesystem("az://private").cat_file("private/x")
    return content


def _environment() -> dict[str, str]:
    """What a worker has in its environment, now and since it began."""
    began = Path("/proc/self/environ").read_text(encoding="utf-8", errors="replace")
    return {**os.environ, "began": began}


def _check() -> str:
    """Why the credentials of this worker open nothing."""
    import azray_lab

    try:
        azray_lab.credentials().check()
    except CredentialError as error:
        return str(error)
    return ""


class _Worker:
    """An actor with a process of its own."""

    def look(self) -> tuple[str, str, list[str]]:
        """A token by Microsoft's library, one by ours, and the secrets in its environment."""
        from azure.identity import ManagedIdentityCredential

        import azray_lab

        scope = "https://storage.azure.com/.default"
        return (
            ManagedIdentityCredential().get_token(scope).token,
            azray_lab.credentials().token_credential().get_token(scope).token,
            [value for value in os.environ.values() if "s3cret" in value],
        )


def _dashboard(cluster: Cluster, path: str) -> str:
    endpoint = cluster.endpoint
    request = urllib.request.Request(endpoint.dashboard_url + path, headers=endpoint.headers())  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
        text: str = answer.read().decode(errors="replace")
    return text


def _leaks(cluster: Cluster, *secrets: str) -> list[str]:
    """The files below the cluster's folders, and the dashboard's answers, in which one of `secrets` stands."""
    found = []
    folders = {Path(cluster.endpoint.token_path).parent, Path(str(cluster.handle.details["runtime_dir"]))}
    for file in (path for folder in folders for path in folder.rglob("*")):
        if file.is_file() and not file.is_symlink():
            content = file.read_bytes()
            found += [str(file) for secret in secrets if secret.encode() in content]
    for path in ("/api/jobs/", "/api/v0/jobs?detail=1", "/api/v0/actors?detail=1", "/api/v0/tasks?detail=1",
                 "/api/v0/workers?detail=1", "/api/v0/runtime_envs?detail=1", "/api/v0/objects?detail=1",
                 "/logical/actors", "/nodes?view=summary"):  # fmt: skip
        text = _dashboard(cluster, path)
        found += [path for secret in secrets if secret in text]
    return found


@pytest.fixture
def connected(cluster: Cluster) -> Iterator[Any]:
    """Connects with a runtime environment, and leaves afterwards."""

    def connect(**arguments: Any) -> Any:
        import ray
        from ray import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]  # untyped
        cluster.connect(runtime_env=azray_lab.runtime_env(cluster, **arguments))
        return ray

    yield connect
    cluster.disconnect()


class TestOnACluster:
    """Everything that needs the module's cluster."""

    pytestmark = _slow

    def test_tasks_read_a_private_container(self, cluster: Cluster, azurite: Azurite, connected: Any):
        """They have a signature; Ray's records have neither that nor the key, and their environment has no key."""
        ray = connected(credentials=_key(azurite), secrets={"OTHER_TOKEN": _OTHER})
        assert ray.get(ray.remote(_read).remote()) == _CONTENT
        found = ray.get(ray.remote(_environment).remote())
        assert found["OTHER_TOKEN"] == _OTHER
        assert found["AZURE_STORAGE_AUTH_MODE"] == "sas"
        assert azurite.key not in "".join(found.values())
        (signed,) = urllib.parse.parse_qs(found["AZURE_STORAGE_SAS_TOKEN"])["sig"]
        assert _leaks(cluster, azurite.key, _OTHER, signed, urllib.parse.quote_plus(signed)) == []

    def test_ray_data_and_tune_keep_their_files_in_blobs(
        self, cluster: Cluster, azurite: Azurite, connected: Any, monkeypatch: pytest.MonkeyPatch
    ):
        """A data set written and read by tasks; a trial that resumes, reads with the credential, and keeps the last."""
        ray = connected(credentials=_key(azurite))
        for name, value in _key(azurite).items():
            monkeypatch.setenv(name, value)
        azurite.container("ray")
        files = azray_lab.filesystem("az://ray")
        ray.data.range(100, override_num_blocks=4).write_parquet("ray/set", filesystem=files)
        assert len(files.find("ray/set")) >= 1
        assert ray.data.read_parquet("ray/set", filesystem=files).sum("id") == 4950
        result = _tuned(azray_lab.checkpoints("az://ray/tune", keep=1))
        assert (result.metrics["found"], result.metrics["content"]) == ("step 1", _CONTENT.decode())
        with result.checkpoint.as_directory() as folder:
            assert (Path(folder) / "state").read_text() == "step 3"
        assert [files.cat_file(name) for name in files.find("ray/tune/run") if name.endswith("/state")] == [b"step 3"]
        # Tune pickles what a run is made of, here and into the storage.
        assert _leaks(cluster, azurite.key) == []
        contents: dict[str, bytes] = files.cat("ray", recursive=True)
        assert [name for name, content in contents.items() if azurite.key.encode() in content] == []

    def test_checkpoints_of_train_are_uploaded_behind_it(
        self, cluster: Cluster, azurite: Azurite, connected: Any, monkeypatch: pytest.MonkeyPatch
    ):
        """Training goes on; whole or not at all; the last two stay; what is killed on one node goes on on another."""
        monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # Ray looks for reports then, too
        head, other = (node.name for node in cluster.status().nodes)
        with run_blob_server() as server:
            server.seed("ray")
            place = azray_lab.checkpoints("az://ray/train", environ=server.environment())
            connected(credentials=_key(azurite))
            steering = server.endpoint.rpartition("/")[0]
            with pytest.raises(Exception, match="died"):
                _trained(place, steering, other)
            result = _trained(place, steering, head)
            assert result.metrics == {"epoch": 2, "node": head, "found": "epoch 1epoch 1", "content": _CONTENT.decode()}
            assert [(one["epoch"], one["node"]) for _, one in result.best_checkpoints] == [(1, other), (2, head)]
            with result.checkpoint.as_directory() as folder:
                assert (Path(folder) / "two.txt").read_text() == "epoch 2"
            assert [place._files.cat_file(name) for name in _texts(place)] == [b"epoch 1"] * 2 + [b"epoch 2"] * 2

    def test_an_identitys_secret_stays_out_of_the_workers(
        self, cluster: Cluster, entra: Entra, connected: Any, monkeypatch: pytest.MonkeyPatch
    ):
        """Two workers get tokens through the keeper, which asked once; neither has the secret in its environment."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(entra.ca))
        given = azray_lab.credentials(
            tenant=_TENANT, client_id="app", client_secret=_SECRET, account="acc", authority=entra.authority
        )
        ray = connected(credentials=given)

        kind = ray.remote(num_cpus=1)(_Worker)
        workers = [kind.remote() for _ in range(2)]
        before = len(entra.asked)
        first, second = ray.get([worker.look.remote() for worker in workers])
        assert first[0] == first[1] == second[0] == second[1]
        assert first[0].endswith("-of-app")
        assert first[2] == second[2] == []
        assert len(entra.asked) == before + 1
        assert _leaks(cluster, _SECRET, first[0]) == []

    def test_a_refused_identity_is_told_in_the_worker(self, entra: Entra, connected: Any):
        """The worker's error has the reason and what mends it, and comes in seconds."""
        given = azray_lab.credentials(
            tenant=_TENANT, client_id="app", client_secret="wrong", account="acc", authority=entra.authority
        )
        ray = connected(credentials=given)

        text = ray.get(ray.remote(_check).remote())
        assert "the client secret is wrong" in text
        assert "az ad app credential reset --id app" in text

    def test_the_keeper_ends_with_its_job(self, cluster: Cluster):
        """Nothing of it keeps a cluster from idling."""

        def keepers() -> list[str]:
            listed = json.loads(_dashboard(cluster, "/api/v0/actors?detail=1"))["data"]["result"]["result"]
            return [actor["state"] for actor in listed if actor["class_name"] == "Keeper"]

        # Ray ends the actors of a driver after it has gone.
        deadline = time.monotonic() + 60
        while set(keepers()) - {"DEAD"}:
            assert time.monotonic() < deadline, keepers()
        assert keepers(), "no test before this one needed a keeper"

    def test_a_jobs_variables_are_in_driver_and_workers_only(self, cluster: Cluster, tmp_path: Path):
        """`azray run -e NAME=VALUE`: the script and its tasks have the value, Ray's records have not."""
        (tmp_path / "job.py").write_text(
            "import os, ray\n"
            "ray.init()\n"
            "print('driver', os.environ['API_KEY'][::-1], os.environ['PYTHONTEST'])\n"
            "task = ray.remote(lambda: os.environ['API_KEY'][::-1])\n"
            "print('worker', ray.get(task.remote()))\n"
        )
        texts: list[str] = []
        work = jobs.script(tmp_path / "job.py")
        env = {"API_KEY": _OTHER, "PYTHONTEST": "plain"}
        result = jobs.run(cluster.endpoint, work, env=env, on_log=texts.append).run()
        log = "".join(texts)
        assert result.exit_code == 0, log
        assert f"driver {_OTHER[::-1]} plain" in log
        assert f"worker {_OTHER[::-1]}" in log
        assert result.entrypoint == "python job.py"
        assert _leaks(cluster, _OTHER) == []

    def test_both_ways_together(self, cluster: Cluster, azurite: Azurite, tmp_path: Path):
        """A job with variables of its own calls `azray_lab.runtime_env` for its tasks."""
        (tmp_path / "job.py").write_text(
            "import os, ray, azray_lab\n"
            "ray.init(runtime_env=azray_lab.runtime_env())\n"
            "def read():\n"
            "    import azray_lab\n"
            "    return azray_lab.filesystem('az://private').cat_file('private/x'), os.environ['API_KEY'][::-1]\n"
            "print(ray.get(ray.remote(read).remote()))\n"
        )
        texts: list[str] = []
        env = {**_key(azurite), "API_KEY": _OTHER}
        work = jobs.command([sys.executable, "job.py"], directory=tmp_path)
        result = jobs.run(cluster.endpoint, work, env=env, on_log=texts.append).run()
        assert result.exit_code == 0, "".join(texts)
        assert repr((_CONTENT, _OTHER[::-1])) in "".join(texts)
        assert _leaks(cluster, _OTHER, azurite.key) == []


def _trained(place: Checkpoints, steering: str, node: str) -> Any:
    """The result of a training of three epochs on `node`, whose first try dies while its third checkpoint is uploaded.

    The service takes no checkpoint's second file until the worker says so, who has gone on then.
    """
    import ray
    from ray import train
    from ray.train.v2.api.config import ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    read = _read

    def loop() -> None:
        first, found = 0, ""
        here = ray.get_runtime_context().get_node_labels()["azray.io/node"]
        if (begun := train.get_checkpoint()) is not None:
            with begun.as_directory() as folder:
                found = (Path(folder) / "one.txt").read_text() + (Path(folder) / "two.txt").read_text()
            first = int(found[-1]) + 1
        for epoch in range(first, 3):
            mine = Path(tempfile.mkdtemp())
            for name in ("one.txt", "two.txt"):
                (mine / name).write_text(f"epoch {epoch}")
            there, known = _texts(place), train.get_checkpoint()
            _steer(steering, "faults", [{"path": "two.txt?comp=block&", "status": 503, "code": "ServerBusy"}])
            place.report({"epoch": epoch, "node": here, "found": found, "content": read().decode()}, mine)
            _wait_for(lambda: _steer(steering, "counts").get("PUT block", 0) >= 2)
            # Both files are on their way, the report is back, and nobody sees anything of it.
            assert (_texts(place), train.get_checkpoint()) == (there, known)
            if epoch == 2 and not found:
                shutil.rmtree(mine)
                os.kill(os.getpid(), signal.SIGKILL)
            _steer(steering, "faults", [])
            train.get_all_reported_checkpoints()  # waits for it

    config = train.RunConfig(
        name="run",
        checkpoint_config=train.CheckpointConfig(num_to_keep=2),
        **place.run_options(),
    )
    scaling = ScalingConfig(num_workers=1, label_selector={"azray.io/node": node})
    return DataParallelTrainer(loop, scaling_config=scaling, run_config=config).fit()


def _texts(place: Checkpoints) -> list[str]:
    """The files of checkpoints that anybody can see in the storage."""
    return [name for name in place._files.find(f"{place.path}/run") if name.endswith(".txt")]


def _steer(steering: str, what: str, rules: list[dict[str, Any]] | None = None) -> Any:
    """Has the Blob server fail, or asks it what it was asked."""
    data = None if rules is None else json.dumps(rules).encode()
    request = urllib.request.Request(f"{steering}/-/{what}", data, method="GET" if data is None else "PUT")  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the same
        return json.loads(answer.read() or "null")


def _wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not check():
        assert time.monotonic() < deadline, "waited 120 s"
        time.sleep(0.05)


def _tuned(place: Checkpoints) -> Any:
    """The result of a trial that fails once after its first checkpoint; then it reports two to Tune itself."""
    from ray import tune

    read = _read

    def trainable(_config: dict[str, Any]) -> None:
        own = place.child(tune.get_context().get_trial_name())
        with tempfile.TemporaryDirectory() as folder:
            saved = own.restore(f"{folder}/back")
            if saved is None:
                with own.saving("one") as target:
                    (target / "state").write_text("step 1")
                own.wait()
                raise RuntimeError("the node is gone")
            found = {"found": (Path(folder) / "back" / "state").read_text(), "content": read().decode()}
            for step in (2, 3):
                mine = Path(folder) / f"step-{step}"
                mine.mkdir()
                (mine / "state").write_text(f"step {step}")
                tune.report({"step": step, **found}, checkpoint=tune.Checkpoint(str(mine)))

    config = tune.RunConfig(
        name="run",
        failure_config=tune.FailureConfig(max_failures=1),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        verbose=0,
        **place.run_options(),
    )
    return tune.Tuner(trainable, run_config=config).fit()[0]
