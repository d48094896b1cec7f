"""A job's log: followed while it runs, in bounded memory, each line with the name of the node that it comes from.

While the job runs the dashboard streams the log's file (`/api/v0/logs/stream`); that stream never ends by itself, so
when the job has ended the file is read once more and what was already told is skipped. Nothing is lost or told twice,
whatever the bytes are; the log crosses the network at most twice (100 MB: 0.7 s on one machine).
"""

from __future__ import annotations

import codecs
import queue
import threading
import time
from typing import TYPE_CHECKING

from azray_lab.errors import AzRayError, JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Self

    from azray_lab.jobs.dashboard import Dashboard, Stream
    from azray_lab.jobs.model import Job

LONGEST = 1 << 16
"""Characters after which a line without an end is told in pieces."""

_POLL_SECONDS = 0.5
_QUIET_SECONDS = 0.2
# How often the agent looks whether the file has grown.
_AGENT_SECONDS = 0.2
_READ_SECONDS = 60.0
# A download that takes longer than this is cut off by the dashboard.
_DOWNLOAD_SECONDS = 3600
_ATTEMPTS = 5
# Blocks of 64 KiB that may wait for a slow reader.
_WAITING_BLOCKS = 32


def follow(dashboard: Dashboard, get: Callable[[], Job], check: Callable[[], None] = lambda: None) -> Iterator[str]:
    """The job's log from its beginning until the job has ended, as texts of whole lines (see `texts`).

    `get` reads the job anew; `check` is called at least five times a second and may raise to end the following.
    """
    job = _started(get, check)
    if job.node_id:
        yield from texts(_until_ended(dashboard, job, get, check), f"[{job.node}] ")


def now(dashboard: Dashboard, job: Job) -> Iterator[str]:
    """The job's log as it is at this moment, as texts of whole lines (see `texts`)."""
    if job.node_id:
        yield from texts(_file(dashboard, job, skip=0), f"[{job.node}] ")


def texts(blocks: Iterable[bytes], prefix: str) -> Iterator[str]:
    """Each block's finished lines in one text, `prefix` before each line; bytes that are no UTF-8 become U+FFFD.

    A line above LONGEST comes in pieces, the first with the prefix and the last with the line's end.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, start = "", prefix
    for block in blocks:
        *whole, rest = (rest + decoder.decode(block)).split("\n")
        if whole:
            yield start + f"\n{prefix}".join(whole) + "\n"
            start = prefix
        if len(rest) > LONGEST:
            yield start + rest
            rest, start = "", ""
    rest += decoder.decode(b"", final=True)
    if rest or not start:
        yield f"{start}{rest}\n"


def _started(get: Callable[[], Job], check: Callable[[], None]) -> Job:
    while not (job := get()).node_id and not job.done:
        check()
        time.sleep(_QUIET_SECONDS)
    return job


def _until_ended(dashboard: Dashboard, job: Job, get: Callable[[], Job], check: Callable[[], None]) -> Iterator[bytes]:
    told = 0
    if not job.done:
        for block in _live(dashboard, job, get, check):
            yield block
            told += len(block)
    for block in _file(dashboard, job, skip=told):
        check()
        yield block


def _live(dashboard: Dashboard, job: Job, get: Callable[[], Job], check: Callable[[], None]) -> Iterator[bytes]:
    told, attempts = 0, 0
    while not get().done:
        with _Reader(dashboard, job, skip=told) as reader:
            try:
                for block in reader.until(lambda: get().done, check):
                    yield block
                    told += len(block)
            except JobError:
                # The log's file comes a moment after the job's start, and an agent under load may drop a stream.
                attempts += 1
                if attempts >= _ATTEMPTS:
                    raise
            else:
                return
        time.sleep(_POLL_SECONDS)


def _file(dashboard: Dashboard, job: Job, *, skip: int) -> Iterator[bytes]:
    with dashboard.stream("/api/v0/logs/file", seconds=_READ_SECONDS, **_query(job)) as stream:
        yield from _after(stream, skip)


def _query(job: Job) -> dict[str, object]:
    # JOB_LOGS_PATH_TEMPLATE in ray 2.60's dashboard/modules/job/common.py; -1 lines are all.
    name = f"job-driver-{job.id}.log"
    return {"node_id": job.node_id, "filename": name, "lines": -1, "timeout": _DOWNLOAD_SECONDS}


def _after(stream: Stream, skip: int) -> Iterator[bytes]:
    for block in stream:
        if skip >= len(block):
            skip -= len(block)
        else:
            yield block[skip:]
            skip = 0


class _Reader:
    """Reads the live stream in a thread, so that cancelling and the job's end are seen while nothing is printed."""

    def __init__(self, dashboard: Dashboard, job: Job, *, skip: int) -> None:
        self._dashboard = dashboard
        self._job = job
        self._skip = skip
        self._blocks: queue.Queue[bytes | AzRayError | None] = queue.Queue(_WAITING_BLOCKS)
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._thread = threading.Thread(target=self._read, name=f"azray-logs-{job.id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._stream is not None:
            self._stream.cut()
        self._thread.join(_READ_SECONDS)

    def until(self, ended: Callable[[], bool], check: Callable[[], None]) -> Iterator[bytes]:
        """The blocks that come until `ended()`, which is asked twice a second."""
        asked = time.monotonic()
        while True:
            check()
            try:
                block = self._blocks.get(timeout=_QUIET_SECONDS)
            except queue.Empty:
                block = b""
            if isinstance(block, AzRayError):
                raise block
            if block:
                yield block
            if time.monotonic() - asked > _POLL_SECONDS or block is None:
                if ended():
                    return
                asked = time.monotonic()
            if block is None:
                raise JobError(f"the log of job {self._job.id} broke off", job=self._job.id)

    def _read(self) -> None:
        query = _query(self._job) | {"interval": _AGENT_SECONDS}
        try:
            with self._dashboard.stream("/api/v0/logs/stream", seconds=None, **query) as stream:
                self._stream = stream
                if not self._stop.is_set():
                    for block in _after(stream, self._skip):
                        self._put(block)
            self._put(None)
        except AzRayError as error:
            self._put(error)

    def _put(self, item: bytes | AzRayError | None) -> None:
        while not self._stop.is_set():
            try:
                self._blocks.put(item, timeout=_QUIET_SECONDS)
            except queue.Full:
                continue
            return
