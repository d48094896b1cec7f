"""The HTTP conversation with a Ray dashboard: one client, and the one place where its errors become ours.

Ray's own `JobSubmissionClient` speaks the same REST API, but it obeys `RAY_ADDRESS` over the address it is given, has
no time-outs, cannot follow a line above 4 MB or bytes that are no UTF-8, and costs the import of Ray (ray 2.60,
`dashboard/modules/job/sdk.py`, `dashboard/utils.py`). So this talks HTTP itself, and needs no Ray here.

The REST API: https://docs.ray.io/en/latest/cluster/running-applications/job-submission/api.html; packages, logs and
nodes: `dashboard/modules/job/job_head.py` and `dashboard/modules/state/state_head.py` of the same version.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from azray_lab.errors import AzRayError, ClusterLostError, CredentialError, DeadlineError, JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from azray_lab.targets.base import Endpoint

# A dashboard that is starting or short of CPU answers in seconds; one that needs longer is not there.
ANSWER_SECONDS = 30.0
# Storing a package of 100 MB in the cluster takes some seconds on a small head.
UPLOAD_SECONDS = 300.0
_BLOCK = 1 << 16


class NotThereError(Exception):
    """The dashboard answered 404; the caller knows what was asked for and raises the error that names it."""


class Stream:
    """The bytes of an answer as they come, in blocks of up to 64 KiB."""

    def __init__(
        self, answer: http.client.HTTPResponse, ours: Callable[[str], contextlib.AbstractContextManager[None]]
    ) -> None:
        self._answer = answer
        self._ours = ours
        # The connection forgets its socket when the server says that it will close it; the file still has it.
        self._socket: int | None = answer.fileno()

    def __iter__(self) -> Iterator[bytes]:
        with self._ours("reading the answer"):
            while block := self._answer.read1(_BLOCK):
                yield block

    def cut(self) -> None:
        """Ends the stream from another thread: whoever is reading gets its end."""
        number, self._socket = self._socket, None
        if number is not None:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as twin:
                twin.shutdown(socket.SHUT_RDWR)


class Dashboard:
    """A Ray dashboard behind an endpoint. Each call opens one connection of its own, so threads may share it."""

    def __init__(self, endpoint: Endpoint, *, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._url = endpoint.dashboard_url.rstrip("/")
        self._headers = dict(endpoint.headers())

    def json(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON answer to one request. Raises NotThereError for 404, and our errors for everything else."""
        data = None if body is None else json.dumps(body).encode()
        with self._answer(method, path, query, data, self._seconds) as answer:
            return json.loads(answer.read() or b"null")

    def exists(self, path: str) -> bool:
        """Whether a GET of `path` is answered by 200 rather than 404."""
        try:
            with self._answer("GET", path, {}, None, self._seconds) as answer:
                answer.read()
        except NotThereError:
            return False
        return True

    def put(self, path: str, body: IO[bytes], size: int) -> None:
        """Sends `size` bytes of `body` without reading them into memory at once."""
        with self._answer("PUT", path, {}, body, UPLOAD_SECONDS, {"Content-Length": str(size)}) as answer:
            answer.read()

    @contextlib.contextmanager
    def stream(self, path: str, *, seconds: float | None, **query: Any) -> Iterator[Stream]:
        """The answer's bytes as they come; `seconds` without any byte raise DeadlineError, None waits on."""
        with self._answer("GET", path, query, None, seconds) as answer:
            yield Stream(answer, self._ours)

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        query: dict[str, Any],
        body: bytes | IO[bytes] | None,
        seconds: float | None,
        headers: dict[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection(seconds)
        target = path + ("?" + urlencode(query) if query else "")
        sent = self._headers | {"Content-Type": "application/json"} | (headers or {})
        try:
            with self._ours(f"{method} {path}"):
                connection.request(method, target, body=body, headers=sent)
                answer = connection.getresponse()
                if answer.status != http.client.OK:
                    raise self._refusal(method, path, answer)
            yield answer
        finally:
            connection.close()

    def _connection(self, seconds: float | None) -> http.client.HTTPConnection:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "127.0.0.1", parts.port
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=ssl.create_default_context())
        return http.client.HTTPConnection(host, port, timeout=seconds)

    def _refusal(self, method: str, path: str, answer: http.client.HTTPResponse) -> Exception:
        text = answer.read(_BLOCK).decode(errors="replace")
        status = answer.status
        if status == http.client.NOT_FOUND:
            return NotThereError(path)
        if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            return CredentialError(
                f"the cluster's dashboard at {self._url} refused the token",
                cause="the cluster was started with another token",
                next_step="azray list",
                status=status,
            )
        # Ray answers with a whole traceback; its last line is what happened.
        lines = [line for line in text.strip().splitlines() if line.strip()]
        return JobError(
            f"the cluster's dashboard could not do {method} {path}",
            cause=lines[-1].strip()[:500] if lines else f"HTTP {status}",
            next_step="azray logs --node head",
            status=status,
        )

    @contextlib.contextmanager
    def _ours(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (AzRayError, NotThereError):
            raise
        except TimeoutError as error:
            raise DeadlineError(
                f"the cluster's dashboard at {self._url} does not answer",
                cause=f"no answer to {doing} in time",
                next_step="azray status",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            raise ClusterLostError(
                f"the cluster's dashboard at {self._url} cannot be reached",
                cause=str(error) or type(error).__name__,
                next_step="azray status",
            ) from error
