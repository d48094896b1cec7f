"""What is asked of the account before a folder is made: is it there, does it let us in, is anything below the URI?

blobfuse2 takes twenty seconds to say that a host does not exist; our engine takes one. So it is asked first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CancelledError, StorageError, UsageError

if TYPE_CHECKING:
    from azray_lab.operation import Operation
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.blobfuse.records import Record
    from azray_lab.storage.engine.stopping import Stop

# With these it is blobfuse2 alone that knows the way to the account.
OWN_WAY = frozenset({"azstorage.http-proxy", "azstorage.https-proxy", "azstorage.ca-cert-file"})


@contextlib.contextmanager
def within(seconds: float, uri: BlobUri, operation: Operation[Any] | None = None) -> Iterator[Stop]:
    """What ends requests about `uri` after `seconds`, with StorageError, or with the operation's cancellation."""
    from azray_lab.storage.engine.stopping import Stop

    stop, late = Stop() if operation is None else Stop.of(operation), threading.Event()

    def expire() -> None:
        late.set()
        stop.set()

    timer = threading.Timer(max(seconds, 0.1), expire)
    timer.daemon = True
    timer.start()
    try:
        yield stop
    except CancelledError as error:
        if operation is not None:
            operation.check()
        if not late.is_set():
            raise
        raise StorageError(
            f"{uri} could not be looked at", cause=f"the service did not answer within {seconds:.0f} s",
            next_step=f"azray blob ls {uri}, and --timeout with more seconds when the line is slow", uri=str(uri),
        ) from error  # fmt: skip
    finally:
        timer.cancel()


def anything(uri: BlobUri, environ: Mapping[str, str], operation: Operation[Any] | None, seconds: float) -> bool:
    """Whether there is any blob below `uri`; one request. Every error as `azray blob ls` has it, in seconds."""
    from azray_lab.storage.engine import engine_for

    prefix = f"{uri.path.strip('/')}/" if uri.path.strip("/") else ""
    with within(seconds, uri, operation) as stop:
        wire = engine_for(uri, environ).stoppable(stop).wire
        return any(wire.listing(uri.container, prefix, page=1))


def check_folder(uri: BlobUri, environ: Mapping[str, str], operation: Operation[Any], seconds: float) -> None:
    """UsageError for a URI below which nothing is because it is a blob's; one request."""
    from azray_lab.storage.engine import engine_for

    if not uri.path.strip("/"):
        return
    with within(seconds, uri, operation) as stop:
        found = engine_for(uri, environ).stoppable(stop).stat(uri.container, uri.path)
    if found is not None and found.kind == "blob" and found.metadata.get("hdi_isfolder") != "true":
        above = str(uri).rpartition("/")[0]
        raise UsageError(
            f"{uri} is a blob, and no folder",
            cause="a folder of blobs can be mounted",
            next_step=f"azray mount {above}",
        )


def check_use(record: Record, operation: Operation[Any]) -> None:
    """What to say of a mount for reading below which nothing is: a copy would stay empty, so that is StorageError."""
    if not record.read_only:
        return
    step = f"azray blob ls {record.uri.rpartition('/')[0] if record.uri.count('/') > 2 else record.uri}"  # noqa: PLR2004 - az://c/f
    if record.engine == "hydrate":
        raise StorageError(f"{record.uri} is empty", cause="there is nothing to read", next_step=step, uri=record.uri)
    operation.note(f"there is nothing at {record.uri} yet, and nothing can be written here: {step}")
