"""What is in a storage account: containers, folders and blobs, as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.errors import BlobNotFoundError
from azray_lab.storage.clients import not_found

if TYPE_CHECKING:
    from azray_lab.storage.services import Services
    from azray_lab.storage.uri import BlobUri


@dataclass(frozen=True)
class Entry:
    """A container, folder or blob; `size` in bytes and `etag` for a blob only. `modified` has its time zone."""

    kind: Literal["container", "folder", "blob"]
    uri: BlobUri
    size: int | None = None
    modified: datetime | None = None
    etag: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The entry as plain JSON."""
        modified = self.modified.isoformat() if self.modified else None
        return {"type": self.kind, "uri": str(self.uri), "size": self.size, "modified": modified}


def entries(services: Services, uri: BlobUri, *, recursive: bool = False) -> Iterator[Entry]:
    """What is at `uri`: a blob itself, what a folder or container holds, the containers of an account.

    One request for each 5,000 names, and one more to see whether `uri` is a blob. `recursive` goes into folders and
    gives blobs only. Raises BlobNotFoundError when nothing is there.
    """
    if not uri.container:
        yield from _containers(services, uri)
        return
    found = False
    if uri.path and not uri.path.endswith("/") and (itself := blob(services, uri)) is not None:
        found = True
        yield itself
    for entry in inside(services, uri, recursive=recursive):
        found = True
        yield entry
    if not found and uri.path:
        raise not_found(uri, "BlobNotFound")


def blob(services: Services, uri: BlobUri) -> Entry | None:
    """The blob `uri`, or None when there is none of exactly that name. One request."""
    if not uri.path:
        return None
    try:
        with services.asking(uri):
            found = services.blob(uri).get_blob_properties()
    except BlobNotFoundError as error:
        # The service answers a HEAD without a body; only the code in the header tells the two apart.
        if error.facts.get("code") == "ContainerNotFound":
            raise
        return None
    return None if _is_folder(found) else _entry(found, uri)


def inside(services: Services, uri: BlobUri, *, recursive: bool) -> Iterator[Entry]:
    """What the folder or container `uri` holds, in the order of the names; nothing when there is no such folder."""
    prefix = f"{uri.path.rstrip('/')}/" if uri.path else ""
    client = services.container(uri)
    found: Iterator[Any]
    with services.asking(uri):
        if recursive:
            found = iter(client.list_blobs(name_starts_with=prefix, include=["metadata"]))
        else:
            found = iter(client.walk_blobs(name_starts_with=prefix, include=["metadata"], delimiter="/"))
    while True:
        with services.asking(uri):  # each step may ask for a page
            one: Any = next(found, None)
        if one is None:
            return
        # Folders on accounts with a hierarchical namespace are blobs too, and so is what some tools leave for `a/`.
        if "etag" not in one or not one["etag"]:
            yield Entry("folder", replace(uri, path=one.name))
        elif not _is_folder(one) and not one.name.endswith("/"):
            yield _entry(one, replace(uri, path=one.name))


def _containers(services: Services, uri: BlobUri) -> Iterator[Entry]:
    with services.asking(uri):
        for one in services.service(uri).list_containers():
            yield Entry("container", replace(uri, container=str(one.name)), modified=one.last_modified)


def _entry(found: Any, uri: BlobUri) -> Entry:
    etag = f'"{str(found.etag).strip(chr(34))}"'  # listings give it without its quotes
    return Entry("blob", uri, int(found.size), found.last_modified, etag)


def _is_folder(found: Any) -> bool:
    return str((found.metadata or {}).get("hdi_isfolder", "")).lower() == "true"
