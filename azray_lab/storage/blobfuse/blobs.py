"""The blobs below a URI: listed, and fetched into a folder, by the engine. Imports it when it is needed only."""

from __future__ import annotations

import functools
import os
import stat as modes
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import Engine
    from azray_lab.storage.engine.stopping import Stop

_MIB = 1024 * 1024
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_READ_ONLY = 0o444


class Found(NamedTuple):
    """A blob: its name below the URI's folder, its size in bytes, the version it has."""

    name: str
    size: int
    etag: str


class Held(NamedTuple):
    """A blob that is a file here, and the file's time of change (nanoseconds since 1970) when it landed."""

    blob: Found
    stamp: int = 0


def _prefix(uri: BlobUri) -> str:
    return f"{uri.path.rstrip('/')}/" if uri.path else ""


def listed(uri: BlobUri, environ: Mapping[str, str] | None = None, stop: Stop | None = None) -> Iterator[Found]:
    """Every blob below `uri`; one request for each 5,000 names. Our errors, as `azray blob ls` has them.

    `stop` ends it.
    """
    from azray_lab.storage.engine import engine_for

    prefix, engine = _prefix(uri), engine_for(uri, environ)
    for entry in (engine if stop is None else engine.stoppable(stop)).list(uri.container, prefix):
        # A folder of an account with a hierarchical namespace, or a marker that some tools leave for one.
        marker = entry.name.endswith("/") or (not entry.size and entry.metadata.get("hdi_isfolder") == "true")
        if entry.kind == "blob" and not marker:
            yield Found(entry.name[len(prefix) :], entry.size, entry.etag)


class Place(NamedTuple):
    """Where files come to stand, and where they lie until they are whole, on the same disk."""

    folder: Path
    parts: Path


def fetch(
    uri: BlobUri,
    wanted: list[Found],
    place: Place,
    operation: Operation[Any],
    stage: Stage,
    done: Callable[[Held], None],
    environ: Mapping[str, str] | None = None,
    stop: Stop | None = None,
) -> None:
    """Brings `wanted` to `place`, read-only, each file whole or not at all, 64 at a time.

    A large file travels in ranges side by side, so it counts with all its bytes among those under way.

    `done` is told of each that is there, with the version that came. One that is gone by now is left out. `stop` ends
    it before its time.
    """
    from azray_lab.storage.engine import engine_for
    from azray_lab.storage.engine.flights import BYTES_IN_FLIGHT, Job, fly
    from azray_lab.storage.engine.stopping import Stop

    stop = Stop.of(operation) if stop is None else stop
    bring = functools.partial(_bring, engine_for(uri, environ).stoppable(stop), uri.container, _prefix(uri), place)
    total, there, files, told, began = sum(blob.size for blob in wanted), 0, 0, -1, time.monotonic()
    jobs = (Job(functools.partial(bring, blob), min(blob.size, BYTES_IN_FLIGHT)) for blob in wanted)
    for came in fly(jobs, operation.check, stop):
        if came is None:
            continue
        done(came)
        there, files = there + came.blob.size, files + 1
        if (percent := 100 * files // len(wanted)) != told:
            told = percent
            rate = there / max(time.monotonic() - began, 1e-6)
            words = f"{files:,} of {len(wanted):,} files, {rate / _MIB:.1f} MiB/s"
            stage.progress(files / len(wanted), words, files=files, bytes=there, total=total, rate=round(rate))


def _bring(engine: Engine, container: str, prefix: str, place: Place, blob: Found) -> Held | None:
    """One blob to its file; None when there is none any more."""
    from azray_lab.storage.engine import RANGE
    from azray_lab.storage.engine.landing import local

    part, path = f"{place.parts}/{os.urandom(8).hex()}", f"{place.folder}/{blob.name}"
    name = f"{prefix}{blob.name}"
    if blob.size <= RANGE:
        came = _small(engine, container, name, blob, part)
    else:
        entry = engine.get_file(container, name, part)
        came = Found(blob.name, entry.size, entry.etag) if entry is not None else None
    if came is None:
        return None
    with local(path, "written"):
        return Held(came, _land(part, path))


def _small(engine: Engine, container: str, name: str, blob: Found, part: str) -> Found | None:
    """A blob of one request as the file `part`: as few system calls as will do, for there may be 100,000 of them."""
    from azray_lab.errors import BlobNotFoundError
    from azray_lab.storage.engine import RANGE
    from azray_lab.storage.engine.landing import local

    try:
        block = engine.read(container, name, 0, RANGE)
    except BlobNotFoundError as error:
        if error.facts.get("code") == "ContainerNotFound":
            raise
        return None
    if block.size > RANGE:  # it has grown since it was listed
        entry = engine.get_file(container, name, part)
        return Found(blob.name, entry.size, entry.etag) if entry is not None else None
    with local(part, "written"):
        file = os.open(part, _NEW, _READ_ONLY)
        try:
            view = memoryview(block.data)
            while view:
                view = view[os.write(file, view) :]
        finally:
            os.close(file)
    return Found(blob.name, block.size, block.etag)


def _land(part: str, path: str) -> int:
    """Gives the file its name, read-only for all; the time of its change in nanoseconds."""
    found = os.lstat(part)
    if modes.S_IMODE(found.st_mode) != _READ_ONLY:
        os.chmod(part, _READ_ONLY)  # noqa: PTH101 - a Path for each small file costs more
    try:
        os.replace(part, path)  # noqa: PTH105 - as above
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - as above
        os.replace(part, path)  # noqa: PTH105 - as above
    return found.st_mtime_ns
