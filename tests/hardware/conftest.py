"""A dashboard on the wire that answers as Ray 2.60 does, so that nodes may have hardware which is not here."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from azray_lab.targets.base import Endpoint

MIB = 2**20


@dataclass
class FakeDashboard:
    """What it answers, as tests set it up, and the paths that were asked for."""

    endpoint: Endpoint
    nodes: list[dict[str, Any]] = field(default_factory=list)
    summary: list[dict[str, Any]] = field(default_factory=list)
    actors: list[dict[str, Any]] = field(default_factory=list)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    missing: str = ""

    def node(
        self,
        name: str,
        gpus: list[dict[str, Any]],
        *,
        count: int,
        kind: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Adds a node to which Ray gave `count` GPUs and whose agent reports `gpus`."""
        node_id = f"{len(self.nodes):056x}"
        resources = {"CPU": 8.0, "memory": 2.0**34} | ({"GPU": float(count)} if count else {})
        resources |= {f"accelerator_type:{kind}": 1.0} if kind else {}
        named = {"azray.io/node": name, **(labels or {})}
        row: dict[str, Any] = {
            "node_id": node_id,
            "node_name": name,
            "node_ip": "10.0.0.4",
            "state": "ALIVE",
            "labels": named,
        }
        self.nodes.append(row | {"resources_total": resources, "is_head_node": name == "head"})
        self.summary.append({"gpus": gpus, "raylet": {"nodeId": node_id, "state": "ALIVE"}})

    @staticmethod
    def gpu(index: int, name: str, used: int, total: int, *pids: int, **more: Any) -> dict[str, Any]:
        """A GPU as an agent reports it; memory in MiB, shared evenly by its processes."""
        processes = [{"pid": pid, "gpuMemoryUsage": used // len(pids), "gpuUtilization": None} for pid in pids]
        row: dict[str, Any] = {
            "index": index,
            "name": name,
            "uuid": f"GPU-{index}",
            "utilizationGpu": 50,
            "memoryUsed": used,
        }
        return row | {"memoryTotal": total, "processesPids": processes, "powerMw": None, "temperatureC": 60} | more

    def id(self, name: str) -> str:
        """The id of the node of that name."""
        return str(next(row["node_id"] for row in self.nodes if row["node_name"] == name))

    def actor(self, node: str, name: str, pid: int, resources: dict[str, float], call_site: str | None = None) -> None:
        """Adds an actor that lives."""
        row: dict[str, Any] = {
            "actor_id": f"{pid:x}",
            "class_name": "Model",
            "name": name,
            "state": "ALIVE",
            "job_id": "01000000",
        }
        row |= {"node_id": self.id(node), "pid": pid, "required_resources": resources, "call_site": call_site}
        self.actors.append(row)

    def answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """The document at `path`; rows are filtered by their state as Ray filters them."""
        if path == "/nodes":
            return {"result": True, "data": {"summary": self.summary, "nodeLogicalResources": {}}}
        if path == "/api/jobs/":
            return self.jobs
        rows = {"/api/v0/nodes": self.nodes, "/api/v0/actors": self.actors, "/api/v0/tasks": self.tasks}[path]
        wanted = query.get("filter_values", [])
        return {"data": {"result": {"result": [row for row in rows if not wanted or row["state"] in wanted]}}}


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[FakeDashboard]:
    """The dashboard, listening on loopback."""
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("0" * 64)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            fake.asked.append(url.path)
            body = json.dumps(fake.answer(url.path, parse_qs(url.query))).encode()
            self.send_response(404 if url.path == fake.missing else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake = FakeDashboard(Endpoint("", f"http://127.0.0.1:{server.server_port}", str(token)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield fake
        server.shutdown()
        thread.join()
