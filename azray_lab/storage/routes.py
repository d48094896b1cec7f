"""Which file goes where: turns `copy SOURCE DESTINATION` into pairs of source and target."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StorageError, UsageError
from azray_lab.storage.clients import not_found
from azray_lab.storage.listing import Entry, blob, inside
from azray_lab.storage.places import Blob, LocalFile
from azray_lab.storage.transfer import Item
from azray_lab.storage.uri import BlobUri, is_uri

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.services import Services


@dataclass(frozen=True)
class Route:
    """One copy as it was asked for. With `recursive`, what is inside the source comes to lie inside the destination.

    Without it, a destination that is a folder or was written with a slash at its end (`into`) takes the file under its
    own name.
    """

    source: Path | BlobUri
    destination: Path | BlobUri
    recursive: bool = False
    into: bool = False

    @classmethod
    def parse(cls, source: str | Path | BlobUri, destination: str | Path | BlobUri, *, recursive: bool) -> Route:
        """The route between two places, each a URI or a local path; UsageError when neither is a URI."""
        ends = [_place(source), _place(destination)]
        if not any(isinstance(end, BlobUri) for end in ends):
            raise UsageError(
                f"neither {source} nor {destination} is a Blob URI", next_step=f"azray blob cp {source} az://container/"
            )
        for end in ends:
            if isinstance(end, BlobUri) and not end.container:
                raise UsageError(f"{end} names no container", next_step="azray blob ls az://")
        return cls(ends[0], ends[1], recursive=recursive, into=str(destination).endswith("/"))

    def items(self, services: Services, operation: Operation[Any]) -> Iterator[Item]:
        """The files to copy, with their sizes; what is left out is told by a note. Requests: as `listing.entries`."""
        if isinstance(self.source, Path):
            return self._from_files(self.source, services, operation)
        return self._from_blobs(self.source, services)

    def _from_files(self, source: Path, services: Services, operation: Operation[Any]) -> Iterator[Item]:
        if not source.exists():
            raise UsageError(f"there is no file {source}", next_step=f"ls -l {source.parent}")
        if not source.is_dir():
            file = LocalFile(source)
            yield Item(file, self._target(services, source.name), file.size())
            return
        if not self.recursive:
            raise _is_folder(source)
        for path in _files(source, operation):
            file = LocalFile(path)
            yield Item(file, self._inside(services, path.relative_to(source).as_posix()), file.size())

    def _from_blobs(self, source: BlobUri, services: Services) -> Iterator[Item]:
        found = inside(services, source, recursive=True)
        if not self.recursive:
            yield self._single(source, services, found)
            return
        prefix = f"{source.path.rstrip('/')}/" if source.path else ""
        first = next(found, None)
        if first is None:
            if source.path:  # an empty container is a folder without files
                yield self._single(source, services, found)
            return
        for entry in (first, *found):
            target = self._inside(services, entry.uri.path[len(prefix) :])
            yield Item(Blob(services, entry.uri, entry.etag), target, entry.size or 0)

    def _single(self, source: BlobUri, services: Services, found: Iterator[Entry]) -> Item:
        entry = None if source.path.endswith("/") else blob(services, source)
        if entry is None:
            raise _is_folder(source) if next(found, None) or not source.path else not_found(source, "BlobNotFound")
        return Item(Blob(services, source, entry.etag), self._target(services, source.name), entry.size or 0)

    def _target(self, services: Services, name: str) -> LocalFile | Blob:
        """Where a single file goes."""
        if isinstance(self.destination, BlobUri):
            folder = not self.destination.path or self.into
            return Blob(services, self.destination / name if folder else self.destination)
        folder = self.into or self.destination.is_dir()
        return LocalFile(self.destination / name if folder else self.destination)

    def _inside(self, services: Services, name: str) -> LocalFile | Blob:
        """Where the file `name`, relative to the source, goes."""
        if isinstance(self.destination, BlobUri):
            return Blob(services, self.destination / name)
        if "\0" in name or any(part in {"", ".", ".."} for part in name.split("/")):
            raise StorageError(
                f"the blob {name!r} cannot be a local file", cause="a part of its name is empty or holds a zero byte"
            )
        return LocalFile(self.destination / name)


def _place(text: str | Path | BlobUri) -> Path | BlobUri:
    if isinstance(text, str):
        return BlobUri.parse(text) if is_uri(text) else Path(text).expanduser()
    return text


def _is_folder(source: Path | BlobUri) -> UsageError:
    return UsageError(f"{source} is a folder", next_step="add -r (recursive=True in Python) to copy what is in it")


def _files(folder: Path, operation: Operation[Any]) -> Iterator[Path]:
    """The regular files below `folder`, by name; a note tells how many other things are left out."""
    left_out = 0
    for here, folders, names in os.walk(folder, onerror=_unreadable):
        folders.sort()
        left_out += sum((Path(here) / name).is_symlink() for name in folders)  # os.walk does not follow them
        for name in sorted(names):
            path = Path(here) / name
            if path.is_file():
                yield path
            else:
                left_out += 1
    if left_out:
        operation.note(f"left out {left_out} links to folders, broken links and special files", left_out=left_out)


def _unreadable(error: OSError) -> None:
    raise StorageError(
        f"{error.filename} cannot be read", cause=error.strerror or str(error), next_step=f"ls -ld {error.filename}"
    ) from error
