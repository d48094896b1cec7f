"""One blob to one file: the first block tells size and version, the others follow in parallel."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING

from azray_lab.errors import BlobNotFoundError
from azray_lab.storage.engine import faults
from azray_lab.storage.engine.checksums import MD5, Check, chosen, md5_of
from azray_lab.storage.engine.flights import Job, fly, whole_files
from azray_lab.storage.engine.landing import Landing
from azray_lab.storage.engine.model import Entry, MiB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from azray_lab.storage.engine.engine import Engine
    from azray_lab.storage.engine.model import Block
    from azray_lab.storage.engine.stopping import Stop

_RANGE = 4 * MiB


def download(
    engine: Engine, container: str, name: str, path: str | Path, *, check: Check, durable: bool
) -> Entry | None:
    """See `Engine.get_file`."""
    try:
        with whole_files.hold(_RANGE):
            first = engine.begin(container, name, 0, _RANGE, check=check)
    except BlobNotFoundError as error:
        if error.facts.get("code") == "ContainerNotFound":
            raise
        return None
    landing = Landing(path)
    size, etag = first.size, first.etag
    try:
        landing.begin(size)
        begun = functools.partial(_land, landing, 0, first.body)
        del first  # what the job has done with goes
        if size <= _RANGE:
            _alone(begun, size)
        else:
            own, stop = engine.one_transfer()
            part = functools.partial(_fetch, own, (container, name, etag), landing, size=size, check=check)
            rest = (functools.partial(part, offset) for offset in range(_RANGE, size, _RANGE))
            jobs = (Job(functools.partial(_alone, one, _RANGE, stop), _RANGE) for one in itertools.chain([begun], rest))
            for _ in fly(jobs, stop=stop):
                pass
        compare(engine, container, name, landing, check)
        landing.finish(durable=durable)
    finally:
        landing.discard()
    return Entry("blob", name, size, etag)


def _fetch(
    engine: Engine, version: tuple[str, str, str], landing: Landing, offset: int, *, size: int, check: Check
) -> None:
    container, name, etag = version
    end = min(offset + _RANGE, size)
    _land(landing, offset, functools.partial(engine.read, container, name, offset, end, etag, check=check))


def _alone(work: Callable[[], None], cost: int, stop: Stop | None = None) -> None:
    """One of the parts of all files that are under way, whose bytes are bounded."""
    with whole_files.hold(cost, stop):
        work()


def _land(landing: Landing, offset: int, read: Callable[[], Block]) -> None:
    """One range into the file."""
    block = read()
    landing.write(offset, block.data, block.checksum)


def compare(engine: Engine, container: str, name: str, landing: Landing, check: Check) -> None:
    """StorageError when what lies on the disk is not what was sent, by the checksum of each range or of the whole.

    The whole's MD5 is kept with a blob, unless it was written without; then, and for CRC64, the ranges' are compared.
    """
    kind = chosen(check)
    if kind is None:
        return
    found = engine.stat(container, name) if kind is MD5 else None
    if found is not None and (kept := found.fact("content-md5")):
        pairs = [(md5_of(landing.read()), kept)]
    else:
        pairs = [(kind.of(part), sent) for part, sent in zip(landing.read(), landing.checksums(), strict=True)]
    for own, told in pairs:
        if own != told:
            raise faults.damaged(engine.wire.place(container, name), f"its {kind.name} is {own}, the service's {told}")
