"""The blobs below a URI: listed, and fetched into a folder. The only place of this package that talks to Blob."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from azray_lab.storage.listing import inside
from azray_lab.storage.places import Blob, LocalFile
from azray_lab.storage.services import Services
from azray_lab.storage.transfer import Item, Meter, transfer

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage
    from azray_lab.storage.uri import BlobUri


class Found(NamedTuple):
    """A blob: its name below the URI's folder, its size in bytes, the version it has."""

    name: str
    size: int
    etag: str


def listed(uri: BlobUri, environ: Mapping[str, str] | None = None) -> Iterator[Found]:
    """Every blob below `uri`; one request for each 5,000 names. Our errors, as `azray blob ls` has them."""
    prefix = f"{uri.path.rstrip('/')}/" if uri.path else ""
    with Services(environ) as services:
        for entry in inside(services, uri, recursive=True):
            yield Found(entry.uri.path[len(prefix) :], entry.size or 0, entry.etag)


def fetch(
    uri: BlobUri,
    wanted: list[Found],
    folder: Path,
    operation: Operation[Any],
    stage: Stage,
    done: Callable[[Found], None],
    environ: Mapping[str, str] | None = None,
) -> None:
    """Brings `wanted` into `folder`, each file whole or not at all; `done` is told of each that is there."""
    meter = Meter(stage, len(wanted), sum(blob.size for blob in wanted))
    with Services(environ) as services:
        transfer((_item(services, uri, blob, folder, done) for blob in wanted), meter, operation)


def _item(services: Services, uri: BlobUri, blob: Found, folder: Path, done: Callable[[Found], None]) -> Item:
    return Item(Blob(services, uri / blob.name, blob.etag), _Told(folder / blob.name, blob, done), blob.size)


class _Told(LocalFile):
    """A file that tells when it is there."""

    def __init__(self, path: Path, blob: Found, done: Callable[[Found], None]) -> None:
        super().__init__(path)
        self._blob, self._done = blob, done

    def finish(self) -> None:
        """Gives the file its name, and tells."""
        super().finish()
        self._done(self._blob)
