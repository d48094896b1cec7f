"""Moves the files of a copy: parts in parallel, progress, cancellation, nothing half done left behind."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, CancelledError
from azray_lab.storage.engine.flights import Job, fly

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage
    from azray_lab.storage.engine.stopping import Stop
    from azray_lab.storage.places import Item

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
# Progress is told when a hundredth more is there, or after so many seconds.
_TELL_SECONDS = 1.0


class Meter:
    """Counts what has arrived and reports it, with the rate and the time left."""

    def __init__(self, stage: Stage, items: int, total: int) -> None:
        self._stage = stage
        self._items = items
        self._began = self._told_at = time.monotonic()
        self._told = -1
        self.total = total
        self.bytes = 0
        self.files = 0

    def add(self, count: int, *, finished: bool) -> None:
        """`count` more bytes are there; `finished`: and with them a file."""
        self.bytes += count
        self.files += finished
        share = self.bytes / self.total if self.total else self.files / max(self._items, 1)
        now = time.monotonic()
        if int(share * 100) == self._told and now - self._told_at < _TELL_SECONDS:
            return
        self._told, self._told_at = int(share * 100), now
        self._stage.progress(min(share, 1.0), self._words(), **self._facts())

    def _words(self) -> str:
        from azray_lab.views import seconds

        left = f", {seconds(self.left)} left" if self.left else ""
        return f"{size_text(self.bytes)} of {size_text(self.total)}, {size_text(self.rate)}/s{left}"

    def _facts(self) -> dict[str, Any]:
        return {
            "bytes": self.bytes,
            "total": self.total,
            "files": self.files,
            "rate": round(self.rate),
            "seconds_left": round(self.left, 1),
        }

    @property
    def rate(self) -> float:
        """Bytes a second since the beginning."""
        return self.bytes / max(time.monotonic() - self._began, 1e-6)

    @property
    def left(self) -> float:
        """The seconds that the rest takes at this rate."""
        return max(self.total - self.bytes, 0) / self.rate if self.bytes else 0.0


class Tally:
    """Counts what threads have done."""

    def __init__(self) -> None:
        self.files = self.bytes = 0
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """One more file, of `size` bytes."""
        with self._lock:
            self.files, self.bytes = self.files + 1, self.bytes + size


@contextlib.contextmanager
def telling(operation: Operation[Any], done: Callable[[], str], count: Callable[[], int]) -> Iterator[None]:
    """An error, or Ctrl-C, in the block also says what had been `done` by then, and the fact `files` how many."""
    try:
        yield
    except KeyboardInterrupt as error:
        ours = CancelledError(f"{operation.name} was cancelled", cause="interrupted")
        raise _told(ours, done(), count()) from error
    except AzRayError as error:
        _told(error, done(), count())
        raise


def _told(error: AzRayError, done: str, count: int) -> AzRayError:
    error.cause = "; ".join(filter(None, (error.cause.rstrip("."), done)))
    error.facts["files"] = count
    return error


def transfer(items: Iterable[Item], meter: Meter, operation: Operation[Any], stop: Stop) -> None:
    """Copies every item; returns when all are complete.

    The first error, or the operation's cancellation, ends it after the requests under way (at most 8 MiB each); files
    that are complete stay, of the others nothing does. `stop` is set then, see `Stop`.
    """
    begun: dict[Item, None] = {}
    try:
        for item, count, finished in fly(_jobs(items, begun), operation.check, stop):
            if finished:
                begun.pop(item, None)
            meter.add(count, finished=finished)
    finally:
        for item in reversed(begun):
            if item.complete:  # while the first error, or Ctrl-C, was on its way here
                meter.files += 1
            else:
                item.discard()


def _jobs(items: Iterable[Item], begun: dict[Item, None]) -> Iterator[Job[tuple[Item, int, bool]]]:
    """The work of each part of each item; an item is begun when its first part is asked for."""
    for item in items:
        begun[item] = None
        if item.single:
            yield Job(functools.partial(_whole, item), item.cost)
            continue
        item.begin()
        for offset in range(0, item.size, item.step):
            yield Job(functools.partial(_part, item, offset), item.cost)


def _whole(item: Item) -> tuple[Item, int, bool]:
    item.begin()
    return _part(item, 0)


def _part(item: Item, offset: int) -> tuple[Item, int, bool]:
    return (item, *item.part(offset))


def size_text(count: float) -> str:
    """A number of bytes for people: `512 B`, `1.5 MiB`."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:  # noqa: PLR2004 - KiB and up are powers of it
        count, power = count / 1024, power + 1
    return f"{count:.0f} {_UNITS[power]}" if power == 0 else f"{count:.1f} {_UNITS[power]}"


def files_text(count: int) -> str:
    """A number of files for people."""
    return "1 file" if count == 1 else f"{count} files"
