"""Copies that the Blob service makes by itself: their signature, their deadline, their end when they are cancelled."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from azray_lab.errors import CancelledError, StorageError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.engine import Engine, engine_for


class _Copying(http.server.BaseHTTPRequestHandler):
    """A service whose copies stay pending; what it was asked for is in `asked`."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str, str]]] = []

    def _answer(self, status: int) -> None:
        self.asked.append((self.command, self.path, self.headers.get("x-ms-copy-source", "")))
        self.send_response(status)
        facts = {"x-ms-copy-status": "pending", "x-ms-copy-id": "c1", "x-ms-request-id": "1", "Content-Length": "0"}
        for name, value in facts.items():
            self.send_header(name, value)
        self.end_headers()

    def do_PUT(self) -> None:
        self._answer(204 if "comp=copy" in self.path else 202)

    def do_HEAD(self) -> None:
        self._answer(200)

    def do_DELETE(self) -> None:
        self._answer(202)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def copying() -> Iterator[Engine]:
    """An engine, opened by a signature, on such a service."""
    _Copying.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Copying) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{running.server_port}/devstoreaccount1"
        text = f"BlobEndpoint={endpoint};SharedAccessSignature=sv=1&sig=s3cret%3D"
        yield engine_for(BlobUri.parse("az://data"), {"AZURE_STORAGE_CONNECTION_STRING": text})
        running.shutdown()


def test_a_pending_copy_that_is_cancelled_is_aborted(copying: Engine):
    """The service is told to end it, the empty blob that this leaves is removed; the source came with its signature."""
    looks = iter(range(2))

    def check() -> None:
        if next(looks):
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        copying.copy(("data", "from"), ("data", "to"), check)
    (_, _, source), *_, (verb, last, _), _, (removed, path, _) = _Copying.asked
    assert source.endswith("/data/from?sv=1&sig=s3cret%3D")
    assert (verb, "comp=copy" in last, "copyid=c1" in last) == ("PUT", True, True)
    assert (removed, "/data/to" in path) == ("DELETE", True)


def test_a_copy_that_never_ends_is_given_up(copying: Engine, monkeypatch: pytest.MonkeyPatch):
    """After the deadline: an error, and the service is told."""
    monkeypatch.setattr("azray_lab.storage.engine.engine._COPY_SECONDS", 0.0)
    with pytest.raises(StorageError, match="not copied in time"):
        copying.copy(("data", "from"), ("data", "to"))
    assert "comp=copy" in _Copying.asked[-3][1]
