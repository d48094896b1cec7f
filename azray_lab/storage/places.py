"""The ends of a copy, a local file and a blob, with the same few verbs: read a range; begin, write, finish, discard.

A target appears whole or not at all: a local file under another name until it is complete, a blob as uncommitted
blocks, which the service forgets after a week.
"""

from __future__ import annotations

import base64
import contextlib
import mimetypes
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from azray_lab.errors import StorageError, UsageError

if TYPE_CHECKING:
    from azray_lab.storage.services import Services
    from azray_lab.storage.uri import BlobUri

_MiB = 1024 * 1024
_PART = 4 * _MiB
# "Put Block": at most 50,000 blocks in a blob, 4,000 MiB each.
_MAX_PARTS = 50_000


def part_size(size: int) -> int:
    """How many bytes of a file of `size` bytes travel in one request: 4 MiB, more above 195 GiB."""
    least = -(-size // _MAX_PARTS)
    return max(_PART, -(-least // _MiB) * _MiB)


class Source(Protocol):
    """Where bytes come from."""

    def read(self, offset: int, length: int) -> bytes:
        """Exactly those bytes; StorageError when the source changed since its size was asked."""
        ...


class Target(Protocol):
    """Where bytes go to. Parts may be written from several threads, in any order."""

    def begin(self, size: int) -> None:
        """Makes ready for `size` bytes."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Keeps a part; nobody sees it yet."""
        ...

    def finish(self) -> None:
        """Makes the whole visible at once."""
        ...

    def discard(self) -> None:
        """Removes what was begun and not finished; never raises."""
        ...


class LocalFile:
    """A file on this machine as source or target. A target may replace a regular file, nothing else."""

    def __init__(self, path: Path) -> None:
        # Through a symbolic link, the file it names is replaced and not the link.
        self.path = Path(os.path.realpath(path))
        self._temporary = self.path.parent / f".{self.path.name[:80]}.{secrets.token_hex(4)}.part"
        self._made: list[Path] = []

    def size(self) -> int:
        """The size in bytes; UsageError when it is no regular file."""
        with _local(self.path, "read"):
            found = self.path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(f"{self.path} is no regular file", next_step="name a file, or add -r for a folder")
        return found.st_size

    def read(self, offset: int, length: int) -> bytes:
        """Exactly those bytes; StorageError when the file became shorter."""
        with _local(self.path, "read"), self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
        if len(data) < length:
            raise StorageError(
                f"{self.path} changed while it was being read", cause=f"it ends before {offset + length}"
            )
        return data

    def begin(self, size: int) -> None:
        """Makes the folder and an empty file under a temporary name."""
        del size
        with _local(self.path, "written"):
            if self.path.exists() and not self.path.is_file():
                raise UsageError(f"{self.path} is no regular file", next_step="name another destination")
            missing = [folder for folder in self.path.parents if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                self._made.append(folder)
            self._temporary.touch(exist_ok=False)

    def write(self, offset: int, data: bytes) -> None:
        """Writes the part into the temporary file."""
        with _local(self.path, "written"), self._temporary.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def finish(self) -> None:
        """Gives the file its name."""
        with _local(self.path, "written"):
            self._temporary.replace(self.path)

    def discard(self) -> None:
        """Removes the temporary file, and folders made for it that are empty."""
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)
            for folder in reversed(self._made):
                folder.rmdir()  # fails, and is left, when something else is in it by now


class Blob:
    """A blob as source or target. As a source it is pinned to `etag`, so that all its parts are of one version."""

    def __init__(self, services: Services, uri: BlobUri, etag: str = "") -> None:
        self.uri = uri
        self._services = services
        self._client = services.blob(uri)
        self._etag = etag
        self._blocks: list[int] = []
        self._single = False

    def read(self, offset: int, length: int) -> bytes:
        """Exactly those bytes; StorageError when the blob was overwritten meanwhile. One request."""
        from azure.core import MatchConditions

        pin: dict[str, Any] = {"etag": self._etag, "match_condition": MatchConditions.IfNotModified}
        with self._services.asking(self.uri):
            return bytes(self._client.download_blob(offset, length, **pin if self._etag else {}).readall())

    def begin(self, size: int) -> None:
        """Notes whether one request will do."""
        self._single = size <= part_size(size)

    def write(self, offset: int, data: bytes) -> None:
        """Sends the part: the whole blob when it is small, else a block."""
        with self._services.asking(self.uri):
            if self._single:
                self._client.upload_blob(data, overwrite=True, content_settings=self._content())
            else:
                self._client.stage_block(_block_id(offset), data, length=len(data))
                self._blocks.append(offset)

    def finish(self) -> None:
        """Commits the blocks; until then readers see the old blob, or none."""
        if self._single:
            return
        from azure.storage.blob import BlobBlock

        with self._services.asking(self.uri):
            blocks = [BlobBlock(_block_id(offset)) for offset in sorted(self._blocks)]
            self._client.commit_block_list(blocks, content_settings=self._content())

    def discard(self) -> None:
        """Nothing to do: what is not committed nobody sees, and the service drops it after a week."""

    def _content(self) -> Any:
        from azure.storage.blob import ContentSettings

        kind, encoding = mimetypes.guess_type(self.uri.name)
        # An encoding would make browsers unpack what they save, so a .gz is just bytes.
        return ContentSettings(content_type=kind if kind and not encoding else "application/octet-stream")


def _block_id(offset: int) -> str:
    return base64.b64encode(f"{offset:020d}".encode()).decode()


@contextlib.contextmanager
def _local(path: Path, verb: str) -> Iterator[None]:
    """The one place where errors of the local disk become ours."""
    try:
        yield
    except OSError as error:
        step = "free some space" if error.errno == 28 else f"ls -ld {path.parent}"  # noqa: PLR2004 - ENOSPC
        raise StorageError(
            f"{path} cannot be {verb}", cause=error.strerror or str(error), next_step=step, path=str(path)
        ) from error
