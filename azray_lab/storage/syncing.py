"""Makes one folder like another: what is missing, of another size or older is copied, what is too much removed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from azray_lab.errors import UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.copying import Done, as_action, copy_items
from azray_lab.storage.disk import files_in, tell_left_out
from azray_lab.storage.engine.flights import Job, fly
from azray_lab.storage.engine.landing import local
from azray_lab.storage.engine.stopping import Stop
from azray_lab.storage.listing import blob, inside, missing
from azray_lab.storage.patterns import below
from azray_lab.storage.routes import Route
from azray_lab.storage.transfer import Tally, files_text, telling

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.engine.checksums import Check
    from azray_lab.storage.places import Item


class _Known(NamedTuple):
    """What is known of a file on one side."""

    size: int
    modified: float


@dataclass(frozen=True)
class Sync:
    """One sync as it was asked for."""

    route: Route
    delete: bool = False

    @classmethod
    def parse(
        cls, source: str | Path | BlobUri, destination: str | Path | BlobUri, *, delete: bool,
        environ: Mapping[str, str] | None, check: Check = False,
    ) -> Sync:  # fmt: skip
        """The sync of two folders, each a URI or a local path; UsageError when neither is a URI."""
        route = Route.parse(source, destination, recursive=True, check=check, environ=environ)
        for end in (route.source, route.destination):
            if isinstance(end, Path) and end.exists() and not end.is_dir():
                raise _no_folder(end, "file", route)
        if isinstance(route.source, Path) and not route.source.exists():
            raise UsageError(f"there is no folder {route.source}", next_step=f"ls -l {route.source.parent}")
        return cls(route, delete)

    def run(self, operation: Operation[Any], *, create: bool) -> tuple[Done, int, int]:
        """Does it: what was copied, how many files were unchanged, how many removed."""
        began = operation.elapsed
        stop = Stop.of(operation)
        if create and isinstance(self.route.destination, BlobUri):
            self.route.engine(self.route.destination, stop).create_container(self.route.destination.container)
        with operation.stage("list", f"comparing {self.route.source} and {self.route.destination}") as stage:
            items, names, doomed = self._compare(operation, stop)
            unchanged = names - len(items)
            stage.summary = f"{len(items)} to copy, {unchanged} unchanged"
        total = sum(item.size for item in items)
        done = copy_items(iter(items), len(items), total, operation, stop, began)
        removed = self._remove(operation, stop, doomed)
        return done._replace(seconds=round(operation.elapsed - began, 3)), unchanged, removed

    def planned(self, operation: Operation[Any]) -> Iterator[dict[str, Any]]:
        """What it would do, as plain values; what it would tell beside is noted."""
        items, _, doomed = self._compare(operation, Stop())
        yield from map(as_action, items)
        for name, size in doomed.items():
            yield {"action": "remove", "source": "", "target": str(self.route.destination / name), "size": size}

    def _compare(self, operation: Operation[Any], stop: Stop) -> tuple[list[Item], int, dict[str, int]]:
        """The files to copy, how many the source has, and names and sizes of those to remove from the other side."""
        self._refuse_itself(stop)
        left_out: list[str] = []
        there = dict(self._known(self.route.destination, operation, stop, []))
        here = dict(self._known(self.route.source, operation, stop, left_out))
        if not here:
            self._refuse_nothing(stop)
        service = isinstance(self.route.source, BlobUri) and isinstance(self.route.destination, BlobUri)
        changed = {name for name, known in here.items() if _differs(known, there.get(name), service=service)}
        items = list(self.route.items(operation, stop, only=changed)) if changed else []
        if not changed:
            tell_left_out(left_out, operation)
        kept = set(left_out)
        # What was not looked at may well be there: it is not removed.
        extra = sorted(there.keys() - here.keys()) if self.delete else []
        return items, len(here), {name: there[name].size for name in extra if kept.isdisjoint(_with_folders(name))}

    def _refuse_itself(self, stop: Stop) -> None:
        """UsageError when one end lies in the other and would be copied again or, with `delete`, be removed."""
        source, own = self.route.source, self.route.own_folder(stop)
        if not isinstance(source, BlobUri) or own is None:
            return
        self.route.refuse_itself(stop, below(source.path))
        if self.delete and below(source.path).startswith(own):
            raise UsageError(
                f"{source} lies in {self.route.destination}",
                cause="--delete would remove it there",
                next_step="leave --delete out, or name another destination",
            )

    def _refuse_nothing(self, stop: Stop) -> None:
        """An empty container is a folder without files; a prefix without any is a blob, or most likely misspelt."""
        source = self.route.source
        if not isinstance(source, BlobUri) or not source.path:
            return
        engine = self.route.engine(source, stop)
        if blob(engine, source) is not None:
            raise _no_folder(source, "blob", self.route)
        raise missing(engine, source)

    def _known(
        self, end: Path | BlobUri, operation: Operation[Any], stop: Stop, left_out: list[str]
    ) -> Iterator[tuple[str, _Known]]:
        if isinstance(end, Path):
            for path in files_in(end, left_out) if end.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    yield path.relative_to(end).as_posix(), _Known(found.st_size, found.st_mtime)
            return
        engine = self.route.engine(end, stop)
        prefix = below(end.path)
        for number, entry in enumerate(inside(engine, end, recursive=True)):
            if number % 1000 == 0:
                operation.check()
            modified = entry.modified
            yield entry.name[len(prefix) :], _Known(entry.size, modified.timestamp() if modified else 0.0)

    def _remove(self, operation: Operation[Any], stop: Stop, names: Collection[str]) -> int:
        if not names:
            return 0
        tally, remove = Tally(), self._remover(stop)

        def work(name: str) -> None:
            if remove(name):
                tally.add(0)

        def done() -> str:
            return f"all was copied, {tally.files} of {files_text(len(names))} removed"

        with (
            operation.stage("remove", f"{len(names)} that {self.route.source} has not") as stage,
            telling(operation, done, lambda: tally.files),
        ):
            for _ in fly((Job(functools.partial(work, name)) for name in names), operation.check, stop):
                pass
            stage.summary = f"{tally.files} removed"
        return tally.files

    def _remover(self, stop: Stop) -> Callable[[str], bool]:
        end = self.route.destination
        if isinstance(end, BlobUri):
            engine = self.route.engine(end, stop)
            return lambda name: engine.delete(end.container, (end / name).path)
        return lambda name: _unlinked(end / name)


def _no_folder(end: Path | BlobUri, kind: str, route: Route) -> UsageError:
    step = f"azray blob cp {route.source} {route.destination}"
    return UsageError(f"{end} is a {kind}", cause="a sync makes one folder like another", next_step=step)


def _with_folders(name: str) -> Iterator[str]:
    """A name, and those of the folders that it is in."""
    yield name
    while name := name.rpartition("/")[0]:
        yield name


def _unlinked(path: Path) -> bool:
    with local(path, "removed"):
        path.unlink(missing_ok=True)
    return True


def _differs(source: _Known, destination: _Known | None, *, service: bool) -> bool:
    """Whether it has to be copied. `service`: both are blobs.

    A blob's time is when it came, cut to a second, and a file that was brought has its blob's. So a file of a later
    time may have been written after it was sent, however little later, and a blob of the same time after it was copied.
    """
    if destination is None or source.size != destination.size:
        return True
    return source.modified > destination.modified or (service and source.modified == destination.modified)
