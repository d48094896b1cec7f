"""How a transfer is ended: pauses end, nothing is tried again, and requests that change nothing are cut."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CancelledError

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

    from azray_lab.operation import Operation


class Stop(threading.Event):
    """Once it is set, whoever waits for an answer under `cutting` gets CancelledError, however silent the host is.

    Requests that change something are not cut, for nobody would know whether they were done. One that is made `below`
    another is set with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: set[http.client.HTTPConnection] = set()
        self._parts: weakref.WeakSet[Stop] = weakref.WeakSet()
        self._guard = threading.Lock()

    def below(self) -> Stop:
        """One for a part of the work: it may be set alone."""
        part = Stop()
        with self._guard:
            self._parts.add(part)
        if self.is_set():
            part.set()
        return part

    @classmethod
    def of(cls, operation: Operation[Any]) -> Stop:
        """One that the operation's cancellation sets."""
        stop = cls()
        operation.on_cancel(stop.set)
        return stop

    def set(self) -> None:
        """Ends what waits, and all that would wait from now on."""
        super().set()
        with self._guard:
            waiting, parts = list(self._waiting), list(self._parts)
        for connection in waiting:
            _cut(connection)
        for part in parts:
            part.set()

    @contextlib.contextmanager
    def cutting(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """In the block `connection` waits for an answer that nobody needs once this is set."""
        with self._guard:
            if self.is_set():
                raise cancelled()
            self._waiting.add(connection)
        try:
            yield
        except Exception as error:
            if self.is_set():
                raise cancelled() from error
            raise
        finally:
            with self._guard:
                self._waiting.discard(connection)


def cancelled() -> CancelledError:
    """What ends a transfer that was stopped."""
    return CancelledError("the transfer was cancelled")


def _cut(connection: http.client.HTTPConnection) -> None:
    import socket

    if connection.sock is not None:
        with contextlib.suppress(OSError):  # it is closed already
            # The plain socket's: that of TLS takes itself to pieces, while another thread reads from it.
            socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)
