"""Copies: a folder of blobs brought to a local disk and shown, read-only, at a path. For many small files.

A copy stays when it is unmounted; the next mount of the same URI asks for what has changed only. A copy that nobody
uses goes when another one needs its space.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from azray_lab.errors import StorageError
from azray_lab.storage.blobfuse.blobs import Found, Held, Place, fetch, listed
from azray_lab.storage.blobfuse.capacity import MIB
from azray_lab.storage.blobfuse.locks import Lock

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri

# How long a mount waits for another one of the same data, which takes as long as its bytes do.
_LOCK_SECONDS = 3600.0
# How often what has landed is noted; what a crash takes of it comes again.
_NOTE_SECONDS = 0.2
_OPEN, _SEALED = 0o755, 0o555
# How many of the names that are left out a note has for people, and how many for programs.
_NAMED, _TOLD = 3, 1000
_FILES = "files"
_PARTS = "parts"
_JOURNAL = "journal"


class Copy:
    """One copy, in the folder `root`: its files, and a journal of which version of each is there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = root / _FILES
        self._parts = root / _PARTS
        self._journal = root / _JOURNAL

    @classmethod
    def of(cls, base: Path, uri: str) -> Copy:
        """The copy of `uri` among those below `base`."""
        return cls(base / hashlib.sha256(uri.encode()).hexdigest()[:16])

    def lock(
        self, operation: Operation[Any], seconds: float = _LOCK_SECONDS
    ) -> contextlib.AbstractContextManager[None]:
        """The right to change the copy; waits up to `seconds` for another process that has it."""
        return self._guard().held(operation, f"another process works on the copy in {self.root}", seconds)

    def remove_unlocked(self) -> bool:
        """Removes the copy unless another process works on it; whether it is gone."""
        with self._guard().if_free() as free:
            if free:
                self.remove()
            return free

    def _guard(self) -> Lock:
        return Lock(self.root.with_name(f"{self.root.name}.lock"))

    def known(self) -> dict[str, Found]:
        """What the journal says is there; a half line, as a crash leaves it, does not count."""
        return {name: held.blob for name, held in self._held().items()}

    def _held(self) -> dict[str, Held]:
        out: dict[str, Held] = {}
        if self._journal.exists():
            for line in self._journal.read_text(encoding="utf-8").splitlines():
                try:
                    name, size, etag, *stamp = json.loads(line)
                except (ValueError, TypeError):
                    continue
                out[name] = Held(Found(name, size, etag), *stamp[:1])
        return out

    def size(self) -> int:
        """The bytes that the journal counts."""
        return sum(blob.size for blob in self.known().values())

    def used(self) -> float:
        """When it was brought up to date last (seconds since 1970)."""
        return self._journal.stat().st_mtime if self._journal.exists() else 0.0

    def generation(self, number: int) -> Copy:
        """Another copy of the same URI, for a mount that is to show what has changed under one that stays as it is."""
        return Copy(self.root.with_name(f"{self.root.name}-{number}"))

    def fresh(self, found: Iterable[Found]) -> bool:
        """Whether it is what `found` is."""
        return fitting(found)[0] == self.known()

    def begin_from(self, other: Copy) -> None:
        """Takes the files of `other`, by links: both have them on the disk once, and each changes by replacing its own.

        Does nothing when there is something here already.
        """
        if self._journal.exists():
            return
        self.files.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in other.known():
            file = self.files / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                file.hardlink_to(other.files / name)
        shutil.copyfile(other.journal, self._journal)

    @property
    def journal(self) -> Path:
        """Which version of each file is there."""
        return self._journal

    def sync(
        self,
        uri: BlobUri,
        operation: Operation[Any],
        room: int,
        environ: Mapping[str, str] | None = None,
        found: Iterable[Found] | None = None,
    ) -> int:
        """Brings the copy to what is at `uri` now; returns how many files came. StorageError without `room`.

        `found` is what somebody has just listed there.
        """
        self.files.mkdir(mode=0o755, parents=True, exist_ok=True)
        with operation.stage("look", f"looking at {uri}") as stage:
            wanted, left_out = fitting(listed(uri, environ) if found is None else found, operation.check)
            total = sum(blob.size for blob in wanted.values())
            stage.summary = f"{len(wanted):,} files, {total / MIB:.1f} MiB"
        if left_out:
            some = ", ".join(map(repr, left_out[:_NAMED])) + (" and more" if len(left_out) > _NAMED else "")
            words = f"left out {len(left_out)} blobs whose names cannot be files: {some}"
            operation.note(words, left_out=len(left_out), names=left_out[:_TOLD])
        if total > room:
            raise StorageError(
                f"{uri} is larger than its copy may be",
                cause=f"{total // MIB} MiB, there is room for {room // MIB} MiB",
                next_step="give --cache a folder on a larger disk, or --engine blobfuse2",
                uri=str(uri),
            )
        with self._unsealed():
            return self._brought(uri, wanted, operation, environ)

    def _brought(
        self, uri: BlobUri, wanted: Mapping[str, Found], operation: Operation[Any], environ: Mapping[str, str] | None
    ) -> int:
        missing = self._settle(wanted)
        if missing:
            with operation.stage("copy", f"{len(missing):,} files") as stage, self._halves() as parts:
                with self._notes() as note:
                    fetch(uri, missing, Place(self.files, parts), operation, stage, note, environ)
                stage.summary = f"{len(missing):,} files"
        self._journal.touch()
        return len(missing)

    @contextlib.contextmanager
    def _unsealed(self) -> Iterator[None]:
        """In the block the folders can be changed; else by nobody but root, where a link shows them to their owner."""
        self._seal(_OPEN)
        try:
            yield
        finally:
            self._seal(_SEALED)

    def _seal(self, mode: int) -> None:
        for place, _, _ in os.walk(self.files):
            if stat.S_IMODE(os.stat(place).st_mode) != mode:  # noqa: PTH116 - a Path for each costs more
                os.chmod(place, mode)  # noqa: PTH101 - as above

    def _settle(self, wanted: Mapping[str, Found]) -> list[Found]:
        """Removes what is there and not wanted, writes the journal anew, and returns what is missing."""
        known = self._held()
        there = {name: held for name, held in known.items() if wanted.get(name) == held.blob and self._whole(held)}
        for name in known.keys() - there.keys():
            self._discard(self.files / name)
        fresh = self._journal.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as journal:
            for held in there.values():
                _note(journal, held)
        fresh.replace(self._journal)
        return [blob for name, blob in wanted.items() if name not in there]

    def _whole(self, held: Held) -> bool:
        """Whether the file is as it landed, as far as its size and its time tell."""
        try:
            found = (self.files / held.blob.name).lstat()
        except OSError:
            return False
        as_it_was = (found.st_size, found.st_mtime_ns) == (held.blob.size, held.stamp)
        return stat.S_ISREG(found.st_mode) and as_it_was

    def _discard(self, path: Path) -> None:
        """Removes a file, and the folders above it that are empty then: a blob may have the name of one now."""
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self.files:
                return
            try:
                folder.rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                return  # other files are in it

    @contextlib.contextmanager
    def _halves(self) -> Iterator[Path]:
        """A folder for files that are not whole yet; beside those that are shown, and empty, whoever was killed."""
        shutil.rmtree(self._parts, ignore_errors=True)
        self._parts.mkdir(mode=0o700)
        try:
            yield self._parts
        finally:
            shutil.rmtree(self._parts, ignore_errors=True)

    @contextlib.contextmanager
    def _notes(self) -> Iterator[Callable[[Held], None]]:
        """Notes what has landed in the journal, from time to time and at the end."""
        written = time.monotonic()

        def note(held: Held) -> None:
            nonlocal written
            _note(journal, held)
            if (now := time.monotonic()) - written > _NOTE_SECONDS:
                journal.flush()
                written = now

        with self._journal.open("a", encoding="utf-8") as journal:
            yield note

    def remove(self) -> None:
        """Removes the copy."""
        self._seal(_OPEN)
        shutil.rmtree(self.root, ignore_errors=True)


def fitting(found: Iterable[Found], check: Callable[[], None] = lambda: None) -> tuple[dict[str, Found], list[str]]:
    """The blobs that can be files, by their names, and the names of the others."""
    out, left_out = {}, []
    for blob in found:
        check()
        if _fits(blob.name):
            out[blob.name] = blob
        else:
            left_out.append(blob.name)
    # Blob knows `a` and `a/b` side by side, a file system does not.
    clashes = {folder for name in out for folder in _folders(name)} & out.keys()
    return {name: blob for name, blob in out.items() if name not in clashes}, [*left_out, *sorted(clashes)]


def _note(journal: TextIO, held: Held) -> None:
    journal.write(json.dumps([*held.blob, held.stamp]) + "\n")


def _fits(name: str) -> bool:
    """Whether a blob's name is a file's path inside the copy, and nowhere else."""
    parts = name.split("/")
    return all(part not in {"", ".", ".."} and len(os.fsencode(part)) < 256 and "\0" not in part for part in parts)  # noqa: PLR2004 - NAME_MAX


def _folders(name: str) -> Iterable[str]:
    parts = name.split("/")
    return ("/".join(parts[:end]) for end in range(1, len(parts)))


def make_room(base: Path, needed: int, room: Callable[[], int], in_use: Iterable[Path]) -> None:
    """Removes copies below `base` that nobody uses, the longest unused first, until `needed` bytes fit into `room()`.

    A folder without our journal is somebody's own and stays.
    """
    kept = set(in_use)
    copies = [Copy(root) for root in base.glob("*") if root not in kept and (root / _JOURNAL).is_file()]
    for copy in sorted(copies, key=Copy.used):
        if needed <= room():
            return
        copy.remove_unlocked()
