"""Measures the profiles on a container of the user's own, for about a minute, and says which one serves it best.

Each candidate is mounted in a folder of its own and read by a process of its own, so that a mount that hangs costs its
share of the time and no more. Nothing is written to the container.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from azray_lab.errors import AzRayError, StorageError
from azray_lab.storage.blobfuse import blobs, request
from azray_lab.storage.blobfuse.request import Request

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.blobs import Found
    from azray_lab.storage.blobfuse.mounts import Mounts

SECONDS = 60.0
# What is read of each kind: enough to see a rate, little enough for a minute.
_LARGE, _FILES, _LISTED = 3, 200, 20_000
_READER = """
import json, os, random, sys, time
folder, seconds, large, small = json.loads(sys.stdin.read())
def until(end, work, items):
    count, began = 0, time.monotonic()
    for item in items:
        count += work(item)
        if time.monotonic() > end: break
    return count / max(time.monotonic() - began, 1e-6)
def whole(name):
    with open(os.path.join(folder, name), "rb", buffering=0) as file:
        size = 0
        while (data := file.read(1 << 20)):
            size += len(data)
            if time.monotonic() > limit: break
    return size
def pieces(names):
    rng = random.Random(7)
    for name in names:
        with open(os.path.join(folder, name), "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(2000):
                file.seek(rng.randrange(max(size - 65536, 1)))
                yield file.read(65536)
out, share = {}, seconds / 3
if large:
    limit = time.monotonic() + share
    out["random"] = until(limit, lambda data: 1, pieces(large[-1:]))
    with open(os.path.join(folder, large[-1]), "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    limit = time.monotonic() + share
    out["sequential"] = until(limit, whole, large)
if small:
    limit = time.monotonic() + share
    out["files"] = until(limit, lambda name: whole(name) >= 0, small)
print(json.dumps(out))
"""


@dataclass(frozen=True)
class Measured:
    """What one way of mounting gave: bytes a second in order, 64 KiB reads a second at random, small files a second.

    `memory` is that of blobfuse2 in bytes; `problem` says why there is no figure.
    """

    profile: str
    engine: str
    access: str
    sequential: float = 0.0
    random: float = 0.0
    files: float = 0.0
    memory: int = 0
    problem: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Advice:
    """Every candidate, the one that is best for what lies there, and by which measure."""

    measured: tuple[Measured, ...]
    best: Measured
    measure: str
    seen: str


def tune(mounts: Mounts, uri: BlobUri, operation: Operation[Any], seconds: float = SECONDS) -> Advice:
    """Measures every candidate on the blobs below `uri`; StorageError when there is nothing to read."""
    with operation.stage("look", f"looking at {uri}") as stage:
        found = _sample(uri, mounts)
        seen = request.look(iter(found))
        stage.summary = str(seen)
    if not found:
        raise StorageError(f"{uri} is empty", cause="there is nothing to read", next_step=f"azray blob ls {uri}")
    large = [b.name for b in sorted(found, key=lambda b: -b.size)[:_LARGE] if b.size >= 1 << 20]
    small = [b.name for b in sorted(found, key=lambda b: b.size)[:_FILES] if b.size < 1 << 20]
    candidates = list(_candidates(uri, small=bool(small)))
    measured = []
    for candidate in candidates:
        label = f"{candidate.profile}, {candidate.access}" if candidate.engine == "blobfuse2" else "a copy"
        with operation.stage(label) as stage:
            one = _measure(mounts, candidate, large, small, operation, seconds / len(candidates))
            stage.summary = one.problem or f"{one.sequential / 1e6:.0f} MB/s, {one.files:.0f} files/s"
        measured.append(one)
    measure = "files" if seen.small else ("random" if seen.access == "random" else "sequential")
    best = max(measured, key=lambda one: getattr(one, measure))
    return Advice(tuple(measured), best, measure, str(seen))


def _sample(uri: BlobUri, mounts: Mounts) -> list[Found]:
    out = []
    for blob in blobs.listed(uri, mounts.environ):
        out.append(blob)
        if len(out) == _LISTED:
            break
    return out


def _candidates(uri: BlobUri, *, small: bool) -> Iterator[Request]:
    yield Request(uri, "", "dataset", engine="blobfuse2", access="sequential")
    yield Request(uri, "", "dataset", engine="blobfuse2", access="random")
    yield Request(uri, "", "shared", engine="blobfuse2", read_only=True)
    if small:
        yield Request(uri, "", "dataset", engine="hydrate")


def _measure(
    mounts: Mounts, candidate: Request, large: list[str], small: list[str], operation: Operation[Any], seconds: float
) -> Measured:
    plain = Measured(candidate.profile, candidate.engine, candidate.access)
    base = Path(tempfile.mkdtemp(prefix="tune-", dir=mounts.records.root.parent))
    wanted = Request(
        candidate.uri, str(base / "m"), candidate.profile, candidate.engine, candidate.access,
        read_only=candidate.read_only, cache=str(base / "cache"), owner="tune",
    )  # fmt: skip
    began = time.monotonic()
    try:
        record = mounts.mount(wanted, operation, seconds)
        took = time.monotonic() - began if candidate.engine == "hydrate" else 0.0
        figures = _read(record.path, large, small, max(seconds - took, 3.0))
        memory = int(psutil.Process(record.pid).memory_info().rss) if record.pid else 0
        if took and small:  # a copy is made before the first file is read: that is its first epoch
            figures["files"] = len(small) / (took + len(small) / max(figures.get("files", 1.0), 1.0))
        sequential, pieces = figures.get("sequential", 0.0), figures.get("random", 0.0)
        files = figures.get("files", 0.0)
        return replace(plain, sequential=sequential, random=pieces, files=files, memory=memory)
    except AzRayError as error:
        return replace(plain, problem=error.message)
    finally:
        with operation.shielded():
            if mounts.records.get(str(base / "m")):
                mounts.unmount(str(base / "m"), operation, owner="tune", lazy=True)
            shutil.rmtree(base, ignore_errors=True)


def _read(path: str, large: list[str], small: list[str], seconds: float) -> dict[str, float]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        out, problem = process.communicate(json.dumps([path, seconds, large, small]), timeout=3 * seconds + 10)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise StorageError(f"{path} did not answer", cause=f"waited {3 * seconds + 10:.0f} s") from error
    if process.returncode:
        raise StorageError(f"{path} could not be read", cause=problem.strip().rpartition("\n")[2])
    return dict(json.loads(out))
