"""Which file goes where: turns `copy SOURCE DESTINATION` into the files of a copy."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StorageError, UsageError
from azray_lab.spec.uri import BlobUri, is_uri
from azray_lab.storage.between import Crossing
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.listing import blob, inside, matching, missing, wild
from azray_lab.storage.places import BlobToFile, FileToBlob, Item

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.engine import Entry
    from azray_lab.storage.engine.checksums import Check
    from azray_lab.storage.engine.stopping import Stop


@dataclass(frozen=True)
class Route:
    """One copy as it was asked for. With `recursive`, what is inside the source comes to lie inside the destination.

    Without it, a destination that is a folder or was written with a slash at its end (`into`) takes the file under its
    own name; so do all that match a source with a pattern. `check` compares checksums.
    """

    source: Path | BlobUri
    destination: Path | BlobUri
    recursive: bool = False
    into: bool = False
    check: Check = False
    environ: Mapping[str, str] | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, source: str | Path | BlobUri, destination: str | Path | BlobUri, **options: Any) -> Route:
        """The route between two places, each a URI or a local path; UsageError when neither is a URI."""
        ends = [place_of(source), place_of(destination)]
        if not any(isinstance(end, BlobUri) for end in ends):
            raise UsageError(
                f"neither {source} nor {destination} is a Blob URI", next_step=f"azray blob cp {source} az://container/"
            )
        for end in ends:
            if isinstance(end, BlobUri) and not end.container:
                raise UsageError(f"{end} names no container", next_step="azray blob ls az://")
        return cls(ends[0], ends[1], into=str(destination).endswith("/"), **options)

    def engine(self, end: BlobUri, stop: Stop) -> Engine:
        """The engine of one end, whose pauses `stop` ends."""
        return engine_for(end, self.environ).stoppable(stop)

    def items(
        self,
        operation: Operation[Any],
        stop: Stop,
        *,
        quiet: bool = False,
        only: Container[str] | None = None,
    ) -> Iterator[Item]:
        """The files to copy; what is left out is told by a note, unless `quiet`. Requests: as a listing.

        `only`: of a recursive copy, the files whose names relative to the source are in it.
        """
        return _Items(self, operation, stop, quiet=quiet, only=only).items()


class _Items:
    def __init__(
        self,
        route: Route,
        operation: Operation[Any],
        stop: Stop,
        *,
        quiet: bool,
        only: Container[str] | None,
    ) -> None:
        self._route = route
        self._only = only
        self._operation = operation
        self._quiet = quiet
        self._from = route.engine(route.source, stop) if isinstance(route.source, BlobUri) else None
        self._to = route.engine(route.destination, stop) if isinstance(route.destination, BlobUri) else None
        self._names = Names(route.destination) if isinstance(route.destination, Path) else None
        self._crossing: Crossing | None = None

    def items(self) -> Iterator[Item]:
        source = self._route.source
        if isinstance(source, Path):
            yield from self._from_files(source)
        elif self._from is not None:
            yield from self._from_blobs(self._from, source)

    def _from_files(self, source: Path) -> Iterator[Item]:
        if not source.exists():
            raise UsageError(f"there is no file {source}", next_step=f"ls -l {source.parent}")
        if not source.is_dir():
            yield self._upload(source, self._single(source.name))
            return
        if not self._route.recursive:
            raise _is_folder(source)
        for path in files_in(source, None if self._quiet else self._operation):
            name = path.relative_to(source).as_posix()
            if self._only is None or name in self._only:
                yield self._upload(path, self._inside(name))

    def _upload(self, path: Path, target: Path | BlobUri) -> Item:
        if self._to is None or isinstance(target, Path):  # two local paths: `Route.parse` refuses them
            raise UsageError(f"{target} is no Blob URI")
        return FileToBlob(self._to, path, (target.container, target.path), check=self._route.check)

    def _from_blobs(self, engine: Engine, source: BlobUri) -> Iterator[Item]:
        found = inside(engine, source, recursive=True)
        if not self._route.recursive:
            yield from self._singles(engine, source, found)
            return
        prefix = f"{source.path.rstrip('/')}/" if source.path else ""
        first = next(found, None)
        if first is None:
            if source.path:  # an empty container is a folder without files
                yield from self._singles(engine, source, found)
            return
        for number, entry in enumerate(_chain(first, found)):
            if number % 1000 == 0:
                self._operation.check()
            name = entry.name[len(prefix) :]
            if self._only is None or name in self._only:
                yield self._of_blob(engine, source.container, entry, self._inside(name))

    def _singles(self, engine: Engine, source: BlobUri, found: Iterator[Entry]) -> Iterator[Item]:
        entry = blob(engine, source)
        if entry is not None:
            yield self._of_blob(engine, source.container, entry, self._single(source.name))
            return
        nothing = True
        if wild(source.path):
            for entry in matching(engine, source):
                nothing = False
                name = entry.name.rpartition("/")[2]
                yield self._of_blob(engine, source.container, entry, self._inside(name))
        if nothing:
            raise _is_folder(source) if next(found, None) or not source.path else missing(engine, source)

    def _of_blob(self, engine: Engine, container: str, entry: Entry, target: Path | BlobUri) -> Item:
        place = (container, entry.name)
        if isinstance(target, Path):
            return BlobToFile(engine, place, entry, target, check=self._route.check)
        to = (target.container, target.path)
        if self._crossing is None:
            self._crossing = Crossing(
                *(engine, self._to or engine, self._operation), check=self._route.check, quiet=self._quiet
            )
        return self._crossing.item(place, entry, to)

    def _single(self, name: str) -> Path | BlobUri:
        """Where a single file goes."""
        destination = self._route.destination
        if isinstance(destination, BlobUri):
            return destination / name if not destination.path or self._route.into else destination
        return destination / name if self._route.into or destination.is_dir() else destination

    def _inside(self, name: str) -> Path | BlobUri:
        """Where the file `name`, relative to the source, goes."""
        destination = self._route.destination
        return destination / name if self._names is None else self._names.path(name)


class Names:
    """What blobs are called as files below `folder`: never outside of it, and never two the same."""

    def __init__(self, folder: str | Path | BlobUri, *, folds: bool | None = None) -> None:
        self._folder = Path(str(folder))
        self._folds = folds
        self._seen: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """The file for the blob `name`; StorageError when it cannot be one, or is another's but for its case."""
        if "\0" in name or any(part in {"", ".", ".."} for part in name.split("/")):
            raise StorageError(
                f"the blob {name!r} cannot be a local file",
                cause="a part of its name is empty, `.` or `..`, or holds a zero byte",
                next_step="copy it alone, under another name",
                name=name,
            )
        if self._folds is None:
            self._folds = folds_case(self._folder)
        if self._folds and (other := self._seen.setdefault(name.casefold(), name)) != name:
            raise StorageError(
                f"the blobs {other!r} and {name!r} would be one file",
                cause="the file system of the destination does not tell upper from lower case",
                next_step="copy one of them alone, under another name",
                names=[other, name],
            )
        return self._folder / name


def folds_case(folder: Path) -> bool:
    """Whether names below `folder` that differ in case only are one file: tried in the nearest folder that exists."""
    there = next((one for one in (folder, *folder.absolute().parents) if one.is_dir()), Path())
    probe = there / f".azray-{secrets.token_hex(4)}-x"
    try:
        probe.touch(exist_ok=False)
    except OSError:  # nothing can be written here: the copy will say so
        return False
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def place_of(text: str | Path | BlobUri) -> Path | BlobUri:
    """A URI or a local path, as a value."""
    if isinstance(text, str):
        return BlobUri.parse(text) if is_uri(text) else Path(text).expanduser()
    return text


def _chain(first: Entry, rest: Iterator[Entry]) -> Iterator[Entry]:
    yield first
    yield from rest


def _is_folder(source: Path | BlobUri) -> UsageError:
    return UsageError(f"{source} is a folder", next_step="add -r (recursive=True in Python) to copy what is in it")


def files_in(folder: Path, operation: Operation[Any] | None) -> Iterator[Path]:
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
    if left_out and operation is not None:
        operation.note(f"left out {left_out} links to folders, broken links and special files", left_out=left_out)


def _unreadable(error: OSError) -> None:
    raise StorageError(
        f"{error.filename} cannot be read", cause=error.strerror or str(error), next_step=f"ls -ld {error.filename}"
    ) from error
