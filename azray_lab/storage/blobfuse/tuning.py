"""Measures the profiles on a container of the user's own, for about a minute, and says which one serves it best.

Each candidate is mounted in a folder of its own and read by a process of its own, so that a mount that hangs costs its
share of the time and no more. Nothing is written to the container.
"""

from __future__ import annotations

import itertools
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
from azray_lab.storage.blobfuse import asking, blobs, probe, request
from azray_lab.storage.blobfuse.capacity import MIB
from azray_lab.storage.blobfuse.request import Request

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.blobs import Found
    from azray_lab.storage.blobfuse.mounts import Mounts

SECONDS = 60.0
# What is read of each kind: enough to see a rate, little enough for a minute.
_LARGE, _FILES, _LISTED = 3, 200, 20_000
_COPIED = 64 * MIB
# The least that shows a rate, and what a read that was begun may take beyond its time; in seconds.
_LEAST, _GRACE = 1.0, 5.0
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
    """Measures every candidate on the blobs below `uri`; StorageError when there is nothing to read.

    Takes about `seconds` in all, and fetches no more for the copy than 200 small files and one large one of 64 MiB.
    """
    end = time.monotonic() + seconds
    with operation.stage("look", f"looking at {uri}") as stage, asking.within(seconds / 3, uri, operation) as stop:
        found = list(itertools.islice(blobs.listed(uri, mounts.environ, stop), _LISTED))
        seen = request.look(iter(found))
        stage.summary = str(seen)
    if not found:
        raise StorageError(f"{uri} is empty", cause="there is nothing to read", next_step=f"azray blob ls {uri}")
    sample = Sample.of(found)
    candidates = list(_candidates(uri, small=bool(sample.small)))
    measured = []
    for number, candidate in enumerate(candidates):
        label = f"{candidate.profile}, {candidate.access}" if candidate.engine == "blobfuse2" else "a copy"
        with operation.stage(label) as stage:
            share = max(end - time.monotonic(), _LEAST) / (len(candidates) - number)
            one = _measure(mounts, candidate, sample, operation, stage, share)
            stage.summary = one.problem or f"{one.sequential / 1e6:.0f} MB/s, {one.files:.0f} files/s"
        measured.append(one)
    measure = "files" if seen.small else ("random" if seen.access == "random" else "sequential")
    best = max(measured, key=lambda one: getattr(one, measure))
    return Advice(tuple(measured), best, measure, str(seen))


@dataclass(frozen=True)
class Sample:
    """The blobs that are read: the largest of those of 1 MiB and more, and the smallest of the others."""

    large: list[Found]
    small: list[Found]

    @classmethod
    def of(cls, found: list[Found]) -> Sample:
        """The sample of a listing."""
        ordered = sorted(found, key=lambda blob: blob.size)
        large = [blob for blob in reversed(ordered[-_LARGE:]) if blob.size >= MIB]
        return cls(large, [blob for blob in ordered[:_FILES] if blob.size < MIB])

    def for_copy(self) -> Sample:
        """What of it a copy brings: the whole of the container could take hours."""
        return Sample([blob for blob in self.large[-1:] if blob.size <= _COPIED], self.small)


def _candidates(uri: BlobUri, *, small: bool) -> Iterator[Request]:
    yield Request(uri, "", "dataset", engine="blobfuse2", access="sequential")
    yield Request(uri, "", "dataset", engine="blobfuse2", access="random")
    yield Request(uri, "", "shared", engine="blobfuse2", read_only=True)
    if small:
        yield Request(uri, "", "dataset", engine="hydrate")


def _measure(
    mounts: Mounts, candidate: Request, sample: Sample, operation: Operation[Any], stage: Stage, seconds: float
) -> Measured:
    plain = Measured(candidate.profile, candidate.engine, candidate.access)
    home = mounts.records.root.parent
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    base = Path(tempfile.mkdtemp(prefix="tune-", dir=home))
    try:
        if candidate.engine == "hydrate":
            return _figures(plain, _copied(mounts, candidate.uri, sample.for_copy(), base, operation, stage, seconds))
        return _mounted(mounts, candidate, sample, base, operation, seconds, plain)
    except AzRayError as error:
        operation.check()
        return replace(plain, problem=error.message)
    finally:
        with operation.shielded():
            if mounts.records.get(str(base / "m")):
                mounts.unmount(str(base / "m"), operation, owner="tune", lazy=True)
            shutil.rmtree(base, ignore_errors=True)


def _mounted(
    mounts: Mounts, candidate: Request, sample: Sample, base: Path, operation: Operation[Any], seconds: float,
    plain: Measured,
) -> Measured:  # fmt: skip
    """The figures of a mount by blobfuse2, its own time included."""
    wanted = replace(candidate, path=str(base / "m"), cache=str(base / "cache"), owner="tune")
    began = time.monotonic()
    record = mounts.mount(wanted, operation, seconds)
    figures = _read(record.path, sample, seconds - (time.monotonic() - began))
    try:
        memory = int(psutil.Process(record.pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return replace(plain, problem=f"blobfuse2 ended while {record.path} was read")
    return replace(_figures(plain, figures), memory=memory)


def _copied(
    mounts: Mounts, uri: BlobUri, sample: Sample, base: Path, operation: Operation[Any], stage: Stage, seconds: float
) -> dict[str, float]:
    """The figures of a copy of the sample: how fast its small files come and are read then, as in a first epoch."""
    place, came = blobs.Place(base / "files", base / "parts"), list[blobs.Held]()
    place.folder.mkdir()
    place.parts.mkdir()
    took = 0.0
    for part in (sample.small, sample.large):
        began = time.monotonic()
        try:
            with asking.within(seconds / 3, uri, operation) as stop:
                blobs.fetch(uri, part, place, operation, stage, came.append, mounts.environ, stop)
        except StorageError:
            if not came:
                raise  # what came in that time is enough to see a rate
        took = took or time.monotonic() - began
    there = {held.blob for held in came}
    have = Sample([blob for blob in sample.large if blob in there], [blob for blob in sample.small if blob in there])
    figures = _read(str(place.folder), have, seconds / 3)
    if have.small:
        figures["files"] = len(have.small) / (took + len(have.small) / max(figures.get("files", 1.0), 1.0))
    return figures


def _figures(plain: Measured, figures: dict[str, float]) -> Measured:
    sequential, pieces = figures.get("sequential", 0.0), figures.get("random", 0.0)
    return replace(plain, sequential=sequential, random=pieces, files=figures.get("files", 0.0))


def _read(path: str, sample: Sample, seconds: float) -> dict[str, float]:
    seconds = max(seconds, _LEAST)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _READER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    names = [[blob.name for blob in blobs_of] for blobs_of in (sample.large, sample.small)]
    limit = seconds + _GRACE
    try:
        out, problem = process.communicate(json.dumps([path, seconds, *names]), timeout=limit)
    except subprocess.TimeoutExpired as error:
        probe.leave(process)
        raise StorageError(f"{path} did not answer", cause=f"waited {limit:.0f} s") from error
    if process.returncode:
        raise StorageError(f"{path} could not be read", cause=problem.strip().rpartition("\n")[2])
    return dict(json.loads(out))
