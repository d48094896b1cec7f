"""A Ray dashboard on the wire without a Ray behind it: as many nodes as wanted, for tests and figures of what reads it.

    with run_dashboard(nodes=1000) as ray:
        handle = ray.register("big")        # `azray_lab.attach("big")` finds it
        ray.use("worker-7", cpu=1.0)

It answers `/api/v0/nodes`, `actors` and `tasks`, `/nodes?view=summary`, `/api/jobs/`, `/api/jobs/ID`,
`/api/jobs/ID/stop` and `/api/version` as Ray 2.60 does, as far as AzRay Lab reads them. Its nodes are one process that
sleeps, so that they can die.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psutil

from azray_lab import registry
from azray_lab.targets.base import Handle

_SLEEP = "import time; time.sleep(3600)"
_GIB = 2**30


class FakeRay:
    """The state that the dashboard tells, and counts of what it was asked."""

    def __init__(self, url: str, nodes: int, gpus: int, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.names = ["head", *(f"worker-{number}" for number in range(1, nodes))]
        self.jobs: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.free = threading.Event()
        """Cleared, no question is answered, as with a dashboard that hangs."""
        self.free.set()
        self._gpus = gpus
        self._used: dict[str, dict[str, float]] = {}
        self._actors: list[dict[str, Any]] = []
        self._folder = folder
        self._process = process

    def use(self, node: str, *, cpu: float = 0.0, gpu: float = 0.0, memory: float = 0.25) -> None:
        """Sets what a node has in use: CPUs, GPUs, and the share of its memory."""
        self._used[node] = {"cpu": cpu, "gpu": gpu, "memory": memory}

    def add_job(self, job: str, entrypoint: str, status: str = "RUNNING") -> None:
        """Adds a job that was submitted."""
        row = {"submission_id": job, "type": "SUBMISSION", "status": status, "entrypoint": entrypoint}
        self.jobs.append({**row, "job_id": None, "start_time": int(time.time() * 1000), "end_time": None})

    def add_actor(self, name: str, node: str, gpus: float) -> None:
        """Adds an actor that holds GPUs of a node."""
        row = {"actor_id": secrets.token_hex(16), "job_id": "01000000", "class_name": name, "pid": None}
        self._actors.append({**row, "node_id": self._id(node), "required_resources": {"GPU": gpus}})

    def kill(self) -> None:
        """Ends the process that stands for the nodes."""
        self._process.kill()
        self._process.wait()

    def register(self, name: str) -> Handle:
        """Puts a handle into the registry of AZRAY_HOME that leads to this dashboard."""
        started = psutil.Process(self._process.pid).create_time()
        node = {"pid": self._process.pid, "started": started, "session": 0, "group": "worker", "ip": "127.0.0.1"}
        state = self._folder / name
        state.mkdir()
        token = state / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        workers = [{"name": "worker", "count": len(self.names) - 1}]
        details = {"nodes": dict.fromkeys(self.names, node), "state_dir": str(state), "runtime_dir": str(state)}
        handle = Handle(
            name=name,
            target="local",
            id=secrets.token_hex(8),
            spec={"name": name, "target": "local", "workers": workers},
            created=time.time(),
            phase="up",
            address=self.url.removeprefix("http://"),
            dashboard_url=self.url,
            token_path=str(token),
            details=details,
        )
        registry.save(handle)
        return handle

    # What Ray answers.

    def answer(self, path: str) -> Any:
        """The JSON of one path; None for one that is not known."""
        if path.startswith("/api/v0/nodes"):
            return _listed([self._row(name) for name in self.names])
        if path.startswith(("/api/v0/actors", "/api/v0/tasks")):
            return _listed(self._actors if "actors" in path else [])
        if path.startswith("/nodes"):
            held = {self._id(name): self._held(name) for name in self.names}
            summary = [self._summary(name) for name in self.names]
            return {"result": True, "data": {"summary": summary, "nodeLogicalResources": held}}
        if path.startswith("/api/jobs/") and path != "/api/jobs/":
            return self._job(path.removeprefix("/api/jobs/"))
        return {"/api/jobs/": self.jobs, "/api/version": {"session_name": "session_fake"}}.get(path)

    def stop(self, path: str) -> Any:
        """The JSON of a POST to `/api/jobs/ID/stop`, which ends the job at once; None for everything else."""
        parts = path.split("/")
        job = self._job(parts[3]) if parts[1:3] == ["api", "jobs"] and parts[4:] == ["stop"] else None
        if job is None:
            return None
        running = job["status"] in {"PENDING", "RUNNING"}
        if running:
            job |= {"status": "STOPPED", "end_time": int(time.time() * 1000)}
        return {"stopped": running}

    def _job(self, quoted: str) -> dict[str, Any] | None:
        return next((job for job in self.jobs if job["submission_id"] == unquote(quoted)), None)

    def _id(self, name: str) -> str:
        return name.encode().hex().ljust(56, "0")

    def _row(self, name: str) -> dict[str, Any]:
        resources = {"CPU": 4.0, "memory": 8.0 * _GIB, "object_store_memory": 2.0 * _GIB}
        if self._gpus:
            resources["GPU"] = float(self._gpus)
        row = {"node_id": self._id(name), "node_name": name, "node_ip": "127.0.0.1", "state": "ALIVE"}
        return {**row, "is_head_node": name == "head", "resources_total": resources, "labels": {"azray.io/node": name}}

    def _held(self, name: str) -> str:
        used = self._used.get(name, {})
        lines = [f"{used.get('cpu', 0.0)}/4.0 CPU", "0B/8.00GiB memory", "0B/2.00GiB object_store_memory"]
        return "\n".join([*lines, *([f"{used.get('gpu', 0.0)}/{self._gpus}.0 GPU"] if self._gpus else [])])

    def _summary(self, name: str) -> dict[str, Any]:
        share = self._used.get(name, {}).get("memory", 0.25)
        raylet: dict[str, Any] = {
            "nodeId": self._id(name),
            "nodeName": name,
            "state": "ALIVE",
            "nodeManagerHostname": f"host-{name}",
        }
        raylet |= {"objectStoreUsedMemory": 2**20, "objectStoreAvailableMemory": 2 * _GIB - 2**20}
        memory = [8 * _GIB, 8 * _GIB * (1 - share), 100 * share, 8 * _GIB * share]
        return {"cpu": 12.5, "mem": memory, "gpus": self._devices(name), "raylet": raylet}

    def _devices(self, name: str) -> list[dict[str, Any]]:
        """The GPUs as a node's agent reports them, half of their memory in use; memory in MiB."""
        busy = 100 * self._used.get(name, {}).get("gpu", 0.0) / max(self._gpus, 1)
        kind = {"name": "NVIDIA A100-SXM4-80GB", "memoryTotal": 81_920, "memoryUsed": 40_960, "temperatureC": 41}
        ids = [(number, f"GPU-{name}-{number}") for number in range(self._gpus)]
        return [{**kind, "index": number, "uuid": uuid, "utilizationGpu": busy} for number, uuid in ids]


def _listed(rows: list[dict[str, Any]]) -> Any:
    return {"result": True, "data": {"result": {"result": rows, "total": len(rows)}}}


class _Handler(BaseHTTPRequestHandler):
    """Answers requests out of `server.ray`."""

    server: Any

    def do_GET(self) -> None:
        """One question."""
        self._reply(self.server.ray.answer)

    def do_POST(self) -> None:
        """One request to do something."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._reply(self.server.ray.stop)

    def _reply(self, ask: Callable[[str], Any]) -> None:
        ray: FakeRay = self.server.ray
        ray.asked[self.path.partition("?")[0]] += 1
        ray.free.wait()
        answer = ask(self.path)
        body = json.dumps(answer).encode()
        # Whoever asked may have lost patience.
        with contextlib.suppress(ConnectionError):
            self.send_response(404 if answer is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_words: Any) -> None:
        """Says nothing."""


@contextlib.contextmanager
def run_dashboard(nodes: int = 3, gpus: int = 0) -> Iterator[FakeRay]:
    """The dashboard of a cluster of so many nodes with 4 CPUs each, on a free port of 127.0.0.1, until the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    with (
        tempfile.TemporaryDirectory(prefix="azray-fake-") as folder,
        subprocess.Popen([sys.executable, "-c", _SLEEP]) as process,
    ):
        ray = FakeRay(f"http://127.0.0.1:{server.server_port}", nodes, gpus, Path(folder), process)
        server.ray = ray  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, name="fake-ray", daemon=True).start()
        try:
            yield ray
        finally:
            ray.free.set()
            server.shutdown()
            server.server_close()
            process.kill()
