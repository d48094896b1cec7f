"""Blob transfers beside azure-storage-blob, adlfs and pyarrow: wall time, CPU seconds and peak memory of each client.

    python benchmarks/blob.py [ROUNDS] [CASE ...]

Each measurement is a process of its own, its imports not counted. The server is ours (`azray_lab.testing.blob_server`),
faster than the clients: at once, with 10 ms before each answer and 60 MB/s on each connection, and over TLS. Azurite,
which is slower than the clients, is there for the CPU seconds only. Files are written to memory (/dev/shm).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import machine

from azray_lab.testing.azurite import run_azurite
from azray_lab.testing.blob_server import run_blob_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MiB = 2**20
SMALL, LARGE, NAMES = 2000, 256 * MiB, 10_000
SLOW = {"latency": 0.01, "rate": 60e6}
THREADS = 32


@dataclass(frozen=True)
class Case:
    """One job on one server, the peers that do it too, and what is promised of the ratio of wall times to each."""

    name: str
    job: str
    server: str
    peers: dict[str, float]
    text: str
    measure: str = "wall"


CASES = (
    Case("small", "small", "fast", {"sdk": 8, "adlfs": 8, "pyarrow": 0}, "2,000 x 100 KiB to files"),
    Case("small-10ms", "small", "slow", {"sdk": 3.5, "adlfs": 3.5, "pyarrow": 0}, "2,000 x 100 KiB to files, 10 ms"),
    Case("small-tls", "small", "tls", {"sdk": 0, "adlfs": 0}, "2,000 x 100 KiB to files, TLS"),
    Case("large", "large", "fast", {"sdk": 1.5, "adlfs": 1.5, "pyarrow": 0}, "256 MiB to a file"),
    Case("large-10ms", "large", "slow", {"sdk": 3, "adlfs": 3, "pyarrow": 0}, "256 MiB to a file, 10 ms"),
    Case("large-tls", "large", "tls", {"sdk": 0, "adlfs": 0}, "256 MiB to a file, TLS"),
    Case("busy", "busy", "tls", {"sdk": 8}, "256 MiB to a file, TLS, beside a busy Python thread"),
    Case("list", "list", "fast", {"sdk": 20, "adlfs": 20, "pyarrow": 0}, "10,000 names"),
    Case("up", "up", "fast", {"sdk": 0, "adlfs": 0, "pyarrow": 0}, "256 MiB from memory up"),
    Case("cpu", "some", "azurite", {"sdk": 5, "adlfs": 0, "pyarrow": 0}, "500 x 100 KiB on Azurite, CPU", "cpu"),
)


# What each client does; runs in a process of its own.


def ours(job: str, folder: Path) -> Callable[[], object]:
    """Our engine."""
    # What it loads at its first request, as nobody's imports are counted.
    import html
    import http.client
    import random
    import ssl
    import urllib.request

    import obstore.store

    from azray_lab import blob
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage import copying, routes
    from azray_lab.storage.engine import engine_for

    del html, http, random, ssl, urllib, obstore, copying, routes
    engine = engine_for(BlobUri.parse("az://data"))
    data = bytes(LARGE) if job == "up" else b""
    jobs: dict[str, Callable[[], object]] = {
        "small": blob.copy("az://data/small", folder, recursive=True).run,
        "some": blob.copy("az://data/some", folder, recursive=True).run,
        "large": lambda: engine.get_file("data", "large", folder / "x"),
        "list": lambda: sum(1 for _ in engine.list("names")),
        "up": lambda: engine.put("data", "up", data),
    }
    return jobs[job]


def sdk(job: str, folder: Path) -> Callable[[], object]:
    """azure-storage-blob, synchronous, with threads for many blobs and its own parallel ranges for a large one."""
    from azure.storage.blob import BlobServiceClient

    # requests, on which it stands, does not read SSL_CERT_FILE.
    trust = {"connection_verify": os.environ["SSL_CERT_FILE"]} if "SSL_CERT_FILE" in os.environ else {}
    service = BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"], **trust)
    container = service.get_container_client("data")
    data = bytes(LARGE) if job == "up" else b""

    def one(name: str) -> None:
        with (folder / name.replace("/", "-")).open("wb") as file:
            container.download_blob(name, max_concurrency=8).readinto(file)

    def many(prefix: str) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, [found.name for found in container.list_blobs(name_starts_with=prefix)]))

    jobs: dict[str, Callable[[], object]] = {
        "small": lambda: many("small/"),
        "some": lambda: many("some/"),
        "large": lambda: one("large"),
        "list": lambda: sum(1 for _ in service.get_container_client("names").list_blobs()),
        "up": lambda: container.upload_blob("up", data, overwrite=True, max_concurrency=8),
    }
    return jobs[job]


def adlfs(job: str, folder: Path) -> Callable[[], object]:
    """The fsspec file system for Azure, as its users call it."""
    import adlfs

    files = adlfs.AzureBlobFileSystem(
        connection_string=os.environ["AZURE_STORAGE_CONNECTION_STRING"], use_listings_cache=False
    )
    data = bytes(LARGE) if job == "up" else b""
    jobs: dict[str, Callable[[], object]] = {
        "small": lambda: files.get("data/small", str(folder), recursive=True),
        "some": lambda: files.get("data/some", str(folder), recursive=True),
        "large": lambda: files.get_file("data/large", str(folder / "x")),
        "list": lambda: len(files.find("names")),
        "up": lambda: files.pipe_file("data/up", data),
    }
    return jobs[job]


def pyarrow(job: str, folder: Path) -> Callable[[], object]:
    """Arrow's C++ file system."""
    from pyarrow import fs

    parts = dict(part.partition("=")[::2] for part in os.environ["AZURE_STORAGE_CONNECTION_STRING"].split(";") if part)
    scheme, _, rest = parts["BlobEndpoint"].partition("://")
    authority = rest.partition("/")[0]
    files = fs.AzureFileSystem(
        account_name=parts["AccountName"], account_key=parts["AccountKey"], blob_storage_authority=authority,
        dfs_storage_authority=authority, blob_storage_scheme=scheme, dfs_storage_scheme=scheme,
    )  # fmt: skip
    here = fs.LocalFileSystem()
    data = bytes(LARGE) if job == "up" else b""

    def up() -> None:
        with files.open_output_stream("data/up") as stream:
            stream.write(data)

    def get(path: str, target: Path) -> None:
        fs.copy_files(path, str(target), source_filesystem=files, destination_filesystem=here, chunk_size=4 * MiB)

    jobs: dict[str, Callable[[], object]] = {
        "small": lambda: get("data/small", folder),
        "some": lambda: get("data/some", folder),
        "large": lambda: get("data/large", folder / "x"),
        "list": lambda: len(files.get_file_info(fs.FileSelector("names", recursive=True))),
        "up": up,
    }
    return jobs[job]


CLIENTS = {"ours": ours, "sdk": sdk, "adlfs": adlfs, "pyarrow": pyarrow}


def work(client: str, job: str) -> None:
    """Does one job with one client and prints what it cost."""
    folder = Path(tempfile.mkdtemp(prefix="azb-", dir="/dev/shm"))
    try:
        do = CLIENTS[client]("large" if job == "busy" else job, folder)
        if job == "busy":
            threading.Thread(target=_spin, daemon=True).start()
        began, cpu = time.perf_counter(), time.process_time()
        spun = time.thread_time()
        do()
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        print(json.dumps({"wall": wall, "cpu": used, "peak": _peak(), "thread": time.thread_time() - spun}), flush=True)
    finally:
        shutil.rmtree(folder)
    os._exit(0)  # the busy thread never ends


def _peak() -> float:
    """MiB. Not `ru_maxrss`, which begins with that of the process that started this one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _spin() -> None:
    number = 0
    while True:
        number += 1


# The measuring process.


@contextlib.contextmanager
def server(kind: str) -> Iterator[dict[str, str]]:
    """The environment of a server of that kind, with its blobs."""
    if kind == "azurite":
        with run_azurite() as azurite:
            azurite.container("data")
            _fill(azurite.environment())
            yield azurite.environment()
        return
    options: dict[str, Any] = {"fast": {}, "slow": SLOW, "tls": {"tls": True}}[kind]
    with run_blob_server(**options) as fast:
        fast.seed("data", "small/{:04}", SMALL, os.urandom(1024), 100)
        fast.seed("data", "large", 1, os.urandom(MiB), LARGE // MiB)
        fast.seed("names", "folder/{:06}.parquet", NAMES, b"x")
        yield fast.environment()


def _fill(environment: dict[str, str]) -> None:
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import engine_for

    engine, data = engine_for(BlobUri.parse("az://data"), environment), os.urandom(100 * 1024)
    for number in range(500):
        engine.put("data", f"some/{number:04}", data)


def measured(client: str, job: str, environment: dict[str, str]) -> dict[str, float]:
    """What one run cost."""
    command = [sys.executable, str(Path(__file__).resolve()), "work", client, job]
    done = subprocess.run(
        command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, timeout=300, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(case: Case, environment: dict[str, str], rounds: int) -> None:
    """Measures a case and prints its lines."""
    clients = ["ours", *case.peers]
    costs: dict[str, list[dict[str, float]]] = {client: [] for client in clients}
    for number in range(rounds):
        for client in clients if number % 2 == 0 else reversed(clients):
            costs[client].append(measured(client, case.job, environment))
    print(f"{case.text} (server: {case.server})")
    for client in clients:
        middle = {key: statistics.median(one[key] for one in costs[client]) for key in ("wall", "cpu", "peak")}
        pairs = zip(costs[client], costs["ours"], strict=True)
        ratio = statistics.median(a[case.measure] / b[case.measure] for a, b in pairs)
        target = case.peers.get(client, 0)
        verdict = "" if not target else f"  target {target:g}x: {'met' if ratio >= target else 'MISSED'}"
        line = f"  {client:8} {middle['wall']:8.3f} s  {middle['cpu']:7.2f} CPU s  {middle['peak']:6.0f} MiB"
        print(line + ("" if client == "ours" else f"  {ratio:6.1f}x{verdict}"), flush=True)


def throttled(rounds: int) -> None:
    """Ten answers of 503 among 2,000 reads: what they cost us beside reads without them."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import engine_for

    with run_blob_server() as fast:
        fast.seed("data", "small/{}", SMALL, b"x" * 1024, 100)
        engine = engine_for(BlobUri.parse("az://data"), fast.environment())
        extra = []
        for _ in range(rounds):
            walls = []
            for rules in ([], [{"method": "GET", "every": 150, "times": 10, "status": 503, "code": "ServerBusy"}]):
                fast.faults(*rules)
                began = time.perf_counter()
                engine.get_many([("data", f"small/{number}") for number in range(SMALL)])
                walls.append(time.perf_counter() - began)
            extra.append(walls[1] - walls[0])
        cost = statistics.median(extra)
        print(f"ten 503 in 2,000 GETs cost {cost:.2f} s  target < 2 s: {'met' if cost < 2 else 'MISSED'}")  # noqa: PLR2004


def door(rounds: int) -> None:
    """Importing the engine, over bare Python."""
    walls: dict[str, list[float]] = {"pass": [], "import azray_lab.storage.engine": []}
    for _ in range(5 * rounds):
        for code, values in walls.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            values.append(time.perf_counter() - began)
    bare, full = (statistics.median(values) * 1000 for values in walls.values())
    cost, most = full - bare, 40
    verdict = "met" if cost <= most else "MISSED"
    print(f"import of the door {cost:.1f} ms over bare Python  target <= {most} ms: {verdict}")


def main() -> int:
    """Measures and prints."""
    words = sys.argv[1:]
    if words[:1] == ["work"]:
        work(words[1], words[2])
    rounds = int(words.pop(0)) if words and words[0].isdigit() else 3
    cases = [case for case in CASES if not words or case.name in words]
    print(f"Blob transfers, medians of {rounds}\n{machine()}")
    for kind in dict.fromkeys(case.server for case in cases):
        with server(kind) as environment:
            for case in cases:
                if case.server == kind:
                    compare(case, environment, rounds)
    if not words or "503" in words:
        throttled(rounds)
    if not words or "import" in words:
        door(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
