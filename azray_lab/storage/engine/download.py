"""One blob to one file: the first block tells size and version, the others follow in parallel."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from azray_lab.errors import BlobNotFoundError, StorageError
from azray_lab.storage.engine.flights import Job, fly, whole_files
from azray_lab.storage.engine.landing import Landing
from azray_lab.storage.engine.model import Entry, MiB
from azray_lab.storage.engine.upload import md5_of

if TYPE_CHECKING:
    from pathlib import Path

    from azray_lab.storage.engine.engine import Engine

_RANGE = 4 * MiB


def download(
    engine: Engine, container: str, name: str, path: str | Path, *, check: bool, durable: bool
) -> Entry | None:
    """See `Engine.get_file`."""
    try:
        with whole_files.hold(_RANGE):
            first = engine.read(container, name, 0, _RANGE, check=check)
    except BlobNotFoundError as error:
        if error.facts.get("code") == "ContainerNotFound":
            raise
        return None
    landing = Landing(path)
    try:
        landing.begin(first.size)
        landing.write(0, first.data)
        size, rest = first.size, range(_RANGE, first.size, _RANGE)
        part = functools.partial(fetch, engine, (container, name, first.etag), landing, size=size, check=check)
        first = first._replace(data=b"")
        with whole_files.hold(_RANGE * len(rest)):
            for _ in fly(Job(functools.partial(part, offset), _RANGE) for offset in rest):
                pass
        if check:
            compare(engine, container, name, landing)
        landing.finish(durable=durable)
    finally:
        landing.discard()
    return Entry("blob", name, first.size, first.etag)


def fetch(
    engine: Engine, version: tuple[str, str, str], landing: Landing, offset: int, *, size: int, check: bool
) -> int:
    """One range of `version` (container, name, ETag) into the file; how many bytes it had."""
    container, name, etag = version
    data: Any = engine.read(container, name, offset, min(offset + _RANGE, size), etag, check=check).data
    landing.write(offset, data)
    return len(data)


def compare(engine: Engine, container: str, name: str, landing: Landing) -> None:
    """StorageError when the file's MD5 is not the one that is kept with the blob; some blobs have none."""
    found = engine.stat(container, name)
    wanted = found.fact("content-md5") if found is not None else ""
    if wanted and wanted != (got := md5_of(landing.read())):
        raise StorageError(
            f"{engine.wire.place(container, name)} arrived damaged",
            cause=f"its MD5 is {got}, the one kept with the blob {wanted}",
            next_step="copy it again; if it stays so, the blob was damaged when it was written",
        )
