"""Blobs for people: list what is in a storage account, copy between blobs and local files.

    azray_lab.blob.list_blobs("az://data")
    azray_lab.blob.copy("model.bin", "az://models/").run()

The account is the URI's own, or that of the environment: see `azray_lab.storage.credentials`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.operation import Operation, Task
from azray_lab.views import Table, seconds

if TYPE_CHECKING:
    from azray_lab.storage.listing import Entry
    from azray_lab.storage.uri import BlobUri


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


def list_blobs(
    uri: str | BlobUri = "az://", *, recursive: bool = False, environ: Mapping[str, str] | None = None
) -> Table:
    """What is at `uri`: the containers of the account (`az://`), what a container or folder holds, or a blob itself.

    One request for each 5,000 names and one more. Raises BlobNotFoundError when nothing is there, CredentialError when
    no account is set or it may not be read, StorageError when it does not answer (after about 12 s at most).
    """
    from azray_lab.storage.listing import entries
    from azray_lab.storage.services import Services
    from azray_lab.storage.uri import BlobUri

    place = BlobUri.parse(uri)
    with Services(environ) as services:
        found = list(entries(services, place, recursive=recursive))
    title = str(place) if found else f"{place} is empty"
    return Table(
        title, ("name", "type", "size", "modified"), [_row(one, place) for one in found], [e.to_dict() for e in found]
    )


def _row(entry: Entry, place: BlobUri) -> tuple[str, str, str, str]:
    from azray_lab.storage.transfer import size_text

    if entry.kind == "container":
        name = entry.uri.container
    else:
        above = place.path.rpartition("/")[0] if entry.uri.path == place.path else place.path.rstrip("/")
        name = entry.uri.path[len(above) + 1 :] if above else entry.uri.path
    size = "" if entry.size is None else size_text(entry.size)
    modified = f"{entry.modified:%Y-%m-%d %H:%M}" if entry.modified else ""
    # A blob's name may hold what moves a terminal's cursor.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name), entry.kind, size, modified


def copy(
    source: str | Path | BlobUri,
    destination: str | Path | BlobUri,
    *,
    recursive: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Task[CopyResult]:
    """The task that copies a blob or a local file (with `recursive`: all below a folder) to the other side.

    Between two blobs the bytes pass through this machine. What exists is overwritten. Eight requests of 4 MiB are in
    flight. A file or blob appears when it is complete; on an error or cancellation the others stay as they were.

    Raises UsageError for what cannot be copied as asked (a folder without `recursive`), and as `list_blobs` does.
    """
    from azray_lab.storage.routes import Route

    route = Route.parse(source, destination, recursive=recursive)

    def work(operation: Operation[CopyResult]) -> CopyResult:
        return _copy(route, operation, environ)

    return Task(Operation(f"copy {route.source} to {route.destination}"), work)


def _copy(route: Any, operation: Operation[CopyResult], environ: Mapping[str, str] | None) -> CopyResult:
    from azray_lab.storage.services import Services
    from azray_lab.storage.transfer import Meter, files_text, size_text, transfer

    began = operation.elapsed
    with Services(environ) as services:
        with operation.stage("list", f"looking at {route.source}") as stage:
            items = []
            for item in route.items(services, operation):
                operation.check()
                items.append(item)
            total = sum(item.size for item in items)
            stage.summary = f"{files_text(len(items))}, {size_text(total)}"
        with operation.stage("copy", f"{files_text(len(items))}, {size_text(total)}") as stage:
            meter = Meter(stage, len(items), total)
            transfer(items, meter, operation)
            stage.summary = f"{size_text(meter.bytes)}, {size_text(meter.rate)}/s"
    took = round(operation.elapsed - began, 3)
    return CopyResult(str(route.source), str(route.destination), meter.files, meter.bytes, took)
