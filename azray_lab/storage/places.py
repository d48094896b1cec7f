"""The files of a copy: each knows its two ends and its size, moves its parts, and appears whole or not at all."""

from __future__ import annotations

import mmap
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import StorageError, UsageError
from azray_lab.storage.engine.checksums import MD5, Check, chosen, md5_of
from azray_lab.storage.engine.download import compare
from azray_lab.storage.engine.engine import BLOCK, RANGE
from azray_lab.storage.engine.landing import Landing, local
from azray_lab.storage.engine.model import Entry, MiB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from azray_lab.storage.engine import Engine, Upload

# "Put Block": at most 50,000 blocks in a blob.
_MAX_BLOCKS = 50_000
_LARGE = MiB


class Item:
    """One file of a copy, in parts of `step` bytes. `source` and `target` are how people write the two ends.

    `complete` once the whole is there.
    """

    def __init__(self, source: str, target: str, size: int, step: int) -> None:
        self.source = source
        self.target = target
        self.size = size
        self.step = step
        self.complete = False
        self._left = max(-(-size // step), 1)
        self._lock = threading.Lock()

    @property
    def single(self) -> bool:
        """Whether it is moved by one request."""
        return self.size <= self.step

    @property
    def cost(self) -> int:
        """The bytes that a part may hold in memory."""
        return min(self.size, self.step)

    def begin(self) -> None:
        """Makes ready for the parts."""

    def move(self, offset: int, length: int) -> None:
        """Moves one part; from any thread."""
        raise NotImplementedError

    def finish(self) -> None:
        """Makes the whole visible at once."""

    def discard(self) -> None:
        """Removes what was begun and not finished; never raises."""

    def part(self, offset: int) -> tuple[int, bool]:
        """Moves the part at `offset` and, when it is the last one that was missing, finishes: (bytes, finished)."""
        length = min(self.step, self.size - offset)
        self.move(offset, length)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self.finish()
            self.complete = True
        return length, last


class BlobToFile(Item):
    """A blob that becomes a file. All its parts are of the version `entry.etag`."""

    def __init__(self, engine: Engine, place: tuple[str, str], entry: Entry, path: Path, *, check: Check) -> None:
        super().__init__(engine.wire.place(*place), str(path), entry.size, RANGE)
        self._engine = engine
        self._place = place
        self._entry = entry
        self._check = check
        self._landing = Landing(path)

    def begin(self) -> None:
        """Makes the file under another name."""
        self._landing.begin(self.size)

    def move(self, offset: int, length: int) -> None:
        """Brings a range; none is asked for of an empty blob."""
        if length:
            etag = self._entry.etag
            found = self._engine.read(*self._place, offset, offset + length, etag, check=self._check)
            if len(found.data) != length:
                raise StorageError(f"{self.source} changed while it was being read", cause="it is shorter now")
            self._landing.write(offset, found.data, found.checksum)

    def finish(self) -> None:
        """Gives the file its name and the blob's time, by which a later sync knows it."""
        compare(self._engine, *self._place, self._landing, self._check)
        self._landing.finish(self._entry.modified)

    def discard(self) -> None:
        """Removes the file that is not complete."""
        self._landing.discard()


class FileToBlob(Item):
    """A file that becomes a blob, `written` in the end; StorageError when it changes on the way."""

    def __init__(
        self, engine: Engine, path: Path, place: tuple[str, str], *, check: Check, overwrite: bool = True
    ) -> None:
        found = regular(path)
        super().__init__(str(path), engine.wire.place(*place), found.st_size, block_size(found.st_size))
        self._engine = engine
        self._path = path
        self._place = place
        self._check = check
        self._overwrite = overwrite
        self.written: Entry | None = None
        self._stamp = _stamp(found)
        self._file = -1
        self._upload: Upload | None = None

    def begin(self) -> None:
        """Opens the file."""
        with local(self._path, "read"):
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._unchanged()

    def move(self, offset: int, length: int) -> None:
        """Sends a part: the whole blob when it is small, else a block that nobody sees yet."""
        data = self._part(offset, length)
        if self.single:
            self._unchanged()
            self.written = self._engine.put(*self._place, data, check=self._check, overwrite=self._overwrite)
        else:
            self._parts().write(offset, data)

    def _part(self, offset: int, length: int) -> Any:
        with local(self._path, "read"):
            if length < _LARGE:
                data: Any = os.pread(self._file, length, offset)
                read = len(data)
            else:
                # Memory of its own, which goes back to the system: malloc keeps such pieces, one or two in each thread.
                data = mmap.mmap(-1, length)
                read = os.preadv(self._file, [data], offset)
        if read != length:
            raise _changed(self._path)
        return data

    def _parts(self) -> Upload:
        with self._lock:
            if self._upload is None:
                self._upload = self._engine.upload(*self._place, check=self._check, overwrite=self._overwrite)
            return self._upload

    def finish(self) -> None:
        """Makes the blob of its blocks."""
        if not self.single:
            md5 = md5_of(self._contents()) if chosen(self._check) is MD5 else ""
            self._unchanged()
            self.written = self._parts().finish(md5)
        self.discard()

    def _contents(self) -> Iterator[bytes]:
        return (os.pread(self._file, self.step, offset) for offset in range(0, self.size, self.step))

    def _unchanged(self) -> None:
        if _stamp(os.fstat(self._file)) != self._stamp:
            raise _changed(self._path)

    def discard(self) -> None:
        """Closes the file. Blocks that are not committed nobody sees; the service drops them after a week."""
        with self._lock:
            file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def regular(path: Path) -> os.stat_result:
    """What is known of a regular file; UsageError when it is none."""
    with local(path, "read"):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no regular file", next_step="name a file, or add -r for a folder")
    return found


def block_size(size: int) -> int:
    """How many bytes of a file of `size` bytes travel in one request: 8 MiB, more above 390 GiB."""
    least = -(-size // _MAX_BLOCKS)
    return max(BLOCK, -(-least // MiB) * MiB)


def _stamp(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _changed(path: Path) -> StorageError:
    return StorageError(
        f"{path} changed while it was being read",
        cause="its size or its time is another one now",
        next_step="copy it again when nobody writes to it",
        path=str(path),
    )
