"""Files that appear whole or not at all: written under another name in the same folder, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from azray_lab.errors import StorageError, UsageError
from azray_lab.storage.engine.model import MiB

# What is left free on the disk for others; and from which size on the disk is asked before.
_SPARE = 16 * MiB
_LARGE = 64 * MiB
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_IN_THE_WAY = (
    "name another destination, or remove what is in the way: a file where a folder is needed, or a folder where a file "
    "is; a blob and a folder of blobs that have the same name are copied one by one"
)
_STEPS = {
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EISDIR: _IN_THE_WAY,
    errno.ENOSPC: "free some space, or name a destination on another disk",
    errno.EDQUOT: "free some space: your quota is used up",
    errno.EFBIG: "name a destination on a file system that takes files of this size",
    errno.ENAMETOOLONG: "name a destination on a file system with longer names",
}


class Landing:
    """One file in the making. Parts may be written from several threads, in any order.

    Where the path is a symbolic link, the file that it names is replaced; anything but a regular file is refused.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = os.fspath(path)
        self._temporary = ""
        self._made: list[Path] = []
        self._file = -1
        self._checksums: dict[int, str] = {}
        self._lock = threading.Lock()

    def begin(self, size: int) -> None:
        """Makes missing folders and an empty file under another name; StorageError where `size` bytes do not fit."""
        # As few calls as will do, for there may be thousands of small files on many threads.
        try:
            self._follow()
            folder, name = os.path.split(self.path)
            self._temporary = f"{folder or '.'}/.{_begin(name)}.{os.urandom(4).hex()}.part"
            if size > _LARGE:
                self._make_folders(Path(folder))
                self._check_space(size)
            try:
                self._file = os.open(self._temporary, _NEW, 0o666)
            except FileNotFoundError:
                self._make_folders(Path(folder))
                self._file = os.open(self._temporary, _NEW, 0o666)
        except OSError as error:
            raise _told(self.path, "written", error) from error

    def _follow(self) -> None:
        """Goes to the file that a link names; UsageError for what is neither a regular file nor nothing."""
        try:
            found = os.lstat(self.path)
            if stat.S_ISLNK(found.st_mode):
                self.path = os.path.realpath(self.path)
                found = os.lstat(self.path)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{self.path} is no regular file", next_step="name another destination")

    def _make_folders(self, parent: Path) -> None:
        for folder in reversed([parent, *parent.parents]):
            if not folder.is_dir():
                with contextlib.suppress(FileExistsError):  # another thread made it; if it is a file, the next fails
                    folder.mkdir()
                    self._made.append(folder)

    def _check_space(self, size: int) -> None:
        disk = os.statvfs(Path(self.path).parent)
        free = disk.f_bavail * disk.f_frsize
        if size + _SPARE > free:
            raise OSError(errno.ENOSPC, f"it needs {size / MiB:,.0f} MiB, {free / MiB:,.0f} MiB are free")

    def write(self, offset: int, data: Any, checksum: str = "") -> None:
        """Writes a part at its place; `checksum` is what it has to have there in the end."""
        if checksum:
            self._checksums[offset] = checksum
        view = memoryview(data)
        try:
            while view:
                done = os.pwrite(self._file, view, offset)
                offset, view = offset + done, view[done:]
        except OSError as error:
            raise _told(self.path, "written", error) from error

    def read(self) -> Iterator[bytes]:
        """What has been written, in order, for a checksum."""
        with Path(self._temporary).open("rb") as file:
            while part := file.read(4 * MiB):
                yield part

    def checksums(self) -> list[str]:
        """Those of the parts that had one, in order."""
        return [self._checksums[offset] for offset in sorted(self._checksums)]

    def finish(self, modified: datetime | None = None, *, durable: bool = False) -> None:
        """Gives the file its name, and the time `modified`; `durable`: once it is on the disk."""
        try:
            if modified is not None:
                seconds = modified.timestamp()
                os.utime(self._file, (seconds, seconds))
            if durable:
                os.fsync(self._file)
            self._close()
            os.replace(self._temporary, self.path)  # noqa: PTH105 - a Path for each small file costs more
        except OSError as error:
            raise _told(self.path, "written", error) from error
        self._temporary, self._made = "", []

    def discard(self) -> None:
        """Removes what was begun, and folders made for it that are empty; never raises."""
        self._close()
        with contextlib.suppress(OSError):
            if self._temporary:
                Path(self._temporary).unlink(missing_ok=True)
            for folder in reversed(self._made):
                folder.rmdir()  # fails, and is left, when something else is in it by now

    def _close(self) -> None:
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1


def _in_the_way(path: Path) -> str:
    """Which file lies where a folder is needed for `path`."""
    found = next((one for one in path.parents if one.exists() and not one.is_dir()), None)
    return f"{found} is a file, and a folder is needed there" if found else os.strerror(errno.ENOTDIR)


def _begin(name: str) -> str:
    """At most 80 bytes of a name: file systems count bytes, of which a character may have four."""
    return name if len(name) <= 20 else os.fsencode(name)[:80].decode("utf-8", "ignore")  # noqa: PLR2004 - 80 / 4


@contextlib.contextmanager
def local(path: str | Path, verb: str) -> Iterator[None]:
    """Errors of the local disk become ours."""
    try:
        yield
    except OSError as error:
        raise _told(path, verb, error) from error


def _told(path: str | Path, verb: str, error: OSError) -> StorageError:
    return StorageError(
        f"{path} cannot be {verb}",
        cause=_in_the_way(Path(path)) if error.errno == errno.ENOTDIR else error.strerror or str(error),
        next_step=_STEPS.get(error.errno or 0, f"ls -ld {Path(path).parent}"),
        path=str(path),
    )
