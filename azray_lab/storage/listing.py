"""What is in a storage account, as people see it: containers, folders and blobs, also by a pattern."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from azray_lab.errors import BlobNotFoundError, CredentialError, UsageError
from azray_lab.storage.engine import Engine, engine_for, faults
from azray_lab.storage.patterns import base, below, is_placeholder, matching, wild

if TYPE_CHECKING:
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import Entry


@dataclass(frozen=True)
class Found:
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

    @classmethod
    def of(cls, entry: Entry, uri: BlobUri) -> Found:
        """The entry, with its place: `uri` is that of the container."""
        if entry.kind == "container":
            return cls("container", replace(uri, container=entry.name, path=""), modified=entry.modified)
        place = replace(uri, path=entry.name)
        if entry.kind == "folder":
            return cls("folder", place)
        return cls("blob", place, entry.size, entry.modified, entry.etag)


def found_at(uri: BlobUri, environ: Mapping[str, str] | None = None, *, recursive: bool = False) -> Iterator[Found]:
    """What is at `uri`: a blob itself, what a folder or container holds, the containers of an account.

    With `*`, `?` or `[...]` in its path: the blobs and folders that match it (see `patterns`). One request for each
    5,000 names, and one more to see whether `uri` is a blob. `recursive` goes into folders and gives blobs only. Raises
    BlobNotFoundError when nothing is there.
    """
    engine = engine_for(uri, environ)
    if not uri.container:
        yield from (Found.of(one, uri) for one in engine.containers())
        return
    nothing = True
    for entry in _entries(engine, uri, recursive=recursive):
        nothing = False
        yield Found.of(entry, uri)
    if nothing and uri.path and not is_empty_folder(engine, uri):
        raise missing(engine, uri)


def _entries(engine: Engine, uri: BlobUri, *, recursive: bool) -> Iterator[Entry]:
    itself = blob(engine, uri)
    if itself is not None:
        yield itself
        yield from inside(engine, uri, recursive=recursive)
    else:
        yield from held(engine, uri, recursive=recursive)[1]


def held(engine: Engine, uri: BlobUri, *, recursive: bool) -> tuple[str, Iterator[Entry]]:
    """What the folder `uri` holds; of a pattern, unless a folder is called so literally, what matches it.

    With what all of their names begin with. `recursive`: blobs only, also those in the folders that match.
    """
    found = inside(engine, uri, recursive=recursive)
    if not wild(uri.path):
        return below(uri.path), found
    first = next(found, None)
    if first is not None:
        return below(uri.path), itertools.chain([first], found)
    found = matching(engine, uri, recursive=recursive)
    return base(uri.path), (entry for entry in found if not recursive or not is_placeholder(entry))


def blob(engine: Engine, uri: BlobUri) -> Entry | None:
    """The blob `uri`, or None when there is none of exactly that name, or it stands for a folder. One request."""
    if not uri.path or uri.path.endswith("/"):
        return None
    found = engine.stat(uri.container, uri.path)
    return None if found is None or stands_for_folder(found) else found


def stands_for_folder(entry: Entry) -> bool:
    """Whether a blob that was looked at is a folder's: of a hierarchical namespace, or left by other tools."""
    metadata = {name.lower(): value.lower() for name, value in entry.metadata.items()}
    return metadata.get("hdi_isfolder") == "true" or entry.fact("x-ms-resource-type") == "directory"


def is_empty_folder(engine: Engine, uri: BlobUri) -> bool:
    """Whether a blob stands for the folder `uri`, in which nothing was found. One request."""
    found = engine.stat(uri.container, uri.path.rstrip("/"))
    if found is None and uri.path.endswith("/"):
        found = engine.stat(uri.container, uri.path)
    return found is not None and (stands_for_folder(found) or (found.name.endswith("/") and not found.size))


def inside(engine: Engine, uri: BlobUri, *, recursive: bool) -> Iterator[Entry]:
    """What the folder or container `uri` holds, in the order of the names; nothing when there is no such folder.

    What stands for a folder itself is left out: on accounts with a hierarchical namespace, and after some tools, `a/`
    or `a` is a blob too.
    """
    prefix = below(uri.path)
    for entry in engine.list(uri.container, prefix, "" if recursive else "/"):
        stands = is_placeholder(entry) and (recursive or entry.kind == "blob")
        if entry.name != prefix and not stands:
            yield entry


@contextlib.contextmanager
def readable(engine: Engine, uri: BlobUri) -> Iterator[None]:
    """In the block a blob is read: UsageError where `uri` is a container, or turns out to be a folder."""
    if not uri.path:
        kind = "a container" if uri.container else "a storage account"
        raise UsageError(f"{uri} is no blob", cause=f"it is {kind}", next_step=f"azray blob ls {uri}")
    try:
        yield
    except BlobNotFoundError:
        with contextlib.suppress(BlobNotFoundError, CredentialError):  # the first error counts
            if next(inside(engine, uri, recursive=False), None) is not None or is_empty_folder(engine, uri):
                raise UsageError(
                    f"{uri} is no blob", cause="it is a folder", next_step=f"azray blob ls {uri}"
                ) from None
        raise


def missing(engine: Engine, uri: BlobUri) -> Exception:
    """The error for a blob or folder that is not there."""
    place = engine.wire.place(uri.container, uri.path)
    return faults.missing(place, "BlobNotFound", engine.account, {"uri": place, "status": 404, "code": "BlobNotFound"})
