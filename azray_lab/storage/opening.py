"""Open blobs: reads by the engine, pinned to one version, through a small cache; writes that appear as a whole.

A read that the cache does not hold is one request: of just what was asked for when reads jump (columns of Parquet),
of more and more when they follow each other. So there are never more requests than reads, but for reads above the
engine's range of 4 MiB, which it splits and does in parallel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from fsspec.caching import BaseCache, register_cache
from fsspec.spec import AbstractBufferedFile

from azray_lab.storage.engine import BLOCK, RANGE
from azray_lab.storage.looking import as_files

if TYPE_CHECKING:
    from azray_lab.storage.engine import Upload
    from azray_lab.storage.filesystem import BlobFileSystem

# A jump costs a request of 10 ms or more, in which 64 KiB come along for nothing.
_SMALLEST = 64 * 1024
_BLOCKS_UNDER_WAY = 4
_KEPT_BYTES = 16 * 1024 * 1024


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

    What is written goes off in blocks while more is written, four under way, and appears as a whole when it is closed;
    not at all when the `with` block ends with an error, or when the mode is `xb` and the blob is there.
    """

    fs: BlobFileSystem

    def __init__(
        self, fs: BlobFileSystem, path: str, mode: str = "rb", block_size: int | None = None, **options: Any
    ) -> None:
        self._upload: Upload | None = None
        self._sending: list[Future[int]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._failure: BaseException | None = None
        super().__init__(fs, path, mode, block_size or (RANGE if mode == "rb" else BLOCK), **options)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.writable():
            self.discard()
        self.close()

    def discard(self) -> None:
        """Drops what was written: nothing of it appears, what was there before stays."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self.forced = True  # fsspec: nothing is to be flushed any more
        self.closed = True

    def _fetch_range(self, start: int, end: int) -> bytes:
        return self.fs.read_range(self.path, start, min(end, self.size), str(self.details.get("etag") or ""))

    def _initiate_upload(self) -> None:
        engine, container, name = self.fs.place(self.path)
        self._upload = engine.upload(container, name, overwrite=self.mode != "xb")

    def _upload_chunk(self, final: bool = False) -> bool:  # noqa: FBT001, FBT002 - fsspec's
        upload, data = self._upload, self.buffer.getbuffer()
        if upload is None:  # pragma: no cover - fsspec initiates first
            return False
        with as_files(self.path):
            if self._failure is not None:  # without its block the blob would have a hole
                raise self._failure
            if final and not self.offset and not self._sending:
                upload.whole(data)
                return True
            if len(data):
                self._send(upload, self.offset or 0, bytes(data))
            if final:
                self._wait(0)
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
