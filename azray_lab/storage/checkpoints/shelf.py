"""The checkpoints at one place in Blob: which there are, one more, away with those that are not kept, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import BlobNotFoundError
from azray_lab.storage.checkpoints.saved import COMPLETE, STARTED, Mark, Saved, read
from azray_lab.storage.sending import fetch_folder, send_files

if TYPE_CHECKING:
    from azray_lab.storage.contents import Contents
    from azray_lab.storage.engine import Engine

# A writer that was killed leaves files that no reader sees; they are removed when nobody can still be at it.
_LEFTOVER = timedelta(hours=1)
_TRIES = 3


@dataclass(frozen=True)
class Shelf:
    """The blobs of `container` whose names begin with `base`, which is empty or ends with a slash."""

    engine: Engine
    container: str
    base: str

    def _names(self, folder: str) -> Iterable[Any]:
        return self.engine.list(self.container, f"{self.base}{folder}/")

    # Writing.

    def begin(self, folder: str) -> None:
        """Notes that files come into `folder`. One request."""
        self.engine.put(self.container, f"{self.base}{STARTED}/{folder}", b"")

    def drop(self, folder: str) -> None:
        """Removes that note."""
        self.engine.delete(self.container, f"{self.base}{STARTED}/{folder}")

    def add(self, folder: str, found: Contents, facts: Mapping[str, Any]) -> tuple[list[Mark], Saved]:
        """Uploads a checkpoint into `folder`, then makes it visible; and which others there were before.

        It can be done again when it has failed.
        """
        before = [mark for mark in self.marks() if mark.folder != folder]
        number = max((mark.number for mark in before), default=0) + 1
        mark = Mark(number, folder)
        self.begin(folder)
        files = send_files(self.engine, self.container, f"{self.base}{folder}/", found.files)
        saved = Saved(mark.name, number, folder, files, dict(facts), tuple(found.folders))
        self.engine.put(self.container, self.base + mark.blob, saved.content())
        return before, saved

    def prune(self, before: list[Mark], saved: Saved, keep: int | None) -> None:
        """Removes what is no longer kept: first what makes it visible, then its files; and old leftovers."""
        kept = [mark for mark in before if mark.name != saved.name]
        kept = kept if keep is None else kept[max(len(kept) - keep + 1, 0) :]
        for mark in before:
            if mark not in kept:
                self.engine.delete(self.container, self.base + mark.blob)
        known = {saved.folder, *(mark.folder for mark in kept)}
        dropped = {mark.folder for mark in before} - known
        started = {one.name.rpartition("/")[2]: one.modified for one in self._names(STARTED)}
        for folder in sorted((dropped | set(started)) - known):
            blobs = list(self._names(folder))
            if folder in dropped or _abandoned([started.get(folder), *(one.modified for one in blobs)]):
                self.engine.delete_many((self.container, one.stored) for one in blobs)
                self.drop(folder)

    # Reading.

    def marks(self) -> list[Mark]:
        """The complete ones by the names of the blobs that make them so, the oldest first. One request."""
        return [Mark.of(one.name) for one in self._names(COMPLETE)]

    def all(self) -> list[Saved]:
        """What these blobs say. One request more for each, many at a time."""
        for _ in range(_TRIES):
            names = [self.base + mark.blob for mark in self.marks()]
            # Another process may remove one in between; its successor is there then.
            with contextlib.suppress(BlobNotFoundError):
                texts = self.engine.get_many([(self.container, name) for name in names])
                return [read(*one) for one in zip(names, texts, strict=True)]
        return [found for found in map(self._read, self.marks()) if found is not None]

    def find(self, name: str | None = None) -> Saved | None:
        """The latest one, or the latest that is called `name`; None when there is none."""
        marks = [mark for mark in self.marks() if name in {None, mark.name}]
        return next((found for found in map(self._read, reversed(marks)) if found is not None), None)

    def _read(self, mark: Mark) -> Saved | None:
        """What `mark` makes complete; None when it was removed a moment ago."""
        with contextlib.suppress(BlobNotFoundError):
            return read(self.base + mark.blob, self.engine.get_bytes(self.container, self.base + mark.blob))
        return None

    def fetch(self, name: str | None, target: Path) -> Saved | None:
        """Brings the files of that one to `target`, which appears when all are there; None when there is none."""
        for attempt in range(_TRIES):
            saved = self.find(name)
            if saved is None:
                return None
            try:
                prefix = f"{self.base}{saved.folder}/"
                fetch_folder(self.engine, self.container, prefix, saved.files, target, saved.folders)
            except BlobNotFoundError:
                # The writer has saved newer ones meanwhile, and removed this one.
                if attempt + 1 == _TRIES or name is not None:
                    raise
            else:
                return saved
        return None


def _abandoned(times: Iterable[datetime | None]) -> bool:
    latest = max((one for one in times if one), default=None)
    return latest is None or datetime.now(timezone.utc) - latest >= _LEFTOVER
