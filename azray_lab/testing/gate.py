"""The door of a Blob service that lets nobody in but the bearers of the fake Entra ID's tokens, over TLS.

    with run_entra(tmp_path) as entra, run_blob_server() as server, run_gate(entra, server.endpoint) as gate:
        engine = engine_for(BlobUri.parse(f"{gate.endpoint}/data"), {...})     # a service principal's variables

Azurite and `blob_server` look at no token. This answers 401 as the service does for a token that is unknown, revoked or
has expired by `entra.clock`, and passes all else on.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azray_lab.testing.entra import Entra

_KEPT_OUT = frozenset({"connection", "transfer-encoding", "server"})
_BODY = '<?xml version="1.0"?><Error><Code>InvalidAuthenticationInfo</Code><Message>{}</Message></Error>'


def _nothing() -> None:
    """What happens with each request, as long as a test wants nothing."""


@dataclass
class Gate:
    """A running gate. `seen` counts requests by token, `refused` by what was wrong with their token.

    `before` is called with each request, one after the other, before its token is looked at.
    """

    endpoint: str
    seen: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    before: Callable[[], None] = _nothing
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate
    entra: Entra
    target: str

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if problem := self._judge(self.headers.get("Authorization", "").removeprefix("Bearer ")):
            headers = {"x-ms-error-code": "InvalidAuthenticationInfo", "x-ms-request-id": "1"}
            headers["WWW-Authenticate"] = f"Bearer authorization_uri={self.entra.authority}/t/oauth2/authorize"
            self._answer(401, headers, _BODY.format(problem).encode())
            return
        connection = http.client.HTTPConnection(self.target, timeout=60)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            given = {name: value for name, value in answer.getheaders() if name.lower() not in _KEPT_OUT}
            self._answer(answer.status, given, answer.read())

    do_GET = do_HEAD = do_PUT = do_DELETE = _pass  # noqa: N815 - the names by which http.server calls them

    def _judge(self, token: str) -> str:
        with self.gate.lock:
            self.gate.before()
            problem = self.entra.judge(token)
            self.gate.seen[token] += 1
            if problem:
                self.gate.refused[problem] += 1
        return problem

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if self.command != "HEAD":
            headers = {name: value for name, value in headers.items() if name.lower() != "content-length"}
            headers["Content-Length"] = str(len(body))
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: requests are counted."""


class _Server(http.server.ThreadingHTTPServer):
    # Clients connect 64 times at once; those that find the queue full try again after a second.
    request_queue_size = 256


@contextlib.contextmanager
def run_gate(entra: Entra, endpoint: str) -> Iterator[Gate]:
    """Runs one on a free port of 127.0.0.1 until the block ends, before the Blob service at `endpoint` (plain http).

    Its certificate is that of `entra`, so who trusts the file `entra.ca` trusts it.
    """
    gate, parts = Gate(""), urlsplit(endpoint)
    handler = type("Handler", (_Handler,), {"gate": gate, "entra": entra, "target": parts.netloc})
    with _Server(("127.0.0.1", 0), handler) as server:
        server.socket = entra.server_context.wrap_socket(server.socket, server_side=True)
        gate.endpoint = f"https://127.0.0.1:{server.server_address[1]}{parts.path}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield gate
        finally:
            server.shutdown()
            thread.join()
