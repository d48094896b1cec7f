"""A local folder to a prefix and back, all files at once, by the engine; what is brought back appears as a whole."""

from __future__ import annotations

import contextlib
import functools
import secrets
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, BlobNotFoundError, StorageError
from azray_lab.storage.contents import contents
from azray_lab.storage.engine import BLOCK
from azray_lab.storage.engine.flights import BYTES_IN_FLIGHT, Job, fly, whole_files
from azray_lab.storage.places import FileToBlob

if TYPE_CHECKING:
    from azray_lab.storage.engine import Engine
    from azray_lab.storage.engine.stopping import Stop

Files = dict[str, tuple[int, str]]
_BLOCKS = 8
_TWICE = (
    "{} was written by another writer at the same time, and that one is kept. "
    "Next: report files from one worker alone, or give those of each worker names of their own"
)


class _Hidden(FileToBlob):
    """A file of which nothing is seen when all its bytes are there, until `show`."""

    @property
    def single(self) -> bool:
        """Never: a blob that is put whole is seen at once."""
        return False

    def move(self, offset: int, length: int) -> None:
        """Sends a part as a block; an empty file has none."""
        if length:
            super().move(offset, length)

    def finish(self) -> None:
        """Looks whether the file is still the same, and closes it."""
        self._unchanged()
        self.discard()

    def show(self) -> None:
        """Makes the blob, unless another writer has made it meanwhile, by which the service drops our blocks."""
        try:
            self.written = self._parts().finish()
        except StorageError as error:
            if error.facts.get("code") != "InvalidBlockList" or not self._engine.exists(*self._place):
                raise
            warnings.warn(_TWICE.format(self.target), RuntimeWarning, stacklevel=1)


def send_folder(engine: Engine, container: str, prefix: str, folder: Path, *, together: bool = False) -> Files:
    """Uploads every file below `folder`, as `send_files` does."""
    return send_files(engine, container, prefix, contents(folder).files, together=together)


def send_files(
    engine: Engine, container: str, prefix: str, files: Mapping[str, Path], *, together: bool = False
) -> Files:
    """Uploads the files, given by name, small ones 64 at a time, large ones in blocks; sizes and ETags by name.

    `together`: no blob is seen before the bytes of all are there, then they are made, 64 at a time; whoever dies on the
    way leaves none. It costs a second request for each small file. What was made when one fails is removed again.
    """
    kind = _Hidden if together else FileToBlob
    own, stop = engine.one_transfer()
    items = {name: kind(own, path, (container, prefix + name), check=False) for name, path in files.items()}
    small = (Job(functools.partial(send_file, one, stop), one.size) for one in items.values() if one.size <= BLOCK)
    for _ in fly(small, stop=stop):
        pass
    for item in items.values():
        if item.size > BLOCK:
            send_file(item, stop)
    if together:
        _show(engine, stop, [(item, (container, prefix + name)) for name, item in items.items()])
    return {name: (item.size, item.written.etag if item.written else "") for name, item in items.items()}


def _show(engine: Engine, stop: Stop, items: list[tuple[Any, tuple[str, str]]]) -> None:
    try:
        for _ in fly((Job(item.show) for item, _ in items), stop=stop):
            pass
    except BaseException:
        with contextlib.suppress(AzRayError):  # the first reason counts
            engine.delete_many(place for item, place in items if item.written)
        raise


def send_file(item: FileToBlob, stop: Stop | None = None) -> None:
    """Uploads one file, a large one in blocks, eight at a time; of many at once, the files' blocks share the memory."""

    def part(offset: int) -> None:
        with whole_files.hold(item.cost, stop):
            item.part(offset)

    try:
        item.begin()
        if item.size <= item.step:
            part(0)
        else:
            offsets = range(0, item.size, item.step)
            for _ in fly((Job(functools.partial(part, one), item.step) for one in offsets), stop=stop, flights=_BLOCKS):
                pass
    finally:
        item.discard()


def fetch_folder(
    engine: Engine, container: str, prefix: str, files: Mapping[str, tuple[int, str]], target: Path,
    folders: Iterable[str] = (),
) -> None:  # fmt: skip
    """Downloads `files` to `target`, which appears when all are there and are of the size and version that was sent.

    `folders` are made, too: those without a file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    partial.mkdir()
    try:
        for name in folders:
            _inside(partial, name).mkdir(parents=True, exist_ok=True)
        engine, stop = engine.one_transfer()
        fetch = functools.partial(_fetch, engine, container, prefix, partial)
        costs = {name: min(size, BYTES_IN_FLIGHT) for name, (size, _) in files.items()}
        for _ in fly((Job(functools.partial(fetch, name, *files[name]), costs[name]) for name in files), stop=stop):
            pass
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _inside(folder: Path, name: str) -> Path:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise StorageError(f"{name!r} would leave the folder", cause="it is no name of a file of a checkpoint")
    return folder / name


def _fetch(engine: Engine, container: str, prefix: str, folder: Path, name: str, size: int, etag: str) -> None:
    path = _inside(folder, name)
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
