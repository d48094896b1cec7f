"""Moves bytes between sources and targets: parts in parallel, progress, cancellation, nothing half done left behind."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azray_lab.storage.places import Source, Target, part_size

if TYPE_CHECKING:
    from azray_lab.operation import Operation, Stage

# Requests in flight; Azure's SDK keeps ten connections. With parts of 4 MiB at most 64 MiB are in memory.
_WORKERS = 8
# How often, in seconds, a cancellation is looked for while requests are under way.
_LOOK = 0.1
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(eq=False)
class Item:
    """One file of a copy: where from, where to, how many bytes; `left` are its parts that are not there yet."""

    source: Source
    target: Target
    size: int
    left: int = field(default=0, init=False)


class Meter:
    """Counts what has arrived and reports it: whenever a hundredth more is there, and at each end of a file."""

    def __init__(self, stage: Stage, items: int, total: int) -> None:
        self._stage = stage
        self._items = items
        self._began = time.monotonic()
        self._told = -1
        self.total = total
        self.bytes = 0
        self.files = 0

    def add(self, count: int, *, finished: bool) -> None:
        """`count` more bytes are there; `finished`: and with them a file."""
        self.bytes += count
        self.files += finished
        share = self.bytes / self.total if self.total else self.files / max(self._items, 1)
        if int(share * 100) == self._told:
            return
        self._told = int(share * 100)
        rate = self.rate
        message = f"{size_text(self.bytes)} of {size_text(self.total)}, {size_text(rate)}/s"
        facts = {"bytes": self.bytes, "total": self.total, "files": self.files, "rate": round(rate)}
        self._stage.progress(share, message, **facts)

    @property
    def rate(self) -> float:
        """Bytes a second since the beginning."""
        return self.bytes / max(time.monotonic() - self._began, 1e-6)


def transfer(items: Iterable[Item], meter: Meter, operation: Operation[Any]) -> None:
    """Copies every item; returns when all are complete.

    The first error, or the operation's cancellation, ends it after the requests under way (at most 4 MiB each); files
    that are complete stay, of the others nothing does.
    """
    begun: dict[Item, None] = {}
    try:
        with contextlib.closing(_parallel(_parts(items, begun), operation.check)) as results:
            for item, count in results:
                item.left -= 1
                if item.left == 0:
                    item.target.finish()
                    del begun[item]
                meter.add(count, finished=item.left == 0)
    finally:
        for item in reversed(begun):
            item.target.discard()


def _parts(items: Iterable[Item], begun: dict[Item, None]) -> Iterator[Callable[[], tuple[Item, int]]]:
    """The work of each part of each item; an item is begun when its first part is asked for."""
    for item in items:
        begun[item] = None
        item.target.begin(item.size)
        step = part_size(item.size)
        offsets = range(0, max(item.size, 1), step)  # an empty file has one empty part
        item.left = len(offsets)
        for offset in offsets:
            yield functools.partial(_part, item, offset, min(step, item.size - offset))


def _part(item: Item, offset: int, length: int) -> tuple[Item, int]:
    item.target.write(offset, item.source.read(offset, length) if length else b"")
    return item, length


def _parallel(
    jobs: Iterator[Callable[[], tuple[Item, int]]], check: Callable[[], None]
) -> Generator[tuple[Item, int], None, None]:
    """Runs `jobs` on threads, a few ahead of what is asked for, and gives their results as they come."""
    pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="azray-blob")
    pending: set[Future[tuple[Item, int]]] = set()
    try:
        while True:
            check()
            while len(pending) < 2 * _WORKERS and (job := next(jobs, None)) is not None:
                pending.add(pool.submit(job))
            if not pending:
                return
            done, pending = wait(pending, timeout=_LOOK, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def size_text(count: float) -> str:
    """A number of bytes for people: `512 B`, `1.5 MiB`."""
    power = 0
    while count >= 1024 and power < len(_UNITS) - 1:  # noqa: PLR2004 - KiB and up are powers of it
        count, power = count / 1024, power + 1
    return f"{count:.0f} {_UNITS[power]}" if power == 0 else f"{count:.1f} {_UNITS[power]}"


def files_text(count: int) -> str:
    """A number of files for people."""
    return "1 file" if count == 1 else f"{count} files"
