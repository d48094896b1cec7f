"""The address at which one worker's libraries ask for tokens: that of a managed identity, on loopback.

It speaks what Azure's App Service speaks (`IDENTITY_ENDPOINT`, `IDENTITY_HEADER`, api-version 2019-08-01), which every
Azure library understands: azure-identity in all languages, and with it fsspec, pyarrow and blobfuse2. The header keeps
other users of the machine out. Tokens come from the keeper and are kept until 5 minutes before they end, or until this
process is told that the service refuses them.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

from __future__ import annotations

import http.server
import json
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from azray_lab.errors import AzRayError, CredentialError
from azray_lab.storage.credentials.reasons import RELAYED
from azray_lab.workers.keeper import ask

_MARGIN_SECONDS = 300.0


class _Kept(NamedTuple):
    """An answer, from when on it is renewed, and until when it holds (since 1970)."""

    body: dict[str, Any]
    renew: float
    ends: float


_NONE = _Kept({}, 0.0, 0.0)


class Relay:
    """Answers token requests of this process and its children.

    `sealed` says whose tokens; `ask` gets one for it and a scope, another than one that was refused, and its end
    (seconds since 1970).
    """

    def __init__(self, sealed: str, ask: Callable[[str, str, str], tuple[str, int]] = ask) -> None:
        self._sealed = sealed
        self._ask = ask
        self._header = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        self._refused: dict[str, str] = {}
        # Who asks for a resource's token; asking takes up to a minute and a half.
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def refused(self, token: str) -> None:
        """Forgets `token`; who asks next gets another one, if there is one."""
        with self._lock:
            for resource in [one for one, kept in self._kept.items() if kept.body["access_token"] == token]:
                del self._kept[resource]
                self._refused[resource] = token

    def start(self) -> dict[str, str]:
        """Starts to answer, until the process ends; the variables that libraries find it by."""
        handler = type("_Handler", (_Handler,), {"relay": self})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="azray-tokens", daemon=True).start()
        return {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}/token",
            "IDENTITY_HEADER": self._header,
        }

    def answer(self, header: str, resource: str) -> tuple[HTTPStatus, dict[str, Any]]:
        """The status and body of one request."""
        if not secrets.compare_digest(header.encode(errors="replace"), self._header.encode()):
            return HTTPStatus.FORBIDDEN, {"statusCode": 403, "message": "wrong X-IDENTITY-HEADER"}
        if not resource:
            return HTTPStatus.BAD_REQUEST, {"statusCode": 400, "message": "no resource"}
        try:
            return HTTPStatus.OK, self._token(resource)
        except AzRayError as error:
            told: AzRayError = error
        except Exception as error:  # noqa: BLE001 - Ray's, when the cluster goes: who asks waits for an answer
            told = CredentialError("the cluster's keeper of credentials cannot be asked", cause=type(error).__name__)
        # Not 5xx: libraries would try again for a minute.
        return HTTPStatus.BAD_REQUEST, {"statusCode": 400, "message": RELAYED + json.dumps(told.to_dict())}

    def _token(self, resource: str) -> dict[str, Any]:
        """A token's answer: the one that is kept, as long as it holds, also while another thread asks for the next."""
        with self._lock:
            kept, asking = self._kept.get(resource, _NONE), self._asking[resource]
        now = time.time()
        if now < kept.renew or not asking.acquire(blocking=now >= kept.ends):
            return kept.body
        try:
            return self._renewed(resource)
        except AzRayError:
            if time.time() >= kept.ends:
                raise
            return kept.body
        finally:
            asking.release()

    def _renewed(self, resource: str) -> dict[str, Any]:
        """The answer that another thread has got meanwhile, or a new one."""
        now = time.time()
        with self._lock:
            kept, refused = self._kept.get(resource, _NONE), self._refused.pop(resource, "")
        if now < kept.renew:
            return kept.body
        token, ends = self._ask(self._sealed, f"{resource.removesuffix('/')}/.default", refused)
        body = {"access_token": token, "expires_on": str(int(ends)), "resource": resource, "token_type": "Bearer"}
        with self._lock:
            self._kept[resource] = _Kept(body, ends - min(_MARGIN_SECONDS, (ends - now) / 2), ends)
        return body


class _Handler(http.server.BaseHTTPRequestHandler):
    relay: Relay

    def do_GET(self) -> None:
        """A token request."""
        resource = parse_qs(urlsplit(self.path).query).get("resource", [""])[0]
        status, body = self.relay.answer(self.headers.get("X-IDENTITY-HEADER", ""), resource)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing: a worker's stderr goes to the driver."""
