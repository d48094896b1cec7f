"""Open blobs: reads by the engine, pinned to one version, through a small cache; writes that appear as a whole.

A read that the cache does not hold is one request: of just what was asked for when reads jump (columns of Parquet),
of more and more when they follow each other. So there are never more requests than reads, but for reads above the
engine's range of 4 MiB, which it splits and does in parallel.
"""

from __future__ import annotations

import base64
import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache, register_cache
from fsspec.spec import AbstractBufferedFile

from azray_lab.errors import UsageError
from azray_lab.storage.engine import BLOCK, RANGE, Upload
from azray_lab.storage.engine.upload import type_of
from azray_lab.storage.looking import as_files
from azray_lab.storage.writing import CompressedFile, TextFile, ended_by_error

if TYPE_CHECKING:
    from azray_lab.storage.engine import Engine
    from azray_lab.storage.filesystem import BlobFileSystem

# A jump costs a request of 10 ms or more, in which 64 KiB come along for nothing.
_SMALLEST = 64 * 1024
_BLOCKS_UNDER_WAY = 4
_KEPT_BYTES = 16 * 1024 * 1024
_TEXT = ("encoding", "errors", "newline")


class JumpingCache(BaseCache):  # type: ignore[misc]  # fsspec has no types
    """The latest pieces of a file, 16 MiB of them, the least recently used dropped first."""

    name = "azray"

    def __init__(self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int, **_: Any) -> None:
        super().__init__(blocksize, fetcher, size)
        self._pieces: OrderedDict[int, bytes] = OrderedDict()
        self._held = 0
        self._ahead = _SMALLEST
        self._end = 0

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        start = 0 if start is None else start
        stop = self.size if stop is None else min(stop, self.size)
        if start >= stop:
            return b""
        found = self._kept(start, stop)
        if found is None:
            found = self._ask(start, stop)
        self._end = stop
        return found

    def _kept(self, start: int, stop: int) -> bytes | None:
        """The bytes when one piece has them all."""
        for offset, piece in self._pieces.items():
            if offset <= start and stop <= offset + len(piece):
                self._pieces.move_to_end(offset)
                self.hit_count += 1
                return piece[start - offset : stop - offset]
        return None

    def _ask(self, start: int, stop: int) -> bytes:
        """One request, which begins where the read does and ends behind it."""
        follows = start == self._end
        self._ahead = min(2 * self._ahead, self.blocksize) if follows else _SMALLEST
        piece: bytes = self.fetcher(start, min(max(stop, start + self._ahead), self.size))
        self.miss_count += 1
        self.total_requested_bytes += len(piece)
        self._held += len(piece) - len(self._pieces.pop(start, b""))
        self._pieces[start] = piece
        while self._held > _KEPT_BYTES and len(self._pieces) > 1:
            self._held -= len(self._pieces.popitem(last=False)[1])
        return piece[: stop - start]


register_cache(JumpingCache, clobber=True)


class BlobFile(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A blob opened for reading (all of one version, or StorageError) or for writing.

    What is written goes off in blocks of `block_size` bytes (8 MiB; a blob has 50,000 at most) while more is written,
    four under way, and appears as a whole when it is closed, or at the end of fsspec's transaction. Not at all when the
    `with` block ends with an error, or when the mode is `xb` and the blob is there.
    """

    fs: BlobFileSystem

    def __init__(
        self, fs: BlobFileSystem, path: str, mode: str = "rb", block_size: int | None = None, **options: Any
    ) -> None:
        self._upload: Upload | None = None
        self._sending: list[Future[int]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._failure: BaseException | None = None
        self._abandoned = False
        self._headers = _headers(options.pop("metadata", None), options.pop("content_settings", None))
        super().__init__(fs, path, mode, block_size or (RANGE if mode == "rb" else BLOCK), **options)

    def write(self, data: Any) -> int:
        """Takes all of `data`, any buffer; each block that it fills goes off, as a copy."""
        view = memoryview(data)
        view = view.cast("B") if view.nbytes else memoryview(b"")
        taken: int = 0
        while True:
            room = self.blocksize - self.buffer.tell()
            taken += super().write(view[taken : taken + room])
            if taken >= len(view):
                return taken

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abandon()
        self.close()

    def abandon(self) -> None:
        """Nothing of it is to appear; it can be written on, to nowhere, until it is closed."""
        self._abandoned = True

    def close(self) -> None:
        """Makes the blob, unless it is abandoned; what went wrong with a block is raised by the first close."""
        if self.writable() and (self._abandoned or ended_by_error()):
            self.discard()
        super().close()

    def __del__(self) -> None:
        # Nobody closed it. `json.dump(x, fs.open(...))` means what it says; where nothing was written, somebody failed.
        if self.writable() and not self.loc:
            self.discard()
        super().close()

    def commit(self) -> None:
        """The end of fsspec's transaction: the blob appears."""
        self.close()
        if self._upload is None or self._abandoned or self.autocommit:
            return
        with as_files(self.path):
            if self._failure is not None:
                raise self._failure
            self._upload.finish()
        self.fs.invalidate_cache(self.fs._parent(self.path))  # noqa: SLF001 - fsspec's own files do so

    def discard(self) -> None:
        """Drops what was written: nothing of it appears, what was there before stays."""
        self._abandoned = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self.forced = True  # fsspec: nothing is to be flushed any more
        self.closed = True

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.read_range(self.path, start, min(end, self.size), str(self.details.get("etag") or ""))

    def _initiate_upload(self) -> None:
        self._upload = self.fs.upload(self.path, self._headers, overwrite=self.mode != "xb")

    def _upload_chunk(self, final: bool = False) -> bool:  # noqa: FBT001, FBT002 - fsspec's
        upload = self._upload
        if upload is None or self._abandoned:
            return True
        with as_files(self.path):
            if self._failure is not None:  # without its block the blob would have a hole
                raise self._failure
            if final and self.autocommit and not self.offset and not self._sending:
                upload.whole(self.buffer.getbuffer())
                return True
            if self.buffer.tell():
                self._send(upload, self.offset or 0, self.buffer.getvalue())
            if final:
                self._wait(0)
            if final and self.autocommit:
                upload.finish()
        return True

    def _send(self, upload: Upload, offset: int, data: bytes) -> None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_BLOCKS_UNDER_WAY, thread_name_prefix="azray-write")
        self._wait(_BLOCKS_UNDER_WAY - 1)
        self._sending.append(self._pool.submit(upload.write, offset, data))

    def _wait(self, left: int) -> None:
        """Waits until at most `left` blocks are under way; raises what went wrong with one, now and ever after."""
        while len(self._sending) > left:
            try:
                self._sending.pop(0).result()
            except BaseException as error:
                self._failure = error
                raise
        if not left and self._pool is not None:
            self._pool.shutdown()


def _headers(metadata: Mapping[str, str] | None, settings: Any) -> dict[str, str]:
    """The `metadata` and `content_settings` (ContentSettings or a dictionary) of adlfs, as the service has them."""
    given = settings if isinstance(settings, Mapping) else vars(settings) if settings else {}
    headers = {
        f"x-ms-blob-{name.replace('_', '-')}": base64.b64encode(value).decode() if name == "content_md5" else value
        for name, value in given.items()
        if value
    }
    return headers | {f"x-ms-meta-{name}": value for name, value in (metadata or {}).items()}


class Opening:
    """The part of the file system that opens; an error inside the `with` block leaves what was there before."""

    default_cache_type: str
    exists: Any
    elsewhere: Callable[[Mapping[str, Any]], bool]
    blob_at: Callable[[str], tuple[Engine, str, str]]

    def open(
        self, path: str, mode: str = "rb", block_size: int | None = None, cache_options: Any = None,
        compression: str | None = None, **options: Any,
    ) -> Any:  # fmt: skip
        """A blob as a file, as fsspec has it: modes `r`, `w`, `x` and `a`, with `b` or as text, perhaps compressed."""
        given = {"block_size": block_size, "cache_options": cache_options, **options}
        if not {"w", "x"} & set(mode):
            return super().open(path, mode, compression=compression, **given)  # type: ignore[misc]  # fsspec's
        text = {} if "b" in mode else {name: given.pop(name) for name in _TEXT if name in given}
        raw = super().open(path, mode if "b" in mode else f"{mode.replace('t', '')}b", **given)  # type: ignore[misc]
        try:
            file = _packed(raw, compression)
            return file if "b" in mode else TextFile(file, **text)
        except BaseException:
            raw.abandon()
            raise

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        own = {"autocommit", "cache_type", "cache_options", "size"}
        if mode == "ab":
            self._check_appending(path, options)
        if mode == "ab" or (mode == "rb" and self.elsewhere({k: v for k, v in options.items() if k not in own})):
            return super()._open(path, mode, block_size, **options)  # type: ignore[misc]  # adlfs's
        if mode != "rb":
            self.blob_at(path)
        if mode == "xb" and self.exists(path):  # the service looks again when it is closed
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        own |= set() if mode == "rb" else {"metadata", "content_settings"}
        options = {name: value for name, value in options.items() if name in own}
        return BlobFile(self, path, mode, block_size, **{"cache_type": self.default_cache_type, **options})  # type: ignore[arg-type]

    def _check_appending(self, path: str, options: Mapping[str, Any]) -> None:
        """UsageError for what cannot be appended to. One request."""
        if not options.get("autocommit", True):
            raise UsageError("nothing can be appended in a transaction", next_step="append before or after it")
        engine, container, name = self.blob_at(path)
        with as_files(path):
            found = engine.stat(container, name)
        if found is not None and found.fact("x-ms-blob-type") not in {"", "AppendBlob"}:
            raise UsageError(
                f"nothing can be appended to {path}",
                cause="only blobs that were made by the mode `a` grow; this one was written as a whole",
                next_step="read it, and write it anew with what it lacks",
            )

    def upload(self, path: str, headers: Mapping[str, str], *, overwrite: bool) -> Upload:
        """A blob to be written in parts, with these properties and metadata. No request."""
        engine, container, name = self.blob_at(path)
        own = {"x-ms-blob-content-type": type_of(name), **headers, **({} if overwrite else {"If-None-Match": "*"})}
        return Upload(engine.wire, container, name, own, check=False)


def _packed(raw: BlobFile, compression: str | None) -> BlobFile | CompressedFile:
    from fsspec.core import get_compression

    found = get_compression(raw.path, compression)
    return CompressedFile(raw, found) if found else raw
