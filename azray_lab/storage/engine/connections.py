"""Kept-alive HTTP connections to one endpoint, from the standard library; safe in threads and in forked children."""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from azray_lab.errors import StorageError
from azray_lab.storage.engine.model import KiB

if TYPE_CHECKING:
    import http.client
    import ssl
    from collections.abc import Iterator, Mapping

    from azray_lab.storage.engine.stopping import Stop

# Seconds: to resolve a name, to connect, and without a byte while reading or writing.
RESOLVE_SECONDS = 4.0
CONNECT_SECONDS = 4.0
SILENT_SECONDS = 30.0
# A body is sent in pieces, each with its own deadline, for a slow line takes minutes for a block. What the system took
# may not have left yet: the answer may come later by the time that a line of so many bytes a second needs.
_PIECE = 64 * KiB
SLOWEST = 1024 * KiB
_KEPT = 64
# Load balancers forget a connection that says nothing for some minutes (Azure's: 4), and do not always tell.
_IDLE_SECONDS = 60.0


class Answer(NamedTuple):
    """What came back; `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Connections to one origin (`scheme://host:port`), kept for the next request of any thread."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.host = parts.hostname or ""
        self.tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self._idle: collections.deque[tuple[float, http.client.HTTPConnection]] = collections.deque()
        self._pid = os.getpid()
        self._resolved = False
        weakref.finalize(self, _close, self._idle)  # also at the interpreter's end

    def request(
        self, method: str, target: str, headers: Mapping[str, str], body: Any = None, stop: Stop | None = None
    ) -> Answer:
        """One request and its whole answer, which `stop` cuts; raises OSError, and StorageError for an unknown host."""
        while (connection := self._take()) is not None:
            try:
                return self._exchange(connection, method, target, headers, body, stop)
            except OSError as error:
                if not _stale(error):
                    raise
                # The server had closed it while it was idle, most likely all: it says nothing about this request.
                self.close()
        return self._exchange(self._connect(), method, target, headers, body, stop)

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Any,
        stop: Stop | None,
    ) -> Answer:  # fmt: skip
        from http.client import HTTPException

        try:
            with contextlib.nullcontext() if stop is None else stop.cutting(connection):
                connection.request(method, target, body and _pieces(body), dict(headers))
                response = _answered(connection, len(body or b""))
                data = response.read()
        except TimeoutError as error:
            connection.close()
            raise TimeoutError(f"it said nothing for {SILENT_SECONDS:g} s") from error
        except HTTPException as error:
            connection.close()
            if isinstance(error, OSError):
                raise
            raise ConnectionAbortedError(f"the answer broke off: {error!r}") from error
        except BaseException:
            connection.close()
            raise
        if response.will_close or len(self._idle) >= _KEPT:
            connection.close()
        else:
            self._idle.append((time.monotonic(), connection))
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    def _take(self) -> http.client.HTTPConnection | None:
        if self._pid != os.getpid():  # a forked child must not talk on its parent's connections
            self._pid = os.getpid()
            _close(self._idle)
        with contextlib.suppress(IndexError):
            while True:
                since, connection = self._idle.pop()
                if time.monotonic() - since < _IDLE_SECONDS and not _ended(connection):
                    return connection
                connection.close()
        return None

    def _connect(self) -> http.client.HTTPConnection:
        import socket

        self.resolve()
        connection = self._new()
        try:
            connection.connect()
        except TimeoutError as error:
            raise TimeoutError(f"no connection within {CONNECT_SECONDS:g} s") from error
        connection.sock.settimeout(SILENT_SECONDS)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _new(self) -> http.client.HTTPConnection:
        import http.client

        proxy = _proxy("https" if self.tls else "http", self.host)
        host, port = proxy or (self.host, self.port)
        if not self.tls:
            return http.client.HTTPConnection(host, port, timeout=CONNECT_SECONDS)
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_SECONDS, context=tls_context())
        if proxy:
            connection.set_tunnel(self.host, self.port)
        return connection

    def resolve(self) -> None:
        """Looks the host's name up, once; StorageError after 4 s, for the system itself may wait half a minute."""
        if self._resolved or _proxy("https" if self.tls else "http", self.host):
            return
        outcome: list[OSError | None] = []
        thread = threading.Thread(target=_look_up, args=(self.host, self.port, outcome), daemon=True)
        thread.start()
        thread.join(RESOLVE_SECONDS)
        if not outcome or outcome[0] is not None:
            reason = outcome[0].strerror if outcome and outcome[0] else f"no answer within {RESOLVE_SECONDS:g} s"
            raise StorageError(
                f"there is no host {self.host}",
                cause=str(reason),
                next_step="check the account's name and this machine's DNS",
                host=self.host,
            )
        self._resolved = True

    def close(self) -> None:
        """Closes what is idle."""
        _close(self._idle)


def _pieces(body: Any) -> Iterator[Any]:
    view = memoryview(body)
    for start in range(0, len(view), _PIECE):
        yield view[start : start + _PIECE]


def _answered(connection: http.client.HTTPConnection, sent: int) -> http.client.HTTPResponse:
    """The answer's head, behind a body of `sent` bytes."""
    if sent <= _PIECE:
        return connection.getresponse()
    connection.sock.settimeout(SILENT_SECONDS + sent / SLOWEST)
    response = connection.getresponse()
    if connection.sock is not None:  # it is none where the answer is the connection's last
        connection.sock.settimeout(SILENT_SECONDS)
    return response


def _close(idle: collections.deque[tuple[float, http.client.HTTPConnection]]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            idle.pop()[1].close()


def _ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed it: there is something to read, though nothing was asked."""
    import select

    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _stale(error: OSError) -> bool:
    import ssl

    return isinstance(error, (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError))


def _look_up(host: str, port: int, outcome: list[OSError | None]) -> None:
    import socket

    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        outcome.append(error)
    else:
        outcome.append(None)


def tls_context() -> ssl.SSLContext:
    """The machine's trusted certificates; those of SSL_CERT_FILE and SSL_CERT_DIR where they are set."""
    import ssl

    return _tls_context(ssl.get_default_verify_paths())


@functools.lru_cache(maxsize=4)
def _tls_context(_paths: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    import ssl

    return ssl.create_default_context()


def own_certificates() -> bytes | None:
    """The certificates that SSL_CERT_FILE adds to the machine's, in PEM; obstore does not read it."""
    import ssl

    paths = ssl.get_default_verify_paths()
    if not paths.cafile or paths.cafile == paths.openssl_cafile:
        return None
    with contextlib.suppress(OSError), open(paths.cafile, "rb") as file:  # noqa: PTH123 - a plain read
        return file.read()
    return None


def _proxy(scheme: str, host: str) -> tuple[str, int] | None:
    """The proxy that HTTPS_PROXY or HTTP_PROXY name for `host`. Plain http goes direct: only emulators speak it."""
    if scheme == "http":
        return None
    import urllib.request

    found = urlsplit(urllib.request.getproxies().get(scheme, ""))
    if not found.hostname or urllib.request.proxy_bypass(host):
        return None
    return found.hostname, found.port or 8080
