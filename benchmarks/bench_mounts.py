"""Mounts against blobfuse2's own defaults, and a data set of small files, at 0 and 10 ms from the service.

    python benchmarks/bench_mounts.py [MiB of the large file] [small files]

The service is a fast one in memory, without delay, and with 10 ms for every answer and 60 MB/s a connection. Every read
is of a fresh mount, in a process of its own. The peers are blobfuse2 as it comes: `file cache` is what it does when
nothing is said, `block cache` the same with --block-cache. Needs blobfuse2 on PATH, FUSE and root; else it says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from measure import Figure, home, report

import azray_lab
from azray_lab.storage.blobfuse import mountinfo, program
from azray_lab.testing.azurite import ACCOUNT, KEY
from azray_lab.testing.blob_server import BlobServer, run_blob_server

MIB = 1024 * 1024
LARGE = int(sys.argv[1]) if sys.argv[1:] else 256
SMALL = int(sys.argv[2]) if sys.argv[2:] else 1000
READS = 200
SECONDS = 300
MOST_MEMORY = 400
# (latency in seconds, bytes a second of a connection)
SERVICES = {"no delay": (0.0, 0.0), "10 ms": (0.010, 60e6)}
_WORK = """
import json, os, random, sys, time
verb, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
began = time.perf_counter()
if verb == "whole":
    with open(os.path.join(folder, "large"), "rb", buffering=0) as file:
        while file.read(1 << 20): pass
elif verb == "random":
    rng = random.Random(1)
    with open(os.path.join(folder, "large"), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        for _ in range(count):
            file.seek(rng.randrange(size - 65536)); file.read(65536)
elif verb == "small":
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb", buffering=0) as file: file.read()
elif verb == "write":
    with open(os.path.join(folder, "checkpoint"), "wb", buffering=0) as file:
        block = os.urandom(1 << 20)
        for _ in range(count): file.write(block)
print(json.dumps(time.perf_counter() - began))
"""


def work(verb: str, folder: str, count: int) -> float:
    """Seconds that a process of its own takes for it."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _WORK, verb, folder, str(count)],
        check=True, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    return float(json.loads(done.stdout))


@contextlib.contextmanager
def default(server: BlobServer, path: Path, folder: str, *, blocks: bool) -> Iterator[str]:
    """A mount as blobfuse2 makes it when nobody says anything."""
    path.mkdir(exist_ok=True)
    state = Path(tempfile.mkdtemp(dir=path.parent))
    content = {
        "default-working-dir": str(state), "block-cache": blocks, "logging": {"type": "silent"},
        "file_cache": {"path": str(state / "cache")},
        "azstorage": {"type": "block", "endpoint": server.endpoint, "use-http": True, "mode": "key",
                      "container": "data", "subdirectory": folder},
    }  # fmt: skip
    if blocks:
        del content["file_cache"]
    config = state / "config.yaml"
    config.write_text(json.dumps(content))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    environment |= {"AZURE_STORAGE_ACCOUNT": ACCOUNT, "AZURE_STORAGE_ACCESS_KEY": KEY, program.MARK: str(path)}
    command = ["blobfuse2", "mount", str(path), f"--config-file={config}", "--disable-version-check"]
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=60)
    try:
        yield str(path)
    finally:
        subprocess.run(["blobfuse2", "unmount", str(path)], check=False, capture_output=True, timeout=SECONDS)
        while program.serving(str(path)):
            time.sleep(0.05)


@contextlib.contextmanager
def ours(path: Path, folder: str, profile: str) -> Iterator[str]:
    """A mount of ours; what its process takes at the end is kept in `peaks`."""
    with azray_lab.mount(f"az://data/{folder}", path, profile=profile, cache=path.parent / "cache") as mount:
        yield str(mount.path)
        pid = mount.health().pid
        if pid:
            status = Path(f"/proc/{pid}/status").read_text()
            peaks.append(int(status.partition("VmHWM:")[2].split()[0]) / 1024)


peaks: list[float] = []


def best(rounds: int, once: Callable[[], float]) -> float:
    """The least of some rounds: others on the machine only ever add."""
    return min(once() for _ in range(rounds))


def measured(server: BlobServer, base: Path, label: str, rounds: int) -> list[Figure]:
    """The figures on one service."""
    names = (base / str(number) for number in range(10_000))

    def peer(verb: str, folder: str, count: int, *, blocks: bool) -> float:
        def once() -> float:
            with default(server, next(names), folder, blocks=blocks) as path:
                return work(verb, path, count)

        return best(rounds, once)

    def mine(verb: str, folder: str, count: int, profile: str) -> float:
        def once() -> float:
            with ours(next(names), folder, profile) as path:
                return work(verb, path, count)

        return best(rounds, once)

    def epoch() -> float:
        shutil.rmtree(base / "cache", ignore_errors=True)
        began = time.perf_counter()
        with ours(next(names), "small", "dataset") as path:
            work("small", path, 0)
            return time.perf_counter() - began

    out = []

    def add(name: str, own: float, other: float, peer_name: str, wanted: float | None) -> None:
        ratio = other / own
        target = f">= {wanted:g}x" if wanted else ""
        met = ratio >= wanted if wanted else None
        out.append(Figure(f"{label}: {name}", own, "s", other, peer_name, target, met, ratio))

    slow = label != "no delay"
    whole = mine("whole", "large", 0, "models")
    add(f"{LARGE} MiB in order", whole, peer("whole", "large", 0, blocks=True), "block cache", 2.2 if slow else None)
    add(f"{LARGE} MiB in order", whole, peer("whole", "large", 0, blocks=False), "file cache", None)
    pieces = mine("random", "columns", READS, "dataset")
    add(f"{READS} x 64 KiB at random", pieces, peer("random", "columns", READS, blocks=True), "block cache", 3.0)
    epochs = best(rounds, epoch)
    wanted = 30.0 if slow else 8.0
    add(f"{SMALL} x 100 KiB, first epoch", epochs, peer("small", "small", 0, blocks=False), "file cache", wanted)
    written = mine("write", "out", LARGE, "checkpoints")
    add(f"{LARGE} MiB written", written, peer("write", "out", LARGE, blocks=False), "file cache", 1.2)
    return out


def main() -> int:
    """Measures and prints."""
    if not shutil.which("blobfuse2") or not os.access("/dev/fuse", os.W_OK) or os.geteuid():
        print("mounts: not measured: needs blobfuse2 on PATH, /dev/fuse and root")
        return 0
    figures: list[Figure] = []
    with home() as environment, tempfile.TemporaryDirectory(prefix="azray-bench-") as folder:
        os.environ.update(environment)
        base = Path(os.path.realpath(folder))
        try:
            for label, (latency, rate) in SERVICES.items():
                with run_blob_server(latency=latency, rate=rate) as server:
                    os.environ.update(server.environment())
                    block = os.urandom(MIB)
                    server.seed("data", "large/large", 1, block, LARGE)
                    server.seed("data", "columns/large", 1, block, LARGE)
                    server.seed("data", "columns/x.parquet", 1, block, LARGE + 1)
                    server.seed("data", "small/{:05d}", SMALL, os.urandom(100 * 1024))
                    server.seed("data", "out/none", 1, b"x")
                    figures += measured(server, base, label, 1 if latency else 2)
        finally:
            for there in mountinfo.read():
                if there.path.startswith(f"{base}/"):
                    for process in program.serving(there.path):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.kill()
                    subprocess.run(["umount", "-l", there.path], check=False, capture_output=True, timeout=20)
    peak = max(peaks)
    figures.append(
        Figure("memory of a mount, at most", peak, "MiB", target=f"<= {MOST_MEMORY} MiB", met=peak <= MOST_MEMORY)
    )
    return report("mounts, the best of one or two rounds", figures)


if __name__ == "__main__":
    sys.exit(main())
