"""Which file goes where: turns `copy SOURCE DESTINATION` into the files of a copy."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import BlobNotFoundError, CredentialError, UsageError
from azray_lab.spec.uri import BlobUri, is_uri
from azray_lab.storage.between import Crossing
from azray_lab.storage.disk import Names, files_in, tell_left_out
from azray_lab.storage.engine import Engine, engine_for
from azray_lab.storage.listing import blob, inside, missing
from azray_lab.storage.patterns import base, below, is_placeholder, leave_out, matching, wild
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
    own name, unless the destination is `exact`ly the new name. What matches a source with a pattern comes to lie inside
    by its name below the pattern's fixed part. `check` compares checksums.
    """

    source: Path | BlobUri
    destination: Path | BlobUri
    recursive: bool = False
    into: bool = False
    exact: bool = False
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
        # Behind an address may stand a signature, so the end of the text says nothing.
        text = ends[1].path if isinstance(ends[1], BlobUri) else str(destination)
        return cls(ends[0], ends[1], into=text.endswith("/"), **options)

    def engine(self, end: BlobUri, stop: Stop) -> Engine:
        """The engine of one end, whose pauses `stop` ends."""
        return engine_for(end, self.environ).stoppable(stop)

    def own_folder(self, stop: Stop) -> str | None:
        """What the names at the destination begin with, where it is in the container of the source; else None."""
        source, target = self.source, self.destination
        if not isinstance(source, BlobUri) or not isinstance(target, BlobUri) or source.container != target.container:
            return None
        endpoints = {self.engine(end, stop).account.endpoint for end in (source, target)}
        return below(target.path) if len(endpoints) == 1 else None

    def refuse_itself(self, stop: Stop, source: str) -> None:
        """UsageError when the destination is, or lies in, the folder of which all names begin with `source`."""
        own = self.own_folder(stop)
        if own is None or not own.startswith(source):
            return
        where, cause = "lies in", "what is copied would be copied again"
        if own == source:
            where, cause = "is the place of", "each blob would be copied onto itself"
        step = "name a destination outside of the source"
        raise UsageError(f"{self.destination} {where} {self.source}", cause=cause, next_step=step)

    def items(
        self, operation: Operation[Any], stop: Stop, *, quiet: bool = False, only: Container[str] | None = None
    ) -> Iterator[Item]:
        """The files to copy; what is left out is told by a note, unless `quiet`. Requests: as a listing.

        `only`: of a recursive copy, the files whose names relative to the source are in it.
        """
        return _Items(self, operation, stop, quiet=quiet, only=only).items()


class _Items:
    def __init__(
        self, route: Route, operation: Operation[Any], stop: Stop, *, quiet: bool, only: Container[str] | None
    ) -> None:
        self._route = route
        self._stop = stop
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
        left_out: list[str] = []
        for path in files_in(source, left_out):
            name = path.relative_to(source).as_posix()
            if self._only is None or name in self._only:
                yield self._upload(path, self._inside(name))
        if not self._quiet:
            tell_left_out(left_out, self._operation)

    def _upload(self, path: Path, target: Path | BlobUri) -> Item:
        if self._to is None or isinstance(target, Path):  # two local paths: `Route.parse` refuses them
            raise UsageError(f"{target} is no Blob URI")
        if "\\" in target.path:
            raise UsageError(
                f"{path} cannot be the blob {target.path!r}",
                cause="the service takes a backslash in a name for a slash",
                next_step="rename it, or name a destination without a backslash",
            )
        return FileToBlob(self._to, path, (target.container, target.path), check=self._route.check)

    def _from_blobs(self, engine: Engine, source: BlobUri) -> Iterator[Item]:
        recursive, special = self._route.recursive, wild(source.path)
        if not recursive or special:  # a blob that is called like a pattern comes first
            entry = blob(engine, source)
            if entry is not None:
                yield self._single_blob(engine, source, entry)
                return
        found = inside(engine, source, recursive=True)
        first = next(found, None)
        if first is not None or not source.path:
            if not recursive:
                raise _is_folder(source)
            self._route.refuse_itself(self._stop, below(source.path))
            yield from self._all(engine, source, below(source.path), itertools.chain([first] if first else [], found))
        elif special:
            yield from self._matching(engine, source)
        elif recursive and (entry := blob(engine, source)) is not None:
            yield self._single_blob(engine, source, entry)
        else:
            raise missing(engine, source)

    def _matching(self, engine: Engine, source: BlobUri) -> Iterator[Item]:
        """What matches a pattern; not what lies in the destination, which may match as well."""
        start, folders, nothing = base(source.path), 0, True
        own = self._route.own_folder(self._stop)
        if own == start:
            self._route.refuse_itself(self._stop, start)
        for entry in matching(engine, source, recursive=self._route.recursive):
            if own is not None and len(own) > len(start) and entry.name.startswith(own):
                continue
            if is_placeholder(entry):
                folders += not self._route.recursive
                continue
            nothing = False
            yield from self._all(engine, source, start, iter([entry]))
        leave_out(source, folders, nothing=nothing, operation=None if self._quiet else self._operation)
        if nothing:
            raise missing(engine, source)

    def _all(self, engine: Engine, source: BlobUri, start: str, found: Iterator[Entry]) -> Iterator[Item]:
        for number, entry in enumerate(found):
            if number % 1000 == 0:
                self._operation.check()
            name = entry.name[len(start) :]
            if self._only is None or name in self._only:
                yield self._of_blob(engine, source.container, entry, self._inside(name))

    def _single_blob(self, engine: Engine, source: BlobUri, entry: Entry) -> Item:
        return self._of_blob(engine, source.container, entry, self._single(source.name))

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
        destination, into = self._route.destination, self._route.into
        if isinstance(destination, BlobUri):
            inner = not destination.path or into or (not self._route.exact and self._holds_blobs(destination))
        else:
            inner = into or (not self._route.exact and destination.is_dir())
        return destination / name if inner else destination

    def _holds_blobs(self, destination: BlobUri) -> bool:
        """Whether a folder of blobs is called so, and no blob is. One request, or two."""
        engine = self._to
        # A missing container is told, or made, later; and a signature may allow to write and nothing else.
        with contextlib.suppress(BlobNotFoundError, CredentialError):
            if engine is not None and next(inside(engine, destination, recursive=False), None) is not None:
                return blob(engine, destination) is None
        return False

    def _inside(self, name: str) -> Path | BlobUri:
        """Where the file `name`, relative to the source, goes."""
        destination = self._route.destination
        return destination / name if self._names is None else self._names.path(name)


def place_of(text: str | Path | BlobUri) -> Path | BlobUri:
    """A URI or a local path, as a value."""
    if isinstance(text, str):
        return BlobUri.parse(text) if is_uri(text) else Path(text).expanduser()
    return text


def _is_folder(source: Path | BlobUri) -> UsageError:
    return UsageError(f"{source} is a folder", next_step="add -r (recursive=True in Python) to copy what is in it")
