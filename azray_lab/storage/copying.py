"""Runs a copy or a removal as an operation: first what there is to do, then doing it, in constant memory."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from azray_lab.errors import UsageError
from azray_lab.storage.engine import engine_for
from azray_lab.storage.engine.flights import Job, fly
from azray_lab.storage.listing import Found, blob, inside, matching, missing, stands_for_folder, wild
from azray_lab.storage.transfer import Meter, files_text, size_text, transfer
from azray_lab.storage.uri import BlobUri

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.engine import Engine
    from azray_lab.storage.places import Item
    from azray_lab.storage.routes import Route

# What is kept of a listing between counting and copying.
KEPT = 10_000


class Done(NamedTuple):
    """What was done."""

    files: int
    bytes: int
    seconds: float


def run_copy(
    route: Route,
    operation: Operation[Any],
    *,
    create: bool = False,
    kept: int = KEPT,
    only: Container[str] | None = None,
) -> Done:
    """Copies; of more than `kept` files the names are asked for twice rather than kept. `only`: see `Route.items`."""
    began = operation.elapsed
    stop = threading.Event()
    if create and isinstance(route.destination, BlobUri):
        route.engine(route.destination, stop).create_container(route.destination.container)
    with operation.stage("list", f"looking at {route.source}") as stage:
        first = list(itertools.islice(_checked(route.items(operation, stop, only=only), operation), kept))
        count, total = len(first), sum(item.size for item in first)
        if more := count == kept:
            first, count, total = [], 0, 0
            for item in _checked(route.items(operation, stop, quiet=True, only=only), operation):
                count, total = count + 1, total + item.size
        stage.summary = f"{files_text(count)}, {size_text(total)}"
    items = route.items(operation, stop, quiet=True, only=only) if more else iter(first)
    return copy_items(items, count, total, operation, stop, began)


def copy_items(
    items: Iterator[Item], count: int, total: int, operation: Operation[Any], stop: threading.Event, began: float
) -> Done:
    """Copies `items`, which are `count` files of `total` bytes."""
    with operation.stage("copy", f"{files_text(count)}, {size_text(total)}") as stage:
        meter = Meter(stage, count, total)
        transfer(items, meter, operation, stop)
        stage.summary = f"{size_text(meter.bytes)}, {size_text(meter.rate)}/s"
    return Done(meter.files, meter.bytes, round(operation.elapsed - began, 3))


def _checked(items: Iterator[Item], operation: Operation[Any]) -> Iterator[Item]:
    for item in items:
        operation.check()
        yield item


def planned(route: Route) -> Iterator[dict[str, Any]]:
    """What a copy would do, as plain values."""
    from azray_lab.operation import Operation

    for item in route.items(Operation("look"), threading.Event(), quiet=True):
        yield as_action(item)


def as_action(item: Item) -> dict[str, Any]:
    """A file of a copy as a plain value."""
    return {"action": "copy", "source": item.source, "target": item.target, "size": item.size}


def removable(uri: BlobUri, *, recursive: bool, environ: Mapping[str, str] | None) -> Iterator[Found]:
    """The blobs that a removal of `uri` means; BlobNotFoundError when there is none, UsageError for a folder.

    What stands for a folder, and has to go after what is in it, is given as one, by the name that the service knows.
    """
    engine = engine_for(uri, environ)
    if not uri.path and not recursive:
        raise UsageError(f"{uri} is a container", next_step="add -r to remove all that is in it")
    nothing = True
    if (itself := blob(engine, uri)) is not None:
        nothing = False
        yield Found.of(itself, uri)
    elif wild(uri.path):
        for entry in matching(engine, uri):
            nothing = False
            yield Found.of(entry, uri)
        if not nothing:
            return
    if recursive:
        for found in _all_below(engine, uri):
            nothing = False
            yield found
    elif nothing and next(inside(engine, uri, recursive=True), None) is not None:
        raise UsageError(f"{uri} is a folder", next_step="add -r to remove all that is in it")
    if nothing and uri.path:
        raise missing(engine, uri)


def _all_below(engine: Engine, uri: BlobUri) -> Iterator[Found]:
    # A folder's own placeholder goes with what is in it, so the engine's listing and not that for people.
    for entry in engine.list(uri.container, f"{uri.path.rstrip('/')}/" if uri.path else ""):
        found = Found.of(entry._replace(kind="blob", name=entry.stored), uri)
        yield replace(found, kind="folder") if entry.kind == "folder" else found
    own = engine.stat(uri.container, uri.path.rstrip("/")) if uri.path else None
    if own is not None and stands_for_folder(own):
        yield replace(Found.of(own, uri), kind="folder")


def run_remove(uri: BlobUri, operation: Operation[Any], *, recursive: bool, environ: Mapping[str, str] | None) -> Done:
    """Removes; counts while it goes."""
    began = operation.elapsed
    stop = threading.Event()
    engine = engine_for(uri, environ).stoppable(stop)
    files = size = 0
    folders: list[Found] = []

    def blobs() -> Iterator[Found]:
        for one in removable(uri, recursive=recursive, environ=environ):
            if one.kind == "folder":
                folders.append(one)
            else:
                yield one

    def job(found: Found) -> Job[int]:
        work = functools.partial(engine.delete, found.uri.container, found.uri.path)
        return Job(lambda: (found.size or 0) if work() else -1)

    with operation.stage("remove", f"removing {uri}") as stage:
        for freed in fly(map(job, blobs()), operation.check, stop):
            if freed >= 0:
                files, size = files + 1, size + freed
                if files % 100 == 0:
                    stage.progress(None, f"{files_text(files)} removed")
        for depth in sorted({_depth(one) for one in folders}, reverse=True):
            for _ in fly((job(one) for one in folders if _depth(one) == depth), operation.check, stop):
                pass
        stage.summary = f"{files_text(files)}, {size_text(size)}"
    return Done(files, size, round(operation.elapsed - began, 3))


def _depth(found: Found) -> int:
    return found.uri.path.rstrip("/").count("/")
