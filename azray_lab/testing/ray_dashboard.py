"""A Ray dashboard on the wire without a Ray behind it: as many nodes as wanted, for tests and figures of what reads it.

    with run_dashboard(nodes=1000) as ray:
        handle = ray.register("big")        # `azray_lab.attach("big")` finds it
        ray.use("worker-7", cpu=1.0)

It answers `/api/v0/nodes`, `/nodes?view=summary`, `/api/jobs/` and `/api/version` as Ray 2.60 does, as far as AzRay Lab
reads them. Its nodes are one process that sleeps, so that they can die.
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
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

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
        self._folder = folder
        self._process = process

    def use(self, node: str, *, cpu: float = 0.0, gpu: float = 0.0, memory: float = 0.25) -> None:
        """Sets what a node has in use: CPUs, GPUs, and the share of its memory."""
        self._used[node] = {"cpu": cpu, "gpu": gpu, "memory": memory}

    def add_job(self, job: str, entrypoint: str, status: str = "RUNNING") -> None:
        """Adds a job that was submitted."""
        row = {"submission_id": job, "type": "SUBMISSION", "status": status, "entrypoint": entrypoint}
        self.jobs.append({**row, "job_id": None, "start_time": int(time.time() * 1000), "end_time": None})

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
            rows = [self._row(name) for name in self.names]
            return {"result": True, "data": {"result": {"result": rows, "total": len(rows)}}}
        if path.startswith("/nodes"):
            held = {self._id(name): self._held(name) for name in self.names}
            summary = [self._summary(name) for name in self.names]
            return {"result": True, "data": {"summary": summary, "nodeLogicalResources": held}}
        return {"/api/jobs/": self.jobs, "/api/version": {"session_name": "session_fake"}}.get(path)

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
        return {"cpu": 12.5, "mem": memory, "gpus": [], "raylet": raylet}


class _Handler(BaseHTTPRequestHandler):
    """Answers GET requests out of `server.ray`."""

    server: Any

    def do_GET(self) -> None:
        """One question."""
        ray: FakeRay = self.server.ray
        ray.asked[self.path.partition("?")[0]] += 1
        ray.free.wait()
        answer = ray.answer(self.path)
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
