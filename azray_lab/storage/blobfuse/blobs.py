"""The blobs below a URI: listed, and fetched into a folder, by the engine. Imports it when it is needed only."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage
    from azray_lab.storage.uri import BlobUri

_MIB = 1024 * 1024


class Found(NamedTuple):
    """A blob: its name below the URI's folder, its size in bytes, the version it has."""

    name: str
    size: int
    etag: str


def _prefix(uri: BlobUri) -> str:
    return f"{uri.path.rstrip('/')}/" if uri.path else ""


def listed(uri: BlobUri, environ: Mapping[str, str] | None = None) -> Iterator[Found]:
    """Every blob below `uri`; one request for each 5,000 names. Our errors, as `azray blob ls` has them."""
    from azray_lab.storage.engine import engine_for

    prefix = _prefix(uri)
    for entry in engine_for(uri, environ).list(uri.container, prefix):
        # A folder of an account with a hierarchical namespace, or a marker that some tools leave for one.
        marker = entry.name.endswith("/") or (not entry.size and entry.metadata.get("hdi_isfolder") == "true")
        if entry.kind == "blob" and not marker:
            yield Found(entry.name[len(prefix) :], entry.size, entry.etag)


def fetch(
    uri: BlobUri,
    wanted: list[Found],
    folder: Path,
    operation: Operation[Any],
    stage: Stage,
    done: Callable[[Found], None],
    environ: Mapping[str, str] | None = None,
) -> None:
    """Brings `wanted` into `folder`, each file whole or not at all, 64 at a time.

    A large file travels in ranges side by side, so it counts with all its bytes among those under way.

    `done` is told of each that is there, with the version that came. One that is gone by now is left out.
    """
    from azray_lab.storage.engine import engine_for
    from azray_lab.storage.engine.flights import BYTES_IN_FLIGHT, Job, fly

    stop = threading.Event()
    engine = engine_for(uri, environ).stoppable(stop)
    total, there, files, told, began = sum(blob.size for blob in wanted), 0, 0, -1, time.monotonic()

    def one(blob: Found) -> Found | None:
        entry = engine.get_file(uri.container, f"{_prefix(uri)}{blob.name}", folder / blob.name)
        return Found(blob.name, entry.size, entry.etag) if entry is not None else None

    jobs = (Job(functools.partial(one, blob), min(blob.size, BYTES_IN_FLIGHT)) for blob in wanted)
    for came in fly(jobs, operation.check, stop):
        if came is None:
            continue
        done(came)
        there, files = there + came.size, files + 1
        if (percent := 100 * files // len(wanted)) != told:
            told = percent
            rate = there / max(time.monotonic() - began, 1e-6)
            words = f"{files:,} of {len(wanted):,} files, {rate / _MIB:.1f} MiB/s"
            stage.progress(files / len(wanted), words, files=files, bytes=there, total=total, rate=round(rate))
