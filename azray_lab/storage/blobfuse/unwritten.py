"""What a dead blobfuse2 leaves in its cache: files that were written and may not be in Blob. They are never deleted.

Whoever takes the place of a dead daemon, or takes the mount away, first moves them to a folder of their own, beside a
note that says of which mount they are; `azray mounts` lists those folders until somebody has emptied them.
"""

from __future__ import annotations

import functools
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from azray_lab.durable import read_json, write_json
from azray_lab.errors import AzRayError
from azray_lab.storage.blobfuse import asking, causes

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.records import Record, Records
    from azray_lab.storage.engine import Engine

_MIB = 1024 * 1024
# HTTP's dates are whole seconds, and there are two of them.
_CLOCK_SECONDS = 2.0
# A service that cannot be asked keeps nobody waiting: then all that was written is kept.
ASK_SECONDS = 60.0
_PIECE = 4 * _MIB


@dataclass(frozen=True)
class Kept:
    """Files of a dead mount that are not in Blob, or could not be compared: `files` of them with `size` bytes.

    They lie in `folder` under their names below `uri`, which was mounted at `path`; `at` is in seconds since 1970.
    """

    folder: str
    uri: str
    path: str
    files: int
    size: int
    at: float

    @property
    def next_step(self) -> str:
        """The commands that bring them into Blob."""
        return f"azray blob cp -r {self.folder} {self.uri}, then rm -r {self.folder}"

    def __str__(self) -> str:
        count = "1 file" if self.files == 1 else f"{self.files:,} files"
        return f"{count} of {self.path} ({self.size / _MIB:.1f} MiB) may not be in Blob: {self.next_step}"

    def to_dict(self) -> dict[str, Any]:
        """The note as plain JSON."""
        return asdict(self)


class Unwritten:
    """The files that dead mounts have left, by their notes in the folder `root`."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.root = records.root.parent / "unwritten"

    def __iter__(self) -> Iterator[Kept]:
        for note in sorted(self.root.glob("*.json")):
            kept = _read(note)
            if kept is None:
                continue  # a newer version's, or damaged: its files stay where they are
            if _files(Path(kept.folder)):
                yield kept
            else:
                note.unlink(missing_ok=True)

    def of(self, path: str, since: float = 0.0) -> list[Kept]:
        """What the mount at `path` has left, since that time (seconds since 1970)."""
        return [kept for kept in self if kept.path == path and kept.at >= since]

    def keep(self, record: Record, files: list[Path], *, by_link: bool = False) -> Kept | None:
        """Moves `files` out of the mount's cache into a folder of their own on the same disk; None without any.

        `by_link`: they stay in the cache as well, for a process that is there still.
        """
        if not files:
            return None
        name = f"{self._records.folder(record.path).root.name}-{secrets.token_hex(3)}"
        folder = self._records.aside(record, self.root) / name
        size = sum(file.stat().st_size for file in files)
        kept = Kept(str(folder), record.uri, record.path, len(files), size, time.time())
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, parents=True)
        # First the note: whatever happens while they are moved, they are found.
        write_json(self.root / f"{name}.json", kept.to_dict())
        for file in files:
            target = folder / file.relative_to(record.cache)
            target.parent.mkdir(parents=True, exist_ok=True)
            if by_link:
                target.hardlink_to(file)
            else:
                file.rename(target)
        return kept

    def drop(self, kept: Kept | None) -> None:
        """Forgets what was kept by link, when the mount stays."""
        if kept is not None:
            shutil.rmtree(kept.folder)
            (self.root / f"{Path(kept.folder).name}.json").unlink(missing_ok=True)


def _read(note: Path) -> Kept | None:
    try:
        return Kept(**read_json(note))
    except (ValueError, TypeError):
        return None


def written(record: Record) -> list[Path]:
    """The files in the mount's cache that were written while it was mounted, whether they are in Blob by now or not.

    blobfuse2 gives a file that it fetched the blob's time, and lets nobody set another one (2.5). What a mount writes
    by blocks is in its memory, and is lost with it.
    """
    if record.engine != "blobfuse2" or record.read_only or not Path(record.cache).is_absolute():
        return []
    return [file for file in _files(Path(record.cache)) if _changed(file) >= record.created - 1.0]


def refused(record: Record, log: Path) -> list[Path]:
    """Those of `written` whose upload has failed by the `log` of a process that still has them."""
    names = causes.uploads_failed(log)
    files = written(record) if names else []
    return [file for file in files if file.relative_to(record.cache).as_posix() in names]


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # a living process has taken it out of its cache meanwhile
        return 0.0


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def missing(
    record: Record,
    operation: Operation[Any],
    environ: Mapping[str, str],
    uri: BlobUri | None = None,
    seconds: float = ASK_SECONDS,
) -> list[Path]:
    """Those of `written` that are not in Blob; all of them when Blob cannot be asked within `seconds`.

    `uri` is the mount's place with what the record never has, a signature. One request for each file, and its bytes
    where only they can tell.
    """
    files = written(record)
    if not files:
        return []
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.engine import engine_for
    from azray_lab.storage.engine.flights import Job, fly

    place = uri or BlobUri.parse(record.uri)
    try:
        with asking.within(seconds, place, operation) as stop:
            engine = engine_for(place, environ).stoppable(stop)
            same = functools.partial(_compared, engine, place, Path(record.cache))
            jobs = (Job(functools.partial(same, file), _PIECE) for file in files)
            found = dict(fly(jobs, operation.check, stop))
    except AzRayError as error:
        operation.check()
        operation.note(f"the files in {record.cache} could not be compared with Blob: {error.message}")
        return files
    return [file for file in files if not found[file]]


def _compared(engine: Engine, place: BlobUri, cache: Path, file: Path) -> tuple[Path, bool]:
    prefix = f"{place.path.strip('/')}/" if place.path.strip("/") else ""
    name = prefix + PurePosixPath(file.relative_to(cache)).as_posix()
    try:
        return file, _in_blob(engine, place.container, name, file)
    except FileNotFoundError:  # a living process has taken it out of its cache meanwhile
        return file, True
    except UnicodeError:  # a name that is no text cannot be a blob's
        return file, False


def _in_blob(engine: Engine, container: str, name: str, file: Path) -> bool:
    """Whether the blob was made after the file's last write, or has its bytes."""
    from azray_lab.storage.engine.model import http_date

    local, blob = file.stat(), engine.stat(container, name)
    if blob is None or blob.size != local.st_size:
        return False
    changed, now = blob.modified, http_date(blob.fact("date"))
    if changed is not None and now is not None:
        ahead = now.timestamp() - time.time()  # of the service's clock
        if changed.timestamp() - ahead > local.st_mtime + _CLOCK_SECONDS:
            return True
    return _same_bytes(lambda start, end: engine.read(container, name, start, end, blob.etag).data, file)


def _same_bytes(read: Callable[[int, int], Any], file: Path) -> bool:
    start = 0
    with file.open("rb") as local:
        while piece := local.read(_PIECE):
            if bytes(read(start, start + len(piece))) != piece:
                return False
            start += len(piece)
    return True
