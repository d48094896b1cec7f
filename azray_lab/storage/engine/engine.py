"""`Engine`: a storage account's blobs, fast: what `azray_lab.blob`, the file system and the mounts are built on.

    engine = engine_for(BlobUri.parse("az://data"))
    engine.put("data", "a/b.bin", b"...")
    engine.get_bytes("data", "a/b.bin", 0, 100)

Bytes move by obstore (`fast`), everything else and every second try by the standard library (`wire`). Threads may share
an engine; a forked child goes on with the standard library alone. Sizes are bytes; ranges are [start, end).
"""

from __future__ import annotations

import contextlib
import functools
import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, StorageError
from azray_lab.storage.engine import faults
from azray_lab.storage.engine.checksums import MD5, Check, chosen
from azray_lab.storage.engine.fast import PUT_MOST, Fast, Unable
from azray_lab.storage.engine.flights import Job, fly
from azray_lab.storage.engine.model import Begun, Block, Entry, MiB
from azray_lab.storage.engine.stopping import Stop
from azray_lab.storage.engine.upload import Upload, type_of
from azray_lab.storage.engine.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

    from azray_lab.storage.credentials import Account

# One range of a read, and one block of an upload; blobs up to 8 MiB are put by one request.
RANGE = 4 * MiB
BLOCK = 8 * MiB
_COPY_LOOK = 0.2
# Within an account a copy takes minutes; the service itself gives up after two weeks.
_COPY_SECONDS = 24 * 3600.0


class Engine:
    """The blobs of one account. All methods may raise CredentialError, BlobNotFoundError and StorageError."""

    def __init__(self, account: Account, wire: Wire | None = None, fast: Fast | None = None) -> None:
        self.account = account
        self.wire = wire or Wire(account)
        self._fast = fast or Fast(account.endpoint, self.wire.signer)

    def stoppable(self, stop: Stop) -> Engine:
        """The same engine, sharing all connections, that waits no longer once `stop` is set (see `Stop`)."""
        return Engine(self.account, self.wire.stoppable(stop), self._fast)

    def one_transfer(self) -> tuple[Engine, Stop]:
        """The same engine for one transfer, and what ends that transfer alone."""
        stop = self.wire.pauses.stop.below()
        return self.stoppable(stop), stop

    # Reading.

    def read(
        self, container: str, name: str, start: int = 0, end: int = RANGE, etag: str = "", *, check: Check = False
    ) -> Block:
        """Up to `end - start` bytes, with the blob's size and version. One request.

        `etag`: only of that version, else StorageError. `check`: with a checksum of the bytes (ranges up to 4 MiB).
        """
        if end <= start:
            return Block(b"", 0, etag)
        if not check and self._fast.can(name):
            self._ready()
            try:
                return self._exact(self._fast.read(container, name, start, end, etag), (container, name), start, end)
            except Unable as why:
                self._wait(why)
        block = self.wire.read(container, name, start, end, etag, check=check)
        return self._exact(block, (container, name), start, end)

    def begin(
        self, container: str, name: str, start: int = 0, end: int = RANGE, etag: str = "", *, check: Check = False
    ) -> Begun:
        """The same, once size and version are known: the other ranges can be asked for while the first one comes."""
        if end <= start:
            return Begun(0, etag, lambda: Block(b"", 0, etag))
        exact = functools.partial(self._exact, place=(container, name), start=start, end=end)
        if not check and self._fast.can(name):
            self._ready()
            try:
                begun = self._fast.begin(container, name, start, end, etag)
            except Unable as why:
                self._wait(why)
            else:
                return begun._replace(body=lambda: exact(self._body(begun, (container, name), start, end)))
        block = exact(self.wire.read(container, name, start, end, etag, check=check))
        return Begun(block.size, block.etag, lambda: block)

    def _body(self, begun: Begun, place: tuple[str, str], start: int, end: int) -> Block:
        try:
            return begun.body()
        except Unable as why:
            self._wait(why)
            return self.wire.read(*place, start, end, begun.etag)

    def _wait(self, why: Unable) -> None:
        if why.throttled:
            self.wire.pauses.after(0)

    def _ready(self) -> None:
        self.wire.pauses.before()
        self.wire.connections.resolve()

    def _exact(self, block: Block, place: tuple[str, str], start: int, end: int) -> Block:
        if len(block.data) != max(min(end, block.size) - start, 0):
            raise StorageError(
                f"{self.wire.place(*place)} arrived cut short",
                cause=f"{len(block.data)} bytes of {min(end, block.size) - start}",
                next_step="copy it again",
            )
        return block

    def get_bytes(
        self, container: str, name: str, start: int = 0, end: int | None = None, etag: str = "", *, check: Check = False
    ) -> bytes:
        """The bytes of a blob, or of a range of it, all of one version; ranges of 4 MiB in parallel."""
        stop = start + RANGE if end is None else min(end, start + RANGE)
        first = self.begin(container, name, start, stop, etag, check=check)
        end = first.size if end is None else min(end, first.size)
        if end <= stop:
            return bytes(first.body().data)
        # Unlike a bytearray it gives its bytes away without a copy.
        buffer = io.BytesIO()
        buffer.seek(end - start - 1)
        buffer.write(b"\0")

        engine, ended = self.one_transfer()

        def part(offset: int) -> None:
            again = functools.partial(engine.read, container, name, offset, min(offset + RANGE, end), first.etag)
            data = (first.body() if offset == start else again(check=check)).data
            whole[offset - start : offset - start + len(data)] = data

        with buffer.getbuffer() as whole:
            jobs = (Job(functools.partial(part, offset), RANGE) for offset in range(start, end, RANGE))
            for _ in fly(jobs, stop=ended):
                pass
        return buffer.getvalue()

    def get_ranges(self, container: str, name: str, ranges: Sequence[tuple[int, int]], etag: str = "") -> list[bytes]:
        """Several ranges of a blob, in parallel, in their order; one request for each 4 MiB of each."""
        return self._gather([(container, name, *one, etag) for one in ranges])

    def get_many(self, places: Sequence[tuple[str, str]]) -> list[bytes]:
        """Whole blobs, given as (container, name), 64 at a time; the first error ends it. All are in memory."""
        return self._gather(places)

    def _gather(self, places: Sequence[tuple[Any, ...]]) -> list[bytes]:
        if len(places) == 1:
            return [self.get_bytes(*places[0])]
        engine, stop = self.one_transfer()
        works = (functools.partial(engine.get_bytes, *place) for place in places)
        found = dict(fly((Job(functools.partial(_numbered, *one), MiB) for one in enumerate(works)), stop=stop))
        return [found[number] for number in range(len(places))]

    def get_file(
        self, container: str, name: str, path: str | Path, *, check: Check = False, durable: bool = False
    ) -> Entry | None:
        """The blob as the file `path`, which appears when it is complete; None, and no file, when there is none.

        The first request brings the first 4 MiB, and its head size and version; then the rest is asked for in ranges,
        20 at a time.
        `check` is `md5` (or True) or `crc64`: each range as it comes, and then what lies on the disk; MD5 also compares
        the whole with the one that is kept with the blob, if there is one. `durable`: waits for the disk.
        """
        from azray_lab.storage.engine.download import download

        return download(self, container, name, path, check=check, durable=durable)

    def stat(self, container: str, name: str) -> Entry | None:
        """Size, version, time and properties of a blob; None when there is none of exactly that name. One request."""
        return self.wire.stat(container, name)

    def exists(self, container: str, name: str) -> bool:
        """Whether there is a blob of exactly that name. One request."""
        return self.wire.stat(container, name) is not None

    def list(self, container: str, prefix: str = "", delimiter: str = "") -> Iterator[Entry]:
        """The blobs whose names begin with `prefix`, in order; one request for each 5,000, in constant memory.

        With the delimiter `/`, what lies deeper is given as folders, whose names end with it; one for which a blob
        stands as well is given once.
        """
        folders: set[str] = set()
        for page in self.wire.listing(container, prefix, delimiter):
            if not delimiter:
                yield from page
                continue
            for entry in page:
                if entry.kind != "folder" or entry.name not in folders:
                    yield entry
                if entry.kind == "folder":
                    folders.add(entry.name)

    def containers(self, prefix: str = "") -> Iterator[Entry]:
        """The account's containers."""
        for page in self.wire.containers(prefix):
            yield from page

    # Writing.

    def put(
        self, container: str, name: str, data: Any, *, content_type: str = "",
        metadata: Mapping[str, str] | None = None, overwrite: bool = True, check: Check = False,
    ) -> Entry:  # fmt: skip
        """Makes the blob of `data` (a buffer); readers see the old one or all of the new one.

        Up to 8 MiB by one request, more in blocks of 8 MiB, eight at a time. Without `overwrite` StorageError (409)
        when it exists. `check` (`md5`, or True, or `crc64`) has the service compare each part; the MD5 of the whole is
        kept with the blob.
        """
        kind = content_type or type_of(name)
        view = _bytes_of(data)
        plain = overwrite and not metadata and not check
        if len(view) <= PUT_MOST and plain and self._fast.can(name):
            self._ready()
            try:
                return self._fast.put(container, name, view, kind)
            except Unable as why:
                self._wait(why)
        engine, stop = self.one_transfer()
        upload = engine.upload(container, name, content_type=kind, metadata=metadata, overwrite=overwrite, check=check)
        if len(view) <= BLOCK:
            return upload.whole(view)
        blocks = range(0, len(view), BLOCK)
        jobs = (Job(functools.partial(upload.write, start, view[start : start + BLOCK]), BLOCK) for start in blocks)
        for _ in fly(jobs, stop=stop, flights=8):
            pass
        return upload.finish(md5=MD5.of(view) if chosen(check) is MD5 else "")

    def upload(
        self, container: str, name: str, *, content_type: str = "", metadata: Mapping[str, str] | None = None,
        overwrite: bool = True, check: Check = False,
    ) -> Upload:  # fmt: skip
        """A blob to be written in parts; nothing of it is seen before `Upload.finish`."""
        headers = {"x-ms-blob-content-type": content_type or type_of(name)}
        headers |= {f"x-ms-meta-{key}": value for key, value in (metadata or {}).items()}
        if not overwrite:
            headers["If-None-Match"] = "*"
        return Upload(self.wire, container, name, headers, check=check)

    def copy(self, source: tuple[str, str] | str, target: tuple[str, str], check: Any = None, etag: str = "") -> None:
        """Has the service copy a blob, of which no byte passes here. `check` may raise to end it.

        `source` is one of this account, or the address of any blob with what opens it; `etag`: of that version only. A
        copy that is ended, or takes longer than a day (StorageError), is aborted and what it left removed.
        """
        shown = self.wire.place(*source) if isinstance(source, tuple) else source.partition("?")[0]
        address = self.wire.address(*source) if isinstance(source, tuple) else source
        answer = self.wire.copy(*target, address, etag)
        status, identity = answer.headers.get("x-ms-copy-status"), answer.headers.get("x-ms-copy-id", "")
        if status == "pending":
            try:
                status = self._copied(target, identity, check)
            except BaseException:
                # Why it ended counts, not that the service could not be told.
                with contextlib.suppress(AzRayError):
                    self._abort(target, identity)
                raise
        if status not in {"success", None}:
            raise StorageError(f"{shown} was not copied", cause=f"the service says {status}", next_step="copy it again")

    def _abort(self, target: tuple[str, str], identity: str) -> None:
        """Ends a copy that goes on, and removes the empty blob that it leaves, unless somebody wrote it anew."""
        engine = self.stoppable(Stop())  # what ended the copy does not end this
        if engine.wire.abort_copy(*target, identity):
            found = engine.stat(*target)
            if found is not None and found.fact("x-ms-copy-id") == identity:
                engine.delete(*target, found.etag)

    def _copied(self, target: tuple[str, str], identity: str, check: Any) -> str:
        """The status of a copy once it is over."""
        deadline = time.monotonic() + _COPY_SECONDS
        status = "pending"
        while status == "pending":
            if check is not None:
                check()
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{self.wire.place(*target)} was not copied in time",
                    cause=f"the service was at it for {_COPY_SECONDS / 3600:.0f} h",
                    next_step="copy it again",
                )
            time.sleep(_COPY_LOOK)
            found = self.stat(*target)
            if found is None or found.fact("x-ms-copy-id") != identity:
                raise faults.changed(self.wire.place(*target), "another copy took its place")
            status = found.fact("x-ms-copy-status")
        return status

    def delete(self, container: str, name: str, etag: str = "") -> bool:
        """Removes a blob; False when there was none. One request."""
        return self.wire.delete(container, name, etag)

    def delete_many(self, places: Iterable[tuple[str, str]]) -> int:
        """Removes blobs, given as (container, name), 64 at a time; how many there were."""
        engine, stop = self.one_transfer()
        return sum(fly((Job(functools.partial(engine.delete, *place)) for place in places), stop=stop))

    def create_container(self, container: str) -> bool:
        """Makes a container; False when it was there."""
        return self.wire.create_container(container)

    def delete_container(self, container: str) -> bool:
        """Removes a container with all that is in it; False when there was none."""
        return self.wire.delete_container(container)


def _bytes_of(data: Any) -> memoryview:
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous and view.nbytes else memoryview(view.tobytes())


def _numbered(number: int, work: Callable[[], bytes]) -> tuple[int, bytes]:
    return number, work()
