"""Blobs for people: list, copy, synchronise, read and remove what is in a storage account.

    azray_lab.blob.list_blobs("az://data")
    azray_lab.blob.copy("model.bin", "az://models/").run()
    azray_lab.blob.sync("results", "az://data/results").run()

A place is any of the URIs of `azray_lab.spec.uri`. The account is the URI's own, or that of the environment: see
`azray_lab.storage.credentials`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.operation import Operation, Task
from azray_lab.views import Table, View, seconds

if TYPE_CHECKING:
    from azray_lab.errors import BlobNotFoundError
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine.checksums import Check
    from azray_lab.storage.listing import Found

_PART = 32 * 1024 * 1024


@dataclass(frozen=True)
class CopyResult:
    """What a copy did: how many `files` and `bytes`, in how many `seconds`."""

    source: str
    destination: str
    files: int
    bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        from azray_lab.storage.transfer import files_text, size_text

        files = files_text(self.files)
        rate = size_text(self.bytes / self.seconds) if self.seconds else size_text(self.bytes)
        took = seconds(self.seconds)
        return f"copied {files}, {size_text(self.bytes)} in {took} ({rate}/s) from {self.source} to {self.destination}"


@dataclass(frozen=True)
class SyncResult:
    """What a sync did: files `copied`, `unchanged` and `removed`, how many `bytes`, in how many `seconds`."""

    source: str
    destination: str
    copied: int
    unchanged: int
    removed: int
    bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON."""
        return asdict(self)

    def __str__(self) -> str:
        from azray_lab.storage.transfer import files_text, size_text

        text = f"copied {files_text(self.copied)}, {size_text(self.bytes)} in {seconds(self.seconds)}"
        text += f" from {self.source} to {self.destination}; {self.unchanged} unchanged"
        return f"{text}, {self.removed} removed" if self.removed else text


def list_blobs(
    uri: str | BlobUri = "az://", *, recursive: bool = False, environ: Mapping[str, str] | None = None
) -> Table:
    """What is at `uri`: the containers of the account (`az://`), what a container or folder holds, or a blob itself.

    A path with `*`, `?` or `[...]` is a pattern, which folders match as well. One request for each 5,000 names and one
    more, for a pattern two. Raises BlobNotFoundError when nothing is there, CredentialError when no account is set or
    it may not be read, StorageError when it does not answer (after about 5 s when nobody is there, else 20 s).
    """
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.listing import found_at

    place = BlobUri.parse(uri)
    found = list(found_at(place, environ, recursive=recursive))
    title = str(place) if found else f"{place} is empty"
    columns = ("name", "type", "size", "modified")
    return Table(title, columns, [_row(one, place) for one in found], [one.to_dict() for one in found])


def _row(found: Found, place: BlobUri) -> tuple[str, str, str, str]:
    from azray_lab.storage.transfer import size_text

    size = "" if found.size is None else size_text(found.size)
    modified = f"{found.modified:%Y-%m-%d %H:%M}" if found.modified else ""
    return printable(_name(found, place)), found.kind, size, modified


def _name(found: Found, place: BlobUri) -> str:
    """The name as it is shown: relative to the folder that was asked for."""
    from azray_lab.storage.patterns import relative

    return found.uri.container if found.kind == "container" else relative(found.uri.path, place.path)


def printable(name: str) -> str:
    """A name without what moves a terminal's cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def tree(uri: str | BlobUri, *, depth: int = 0, environ: Mapping[str, str] | None = None) -> View:
    """The folders and blobs below `uri` as a tree, with sizes; folders only down to `depth` levels (0: all)."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.surveys import draw

    text, data = draw(BlobUri.parse(uri), depth, environ)
    return View(data, text)


def usage(uri: str | BlobUri, *, environ: Mapping[str, str] | None = None) -> Table:
    """How many blobs and bytes are in each folder directly below `uri`, and in all; constant memory."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.surveys import totals
    from azray_lab.storage.transfer import size_text

    place = BlobUri.parse(uri)
    found = totals(place, environ)
    rows = [(printable(one["name"]), one["blobs"], size_text(one["bytes"])) for one in found]
    return Table(str(place), ("name", "blobs", "size"), rows, found)


def read(uri: str | BlobUri, *, environ: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a blob. Raises BlobNotFoundError when there is none, UsageError for a container or folder."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import engine_for
    from azray_lab.storage.listing import readable

    place = BlobUri.parse(uri)
    engine = engine_for(place, environ)
    with readable(engine, place):
        return engine.get_bytes(place.container, place.path)


def parts(uri: str | BlobUri, *, environ: Mapping[str, str] | None = None) -> Iterator[bytes]:
    """The bytes of a blob in parts of 64 MiB, all of one version; for blobs that do not fit into memory."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import engine_for
    from azray_lab.storage.listing import readable

    place = BlobUri.parse(uri)
    engine, start = engine_for(place, environ), 0
    with readable(engine, place):
        first = engine.read(place.container, place.path)
    while start < first.size or not start:
        data = engine.get_bytes(place.container, place.path, start, start + _PART, first.etag)
        yield data
        start += _PART


def url(uri: str | BlobUri, *, environ: Mapping[str, str] | None = None) -> str:
    """The blob's, folder's or container's own address, without a signature. No request, no token."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.credentials import Account

    place = BlobUri.parse(uri)
    return str(replace(place, endpoint=place.endpoint or Account.of(place, environ).endpoint, sas="", anonymous=False))


def make_container(uri: str | BlobUri, *, environ: Mapping[str, str] | None = None) -> bool:
    """Makes the container of `uri`; False when it was there."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import engine_for

    place = BlobUri.parse(uri)
    return engine_for(place, environ).create_container(place.container)


def copy(
    source: str | Path | BlobUri,
    destination: str | Path | BlobUri,
    *,
    recursive: bool = False,
    exact: bool = False,
    check: Check = False,
    create: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Task[CopyResult]:
    """The task that copies a blob or a local file (with `recursive`: all below a folder) to the other side.

    A file goes into a destination that is a folder or ends with a slash, unless the destination is `exact`ly its new
    name. A source URI with `*`, `?` or `[...]` is a pattern: what matches goes by its name below the pattern's fixed
    part, `recursive` also takes what is in folders that match. From blob to blob the service copies where it can read
    the source; else, which a note says, the bytes pass through this machine, and properties, metadata and a tier that
    was set go along. What exists is overwritten. At most 80 MiB are under way. A file or blob appears when it is
    complete; on an error or cancellation the others stay as they were. `check`, `md5` (or True) or `crc64`, compares
    checksums end to end; `create` makes the container of the destination.

    Raises UsageError for what cannot be copied as asked (a folder without `recursive`), and as `list_blobs` does.
    """
    from azray_lab.storage.copying import run_copy
    from azray_lab.storage.routes import Route

    route = Route.parse(source, destination, recursive=recursive, exact=exact, check=check, environ=environ)

    def work(operation: Operation[CopyResult]) -> CopyResult:
        done = run_copy(route, operation, create=create)
        return CopyResult(str(route.source), str(route.destination), done.files, done.bytes, done.seconds)

    return Task(Operation(f"copy {route.source} to {route.destination}"), work)


def planned_copy(
    source: str | Path | BlobUri,
    destination: str | Path | BlobUri,
    *,
    recursive: bool = False,
    exact: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Table:
    """What `copy` would copy; nothing is."""
    from azray_lab.storage.copying import planned
    from azray_lab.storage.routes import Route

    route = Route.parse(source, destination, recursive=recursive, exact=exact, environ=environ)
    return _actions(f"nothing to copy from {route.source}", functools.partial(planned, route))


def sync(
    source: str | Path | BlobUri,
    destination: str | Path | BlobUri,
    *,
    delete: bool = False,
    check: Check = False,
    create: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Task[SyncResult]:
    """The task that makes the folder `destination` like the folder `source`: copies what is missing, of another size,
    or older than the source; with `delete` it removes what the source lacks. What is equal costs no request.
    `check`: as in `copy`.
    """  # noqa: D205 - one sentence
    from azray_lab.storage.syncing import Sync

    plan = Sync.parse(source, destination, delete=delete, check=check, environ=environ)

    def work(operation: Operation[SyncResult]) -> SyncResult:
        done, unchanged, removed = plan.run(operation, create=create)
        names = str(plan.route.source), str(plan.route.destination)
        return SyncResult(*names, done.files, unchanged, removed, done.bytes, done.seconds)

    return Task(Operation(f"sync {plan.route.source} to {plan.route.destination}"), work)


def planned_sync(
    source: str | Path | BlobUri,
    destination: str | Path | BlobUri,
    *,
    delete: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Table:
    """What `sync` would copy and remove; nothing is changed."""
    from azray_lab.storage.syncing import Sync

    plan = Sync.parse(source, destination, delete=delete, environ=environ)
    return _actions(f"{plan.route.destination} is like {plan.route.source}", plan.planned)


def _actions(nothing: str, plan: Callable[[Operation[None]], Iterator[dict[str, Any]]]) -> Table:
    """A table of what `plan` finds and, for people, what it notes."""
    from azray_lab.storage.transfer import size_text

    look: Operation[None] = Operation("look")
    found = list(plan(look))
    rows = [(one["action"], printable(one["target"]), size_text(one["size"])) for one in found]
    rows += [("note", event.message, "") for event in look.events if event.kind == "note"]
    return Table(f"{len(found)} to do" if found else nothing, ("action", "target", "size"), rows, found)


def remove(
    uri: str | BlobUri, *, recursive: bool = False, environ: Mapping[str, str] | None = None
) -> Task[CopyResult]:
    """The task that removes a blob, all that match a pattern or, with `recursive`, all below a folder.

    64 at a time. Its result has the number of `files` and their `bytes`. BlobNotFoundError when nothing is there.
    """
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.copying import run_remove

    place = BlobUri.parse(uri)

    def work(operation: Operation[CopyResult]) -> CopyResult:
        done = run_remove(place, operation, recursive=recursive, environ=environ)
        return CopyResult(str(place), "", done.files, done.bytes, done.seconds)

    return Task(Operation(f"remove {place}"), work)


def count_to_remove(
    uri: str | BlobUri, *, recursive: bool = False, environ: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """How many blobs `remove` would remove, and how much that is in words; constant memory."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.copying import removable
    from azray_lab.storage.transfer import size_text

    count = total = 0
    for one in removable(BlobUri.parse(uri), recursive=recursive, environ=environ):
        count, total = count + 1, total + (one.size or 0)
    return count, size_text(total)


def missing_container(error: BlobNotFoundError, destination: str) -> str:
    """The container that `error` says is missing, when it is that of `destination`; else empty."""
    from azray_lab.spec.uri import BlobUri, is_uri

    if error.facts.get("code") != "ContainerNotFound" or not is_uri(destination):
        return ""
    lacks = BlobUri.parse(str(error.facts["uri"])).container
    return lacks if lacks == BlobUri.parse(destination).container else ""


def to_remove(uri: str | BlobUri, *, recursive: bool = False, environ: Mapping[str, str] | None = None) -> Table:
    """What `remove` would remove; nothing is."""
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.copying import removable

    place = BlobUri.parse(uri)

    def plan(operation: Operation[None]) -> Iterator[dict[str, Any]]:
        for one in removable(place, recursive=recursive, environ=environ, operation=operation):
            yield {"action": "remove", "source": "", "target": str(one.uri), "size": one.size or 0}

    return _actions(f"nothing to remove at {place}", plan)
