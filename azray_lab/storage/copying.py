"""Runs a copy or a removal as an operation: first what there is to do, then doing it, in constant memory."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from azray_lab.errors import UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import engine_for
from azray_lab.storage.engine.flights import Job, fly
from azray_lab.storage.engine.stopping import Stop
from azray_lab.storage.listing import Found, blob, inside, is_empty_folder, missing, stands_for_folder
from azray_lab.storage.patterns import below, leave_out, matching, wild
from azray_lab.storage.transfer import Meter, Tally, files_text, size_text, telling, transfer

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage
    from azray_lab.storage.engine import Engine, Entry
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
    stop = Stop.of(operation)
    if create and isinstance(route.destination, BlobUri):
        route.engine(route.destination, stop).create_container(route.destination.container)
    with operation.stage("list", f"looking at {route.source}") as stage:
        found = _checked(route.items(operation, stop, only=only), operation)
        first = list(itertools.islice(found, kept))
        count, total = len(first), sum(item.size for item in first)
        for item in found:  # more than are kept
            first, count, total = [], count + 1, total + item.size
        stage.summary = f"{files_text(count)}, {size_text(total)}"
    items = iter(first) if len(first) == count else route.items(operation, stop, quiet=True, only=only)
    return copy_items(items, count, total, operation, stop, began)


def copy_items(
    items: Iterator[Item], count: int, total: int, operation: Operation[Any], stop: Stop, began: float
) -> Done:
    """Copies `items`, which are `count` files of `total` bytes."""
    with operation.stage("copy", f"{files_text(count)}, {size_text(total)}") as stage:
        meter = Meter(stage, count, total)

        def done() -> str:
            return f"{meter.files} of {files_text(count)} were copied, the others are as they were" if count > 1 else ""

        with telling(operation, done, lambda: meter.files):
            transfer(items, meter, operation, stop)
        stage.summary = f"{size_text(meter.bytes)}, {size_text(meter.rate)}/s"
    return Done(meter.files, meter.bytes, round(operation.elapsed - began, 3))


def _checked(items: Iterator[Item], operation: Operation[Any]) -> Iterator[Item]:
    for item in items:
        operation.check()
        yield item


def planned(route: Route, operation: Operation[Any]) -> Iterator[dict[str, Any]]:
    """What a copy would do, as plain values; what it would tell beside is noted."""
    for item in route.items(operation, Stop()):
        yield as_action(item)


def as_action(item: Item) -> dict[str, Any]:
    """A file of a copy as a plain value."""
    return {"action": "copy", "source": item.source, "target": item.target, "size": item.size}


def removable(
    uri: BlobUri, *, recursive: bool, environ: Mapping[str, str] | None, stop: Stop | None = None,
    operation: Operation[Any] | None = None,
) -> Iterator[Found]:  # fmt: skip
    """The blobs that a removal of `uri` means; BlobNotFoundError when there is none, UsageError for a folder.

    What stands for a folder, and has to go after what is in it, is given as one, by the name that the service knows.
    """
    engine = engine_for(uri, environ).stoppable(stop or Stop())
    if not uri.path and not recursive:
        raise UsageError(f"{uri} is a container", next_step="add -r to remove all that is in it")
    nothing = True
    for found in _literally(engine, uri, recursive=recursive):
        nothing = False
        yield found
    if nothing and wild(uri.path):
        for found in _matching(engine, uri, recursive, operation):
            nothing = False
            yield found
    if nothing and uri.path:
        raise missing(engine, uri)


def _literally(engine: Engine, uri: BlobUri, *, recursive: bool) -> Iterator[Found]:
    itself = blob(engine, uri)
    if itself is not None:
        yield Found.of(itself, uri)
    if recursive:
        yield from _all_below(engine, uri)
    elif itself is None and (next(inside(engine, uri, recursive=True), None) or is_empty_folder(engine, uri)):
        raise UsageError(f"{uri} is a folder", next_step="add -r to remove all that is in it")


def _matching(engine: Engine, uri: BlobUri, recursive: bool, operation: Operation[Any] | None) -> Iterator[Found]:  # noqa: FBT001 - passed on
    folders, nothing = 0, True
    for entry in matching(engine, uri, recursive=recursive):
        if entry.kind == "folder" and not recursive:
            folders += 1
        else:
            nothing = False
            yield _doomed(entry, uri)
    leave_out(uri, folders, nothing=nothing, operation=operation)


def _doomed(entry: Entry, uri: BlobUri) -> Found:
    found = Found.of(entry._replace(kind="blob", name=entry.stored), uri)
    return replace(found, kind="folder") if entry.kind == "folder" else found


def _all_below(engine: Engine, uri: BlobUri) -> Iterator[Found]:
    # A folder's own placeholder goes with what is in it, so the engine's listing and not that for people.
    for entry in engine.list(uri.container, below(uri.path)):
        yield _doomed(entry, uri)
    own = engine.stat(uri.container, uri.path.rstrip("/")) if uri.path else None
    if own is not None and stands_for_folder(own):
        yield replace(Found.of(own, uri), kind="folder")


def run_remove(uri: BlobUri, operation: Operation[Any], *, recursive: bool, environ: Mapping[str, str] | None) -> Done:
    """Removes; counts while it goes."""
    began = operation.elapsed
    stop = Stop.of(operation)
    removal = _Removal(engine_for(uri, environ).stoppable(stop), operation, stop)
    with operation.stage("remove", f"removing {uri}") as stage:
        removal.run(removable(uri, recursive=recursive, environ=environ, stop=stop, operation=operation), stage)
    return Done(removal.tally.files, removal.tally.bytes, round(operation.elapsed - began, 3))


class _Removal:
    """Blobs first, 64 at a time, then what stands for the folders that they were in, the deepest first."""

    def __init__(self, engine: Engine, operation: Operation[Any], stop: Stop) -> None:
        self.tally = Tally()
        self._engine = engine
        self._stop = stop
        self._operation = operation
        self._folders: list[Found] = []

    def run(self, found: Iterator[Found], stage: Stage) -> None:
        with telling(self._operation, self._done, lambda: self.tally.files):
            for number, _ in enumerate(self._remove(self._blobs(found)), 1):
                if number % 100 == 0:
                    stage.progress(None, f"{files_text(number)} removed")
            for depth in sorted({_depth(one) for one in self._folders}, reverse=True):
                for _ in self._remove(one for one in self._folders if _depth(one) == depth):
                    pass
        stage.summary = f"{files_text(self.tally.files)}, {size_text(self.tally.bytes)}"

    def _blobs(self, found: Iterator[Found]) -> Iterator[Found]:
        for one in found:
            if one.kind == "folder":
                self._folders.append(one)
            else:
                yield one

    def _remove(self, found: Iterator[Found]) -> Iterator[None]:
        return fly((Job(functools.partial(self._delete, one)) for one in found), self._operation.check, self._stop)

    def _delete(self, found: Found) -> None:
        if self._engine.delete(found.uri.container, found.uri.path) and found.kind != "folder":
            self.tally.add(found.size or 0)

    def _done(self) -> str:
        return f"{files_text(self.tally.files)} removed by then" if self.tally.files else ""


def _depth(found: Found) -> int:
    return found.uri.path.rstrip("/").count("/")
