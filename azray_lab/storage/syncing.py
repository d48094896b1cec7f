"""Makes one folder like another: what is missing, of another size or older is copied, what is too much removed."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from azray_lab.errors import UsageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.copying import Done, as_action, copy_items
from azray_lab.storage.engine import engine_for
from azray_lab.storage.engine.flights import Job, fly
from azray_lab.storage.engine.landing import local
from azray_lab.storage.engine.stopping import Stop
from azray_lab.storage.listing import inside, missing
from azray_lab.storage.routes import Route, files_in
from azray_lab.storage.transfer import Tally, files_text, telling

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.storage.engine.checksums import Check
    from azray_lab.storage.places import Item

# File systems and HTTP round times differently.
_SAME_SECONDS = 2.0


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
        if isinstance(route.source, Path) and not route.source.is_dir():
            raise UsageError(f"there is no folder {route.source}", next_step=f"ls -l {route.source.parent}")
        return cls(route, delete)

    def run(self, operation: Operation[Any], *, create: bool) -> tuple[Done, int, int]:
        """Does it: what was copied, how many files were unchanged, how many removed."""
        began = operation.elapsed
        stop = Stop.of(operation)
        if create and isinstance(self.route.destination, BlobUri):
            self.route.engine(self.route.destination, stop).create_container(self.route.destination.container)
        with operation.stage("list", f"comparing {self.route.source} and {self.route.destination}") as stage:
            items, names, there = self._compare(operation, stop)
            unchanged = len(names) - len(items)
            stage.summary = f"{len(items)} to copy, {unchanged} unchanged"
        total = sum(item.size for item in items)
        done = copy_items(iter(items), len(items), total, operation, stop, began)
        removed = self._remove(operation, stop, sorted(there - names)) if self.delete else 0
        return done._replace(seconds=round(operation.elapsed - began, 3)), unchanged, removed

    def planned(self) -> Iterator[dict[str, Any]]:
        """What it would do, as plain values."""
        from azray_lab.operation import Operation

        items, names, there = self._compare(Operation("look"), Stop())
        yield from map(as_action, items)
        for name in sorted(there - names) if self.delete else ():
            yield {"action": "remove", "source": "", "target": str(self.route.destination / name), "size": 0}

    def _compare(self, operation: Operation[Any], stop: Stop) -> tuple[list[Item], set[str], set[str]]:
        """The files to copy, the names on the source's side, and those on the other."""
        there = dict(self._known(self.route.destination, operation, stop))
        here = dict(self._known(self.route.source, operation, stop))
        source = self.route.source
        # An empty container is a folder without files; a prefix without any is most likely misspelt.
        if not here and isinstance(source, BlobUri) and source.path:
            raise missing(engine_for(source, self.route.environ), source)
        changed = {name for name, known in here.items() if _differs(known, there.get(name))}
        items = list(self.route.items(operation, stop, only=changed)) if changed else []
        return items, set(here), set(there)

    def _known(self, end: Path | BlobUri, operation: Operation[Any], stop: Stop) -> Iterator[tuple[str, _Known]]:
        if isinstance(end, Path):
            for path in files_in(end, None) if end.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    yield path.relative_to(end).as_posix(), _Known(found.st_size, found.st_mtime)
            return
        engine = self.route.engine(end, stop)
        prefix = f"{end.path.rstrip('/')}/" if end.path else ""
        for number, entry in enumerate(inside(engine, end, recursive=True)):
            if number % 1000 == 0:
                operation.check()
            modified = entry.modified
            yield entry.name[len(prefix) :], _Known(entry.size, modified.timestamp() if modified else 0.0)

    def _remove(self, operation: Operation[Any], stop: Stop, names: list[str]) -> int:
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


def _unlinked(path: Path) -> bool:
    with local(path, "removed"):
        path.unlink(missing_ok=True)
    return True


def _differs(source: _Known, destination: _Known | None) -> bool:
    if destination is None or source.size != destination.size:
        return True
    return source.modified > destination.modified + _SAME_SECONDS
