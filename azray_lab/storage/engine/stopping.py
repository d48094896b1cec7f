"""How a transfer is ended: pauses end, nothing is tried again, and requests that change nothing are cut."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CancelledError

if TYPE_CHECKING:
    import http.client
    from collections.abc import Iterator

    from azray_lab.operation import Operation


class Stop:
    """Once it is set, whoever waits for an answer under `cutting` gets CancelledError, however silent the host is.

    Requests that change something are not cut, for nobody would know whether they were done. One that is made `below`
    another is set with it. A forked child has none of the threads that wait.
    """

    def __init__(self) -> None:
        self._waiting: set[http.client.HTTPConnection] = set()
        self._parts: weakref.WeakSet[Stop] = weakref.WeakSet()
        self._set = False
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        self._event = threading.Event()
        self._guard = threading.Lock()  # of the parts; requests go without, for there are many
        self._waiting.clear()
        if self._set:
            self._event.set()

    @classmethod
    def of(cls, operation: Operation[Any]) -> Stop:
        """One that the operation's cancellation sets."""
        stop = cls()
        operation.on_cancel(stop.set)
        return stop

    def below(self) -> Stop:
        """One for a part of the work: it may be set alone."""
        part = Stop()
        with self._guard:
            self._parts.add(part)
        if self._set:
            part.set()
        return part

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set

    def check(self) -> None:
        """CancelledError when it was set."""
        if self._set:
            raise cancelled()

    def wait(self, seconds: float) -> bool:
        """Waits so long, or until it is set: whether it was."""
        return self._event.wait(seconds)

    def set(self) -> None:
        """Ends what waits, and all that would wait from now on."""
        self._set = True
        self._event.set()
        for connection in self._waiting.copy():
            _cut(connection)
        with self._guard:
            parts = list(self._parts)
        for part in parts:
            part.set()

    @contextlib.contextmanager
    def cutting(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """In the block `connection` waits for an answer that nobody needs once this is set."""
        self._waiting.add(connection)
        try:
            self.check()  # after the line above: whoever sets it sees the connection, or is seen here
            yield
        except Exception as error:
            if self._set and not isinstance(error, CancelledError):
                raise cancelled() from error
            raise
        finally:
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


_all: weakref.WeakSet[Stop] = weakref.WeakSet()


def _after_fork() -> None:
    # A thread of the parent may have held one's locks, and what its requests wait for is the parent's.
    for stop in list(_all):
        stop._renew()  # noqa: SLF001 - of this module


os.register_at_fork(after_in_child=_after_fork)
