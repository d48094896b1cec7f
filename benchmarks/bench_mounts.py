"""Mounts against blobfuse2's own defaults, and a data set of small files, at 0 and 10 ms from the service.

    python benchmarks/bench_mounts.py [--large MiB] [--small FILES] [--checkpoint MiB] [--only WORD]

The service is a fast one in memory, without delay, and with 10 ms for every answer and 60 MB/s a connection. Every read
is of a fresh mount, in a process of its own. The peers are blobfuse2 as it comes: `file cache` is what it does when
nothing is said, `block cache` the same with --block-cache, `preload` the same with --preload. What preload has to do
first is counted, as it is for our copies. A checkpoint is there when it is closed, or `wait` returns: all in Blob.
Needs blobfuse2 on PATH, FUSE and root; else it says so.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
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
_parser = argparse.ArgumentParser()
_parser.add_argument("--large", type=int, default=256, help="MiB of the large file")
_parser.add_argument("--small", type=int, default=1000, help="how many small files")
_parser.add_argument("--checkpoint", type=int, default=256, help="MiB of the checkpoint")
_parser.add_argument("--only", default="", help="figures whose name has this word")
WANTED = _parser.parse_args()
LARGE, SMALL, CHECKPOINT = WANTED.large, WANTED.small, WANTED.checkpoint
READS = 200
SECONDS = 300
MOST_MEMORY = 400
# (latency in seconds, bytes a second of a connection)
SERVICES = {"no delay": (0.0, 0.0), "10 ms": (0.010, 60e6)}
CACHES: dict[str, dict[str, bool]] = {
    "file cache": {}, "block cache": {"block-cache": True}, "preload": {"preload": True, "read-only": True},
}  # fmt: skip
SECTIONS = {"file cache": "file_cache", "block cache": "", "preload": "xload"}
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
def default(server: BlobServer, path: Path, folder: str, cache: str) -> Iterator[str]:
    """A mount as blobfuse2 makes it when nobody says anything but which cache."""
    path.mkdir(exist_ok=True)
    state = Path(tempfile.mkdtemp(dir=path.parent))
    content = {
        "default-working-dir": str(state), "logging": {"type": "silent"}, **CACHES[cache],
        "file_cache": {"path": str(state / "cache")}, "xload": {"path": str(state / "cache")},
        "azstorage": {"type": "block", "endpoint": server.endpoint, "use-http": True, "mode": "key",
                      "container": "data", "subdirectory": folder},
    }  # fmt: skip
    for section in {"file_cache", "xload"} - {SECTIONS[cache]}:
        del content[section]
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


class Bench:
    """The figures on one service; each is the best of some rounds, for others on the machine only ever add."""

    def __init__(self, server: BlobServer, base: Path, label: str, rounds: int) -> None:
        self.server = server
        self.base = base
        self.label = label
        self.rounds = rounds
        self.figures: list[Figure] = []
        self._names = (base / str(number) for number in range(10_000))

    def peer(self, cache: str, verb: str, folder: str, count: int = 0) -> float:
        """A default mount's seconds, without those that it takes to mount."""
        with default(self.server, next(self._names), folder, cache) as path:
            return work(verb, path, count)

    def mine(self, profile: str, verb: str, folder: str, count: int = 0) -> float:
        """The same of ours."""
        with ours(next(self._names), folder, profile) as path:
            return work(verb, path, count)

    def epoch(self) -> float:
        """A copy's seconds, with those that it takes to mount, which is when the files come."""
        for old in filter(Path.is_dir, (self.base / "cache").glob("azray-copies/*")):
            old.rename(self.base / f"old-{next(self._names).name}")  # ext4 is slow to make files after it removed many
        began = time.perf_counter()
        with ours(next(self._names), "small", "dataset") as path:
            work("small", path, 0)
            return time.perf_counter() - began

    def preloaded(self) -> float:
        """The same of blobfuse2's preload."""
        began = time.perf_counter()
        with default(self.server, next(self._names), "small", "preload") as path:
            work("small", path, 0)
            return time.perf_counter() - began

    def trained(self, *, whole: bool) -> float:
        """A checkpoint: until training goes on, which is when it lies here; or until it is `whole` in Blob."""
        checkpoints = azray_lab.checkpoints("az://data/train", keep=1)
        block, began = os.urandom(MIB), time.perf_counter()
        with checkpoints.saving("one") as folder, (folder / "checkpoint").open("wb", buffering=0) as file:
            for _ in range(CHECKPOINT):
                file.write(block)
        stood = time.perf_counter() - began
        checkpoints.wait()
        return time.perf_counter() - began if whole else stood

    def add(self, name: str, own: Callable[[], float], *others: tuple[str, Callable[[], float], float | None]) -> None:
        """One line for each of `others`: the peer, its measure, and how much faster ours shall be."""
        if WANTED.only not in name:
            return
        seconds = min(own() for _ in range(self.rounds))
        for peer, other, wanted in others:
            took = min(other() for _ in range(self.rounds))
            target, met = (f">= {wanted:g}x", took / seconds >= wanted) if wanted else ("", None)
            line = Figure(f"{self.label}: {name}", seconds, "s", took, peer, target, met, took / seconds)
            print("  ".join(line.cells()), flush=True)
            self.figures.append(line)

    def run(self) -> list[Figure]:
        """All of them."""
        do, slow = functools.partial, self.label != "no delay"
        file, block = do(self.peer, "file cache"), do(self.peer, "block cache")
        self.add(
            f"{LARGE} MiB in order",
            do(self.mine, "models", "whole", "large"),
            ("block cache", do(block, "whole", "large"), 2.2 if slow else None),
            ("file cache", do(file, "whole", "large"), None),
            ("preload", do(self.peer, "preload", "whole", "large"), None),
        )
        self.add(
            f"{READS} x 64 KiB at random",
            do(self.mine, "dataset", "random", "columns", READS),
            ("block cache", do(block, "random", "columns", READS), 3.0),
        )
        self.add(
            f"{SMALL} x 100 KiB, first epoch",
            self.epoch,
            ("file cache", do(file, "small", "small"), 30.0 if slow else 8.0),
            ("preload", self.preloaded, None),
        )
        written = functools.cache(do(file, "write", "out", CHECKPOINT))
        name = f"{CHECKPOINT} MiB checkpoint by"
        self.add(
            f"{name} a mount", do(self.mine, "checkpoints", "write", "out", CHECKPOINT), ("file cache", written, 1.2)
        )
        self.add(f"{name} azray_lab.checkpoints", do(self.trained, whole=True), ("file cache", written, 4.0))
        self.add(
            f"{name} azray_lab.checkpoints, training waits",
            do(self.trained, whole=False),
            ("file cache", written, None),
        )
        return self.figures


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
                    figures += Bench(server, base, label, 2).run()
        finally:
            for there in mountinfo.read():
                if there.path.startswith(f"{base}/"):
                    for process in program.serving(there.path):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.kill()
                    subprocess.run(["umount", "-l", there.path], check=False, capture_output=True, timeout=20)
    peak = max(peaks, default=0.0)
    figures.append(
        Figure("memory of a mount, at most", peak, "MiB", target=f"<= {MOST_MEMORY} MiB", met=peak <= MOST_MEMORY)
    )
    return report("mounts, the best of two rounds", figures)


if __name__ == "__main__":
    sys.exit(main())
