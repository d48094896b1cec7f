"""A local folder to a prefix and back, all files at once, by the engine; what is brought back appears as a whole."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from azray_lab.errors import BlobNotFoundError, StorageError
from azray_lab.storage.engine import BLOCK
from azray_lab.storage.engine.flights import BYTES_IN_FLIGHT, Job, fly, whole_files
from azray_lab.storage.places import FileToBlob

if TYPE_CHECKING:
    from azray_lab.storage.engine import Engine

Files = dict[str, tuple[int, str]]
_BLOCKS = 8


def send_folder(engine: Engine, container: str, prefix: str, folder: Path) -> Files:
    """Uploads every file below `folder`, small ones 64 at a time, large ones in blocks; sizes and ETags by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    small = [path for path in paths if path.stat().st_size <= BLOCK]
    send = functools.partial(_send, engine, container, prefix, folder)
    jobs = (Job(functools.partial(send, path), path.stat().st_size) for path in small)
    found: Files = dict(fly(jobs))
    for path in paths:
        if path not in small:
            name, value = send(path)
            found[name] = value
    return found


def _send(engine: Engine, container: str, prefix: str, folder: Path, path: Path) -> tuple[str, tuple[int, str]]:
    name = path.relative_to(folder).as_posix()
    item = FileToBlob(engine, path, (container, prefix + name), check=False)
    send_file(item)
    return name, (item.size, item.written.etag if item.written else "")


def send_file(item: FileToBlob) -> None:
    """Uploads one file, a large one in blocks, eight at a time; of many at once, the files' blocks share the memory."""
    parts = (Job(functools.partial(item.part, offset), item.step) for offset in range(0, max(item.size, 1), item.step))
    try:
        item.begin()
        with whole_files.hold(min(item.size, _BLOCKS * item.step)):
            if item.single:
                item.part(0)
            else:
                for _ in fly(parts, flights=_BLOCKS):
                    pass
    finally:
        item.discard()


def fetch_folder(
    engine: Engine, container: str, prefix: str, files: Mapping[str, tuple[int, str]], target: Path
) -> None:
    """Downloads `files` to `target`, which appears when all are there and are of the size and version that was sent."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        fetch = functools.partial(_fetch, engine, container, prefix, partial)
        costs = {name: min(size, BYTES_IN_FLIGHT) for name, (size, _) in files.items()}
        for _ in fly(Job(functools.partial(fetch, name, *files[name]), costs[name]) for name in files):
            pass
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _fetch(engine: Engine, container: str, prefix: str, folder: Path, name: str, size: int, etag: str) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise StorageError(f"{name!r} would leave the folder", cause="it is no name of a file of a checkpoint")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    found = engine.get_file(container, prefix + name, path)
    if found is None:
        raise BlobNotFoundError(f"there is no blob az://{container}/{prefix}{name}", uri=f"{container}/{prefix}{name}")
    # An empty blob may come without a version: there was nothing to read.
    if found.size != size or (size and found.etag != etag):
        raise StorageError(
            f"az://{container}/{prefix}{name} is not what was saved",
            cause=f"{found.size} bytes of version {found.etag}, not {size} of {etag}",
            next_step="restore another checkpoint by its name",
        )
