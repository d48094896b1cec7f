"""A Blob service in memory, faster than its clients, with latency, TLS and faults on demand; a program of its own.

It is what `blob_server.run_blob_server` starts. Unlike Azurite it checks no signature, and answers some ten times as
many requests; so it shows what clients cost, and what they make of faults. One process, one thread, asyncio (uvloop
where it is installed).

The path `/-/` steers it: `PUT /-/faults` (a JSON list of rules, see `Rule`), `PUT /-/seed` (blobs of one content),
`GET /-/counts` (requests so far, by kind).
"""

from __future__ import annotations

import asyncio
import base64
import bisect
import itertools
import json
import re
import ssl
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote
from xml.sax.saxutils import escape

from azray_lab.storage.engine.checksums import CRC64, MD5, crc64_of

_REASONS = {200: "OK", 201: "Created", 202: "Accepted", 206: "Partial Content", 404: "Not Found", 409: "Conflict",
            412: "Precondition Failed", 416: "Range Not Satisfiable", 503: "Server Busy"}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_SLICE = 256 * 1024
_CRC64 = CRC64.header
_MOST_CHECKED = 4 * 1024 * 1024  # of a longer range the service tells no checksum
# What a request keeps with a blob, and the header that tells it.
_PROPERTIES = {f"x-ms-blob-{name.lower()}": name for name in ("Content-Type", "Content-Encoding", "Content-Language",
               "Content-Disposition", "Cache-Control", "Content-MD5")}  # fmt: skip
_PROPERTIES["x-ms-access-tier"] = "x-ms-access-tier"
# What Azure's C++ SDK, and so pyarrow, aborts without.
_ALWAYS = {"x-ms-version": "2023-11-03", "x-ms-server-encrypted": "true", "x-ms-request-server-encrypted": "true",
           "x-ms-lease-state": "available", "x-ms-lease-status": "unlocked"}  # fmt: skip
_CONTAINER = {"ETag": '"1"', "x-ms-has-immutability-policy": "false", "x-ms-has-legal-hold": "false",
              "x-ms-immutable-storage-with-versioning-enabled": "false", "x-ms-default-encryption-scope": "x",
              "x-ms-deny-encryption-scope-override": "false"}  # fmt: skip


@dataclass
class Blob:
    """A blob's bytes and what is known of it."""

    data: bytes
    etag: str
    changed: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Rule:
    """What goes wrong: for requests of `method` whose path contains `path`; every `every`th of them, `times` in all.

    `status` and `code` answer with an error (`headers` too, and the `detail` of a refusal); `cut` ends the connection
    after so many bytes of the body; `short` sends fewer and says so; `change` overwrites the blob after the answer;
    `damage` changes a byte of the body, of the answer's or the request's, on its way; `stall` answers so many seconds
    later; `hang` stops for good after so many bytes of the body (0: before the head); `leave` ends the connection
    behind the answer, unannounced; `skew` moves the service's clock.
    """

    method: str = ""
    path: str = ""
    every: int = 1
    times: int = 1 << 60
    status: int = 0
    code: str = ""
    detail: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = -1
    short: int = 0
    change: bool = False
    damage: bool = False
    hang: int = -1
    leave: bool = False
    stall: float = 0.0
    skew: float = 0.0
    seen: int = 0

    def applies(self, method: str, target: str) -> bool:
        """Whether this request is one of those; counts it."""
        if (
            self.times <= 0
            or (self.method and self.method != method)
            or self.path not in target
            or target.startswith("/-/")
        ):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.times -= 1
        return True


@dataclass
class Answer:
    """What goes back; `body` is not copied."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = b""


class Store:
    """Containers, blobs and blocks that are not committed."""

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Blob]] = {}
        self.blocks: dict[tuple[str, str], dict[str, bytes]] = {}
        self.rules: list[Rule] = []
        self.counts: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._names: dict[str, list[str]] = {}
        self._pages: dict[tuple[str, ...], bytes] = {}

    def write(self, container: str, name: str, data: bytes, headers: dict[str, str] | None = None) -> Blob:
        """Makes or replaces a blob."""
        blob = Blob(data, f'"0x{next(self._numbers):015X}"', formatdate(usegmt=True), headers or {})
        if name not in self.containers[container]:
            self._names.pop(container, None)
        self.containers[container][name] = blob
        self._pages.clear()
        return blob

    def remove(self, container: str, name: str) -> None:
        """Removes a blob."""
        del self.containers[container][name]
        self._names.pop(container, None)
        self._pages.clear()

    def names(self, container: str) -> list[str]:
        """The container's names in order."""
        if container not in self._names:
            self._names[container] = sorted(self.containers[container])
        return self._names[container]

    def page(self, container: str, query: dict[str, str]) -> bytes:
        """A page of a listing; made once."""
        key = (container, *(query.get(name, "") for name in ("prefix", "delimiter", "marker", "maxresults")))
        if key not in self._pages:
            self._pages[key] = self._page(*key)
        return self._pages[key]

    def _page(self, container: str, prefix: str, delimiter: str, marker: str, most: str) -> bytes:
        names, folder, next_name = self.names(container), "", ""
        items: list[str] = []
        for name in names[bisect.bisect_left(names, max(prefix, marker)) :]:
            if not name.startswith(prefix) or (folder and name.startswith(folder)):
                if name.startswith(prefix):
                    continue
                break
            if len(items) >= int(most or 5000):
                next_name = name
                break
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            folder = name[: cut + 1] if cut >= 0 else ""
            items.append(_folder(folder) if folder else self._xml(container, name))
        head = f'<?xml version="1.0" encoding="utf-8"?><EnumerationResults ContainerName="{container}"><Blobs>'
        tail = f"</Blobs><NextMarker>{escape(next_name)}</NextMarker></EnumerationResults>"
        return "".join([head, *items, tail]).encode()

    def _xml(self, container: str, name: str) -> str:
        blob = self.containers[container][name]
        return (
            f"<Blob><Name>{escape(name)}</Name><Properties><Creation-Time>{blob.changed}</Creation-Time><Last-Modified>"
            f"{blob.changed}</Last-Modified><Etag>{blob.etag.strip(chr(34))}</Etag><Content-Length>{len(blob.data)}"
            "</Content-Length><Content-Type>application/octet-stream</Content-Type><Content-Encoding /><Content-MD5 />"
            "<BlobType>BlockBlob</BlobType><AccessTier>Hot</AccessTier><LeaseStatus>unlocked</LeaseStatus><LeaseState>"
            "available</LeaseState><ServerEncrypted>true</ServerEncrypted></Properties><Metadata /></Blob>"
        )


def _folder(name: str) -> str:
    return f"<BlobPrefix><Name>{escape(name)}</Name></BlobPrefix>"


def answer(store: Store, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
    """The answer to one request, without faults."""
    path, _, text = target.partition("?")
    query = dict(parse_qsl(text, keep_blank_values=True)) if text else {}
    _, _, rest = path[1:].partition("/")  # the account
    container, _, name = rest.partition("/")
    name = unquote(name)
    if path.startswith("/-/"):
        return _steer(store, path[3:], body)
    if not container:
        return _account(store)
    if not name:
        return _container(store, method, container, query)
    if container not in store.containers:
        return _refused(404, "ContainerNotFound")
    if method == "PUT":
        return _put(store, (container, name), query, headers, body)
    return _existing(store, (container, name), method, headers)


def _existing(store: Store, place: tuple[str, str], method: str, headers: dict[str, str]) -> Answer:
    blob = store.containers[place[0]].get(place[1])
    if blob is None:
        return _refused(404, "BlobNotFound")
    if headers.get("if-match", blob.etag) not in {blob.etag, "*"}:
        return _refused(412, "ConditionNotMet")
    if method == "DELETE":
        store.remove(*place)
        return Answer(202)
    return _get(blob, method, headers)


def _steer(store: Store, what: str, body: bytes) -> Answer:
    if what == "counts":
        return Answer(200, {}, json.dumps(store.counts).encode())
    given = json.loads(body)
    if what == "faults":
        store.rules = [Rule(**rule) for rule in given]
        store.counts.clear()
    else:
        store.containers.setdefault(given["container"], {})
        data = base64.b64decode(given["data"]) * given["repeat"]
        for number in range(given["count"]):
            store.write(given["container"], given["name"].format(number), data)
    return Answer(200)


def _account(store: Store) -> Answer:
    date = formatdate(usegmt=True)
    items = "".join(
        f"<Container><Name>{name}</Name><Properties><Last-Modified>{date}</Last-Modified><Etag>x</Etag></Properties>"
        "</Container>" for name in sorted(store.containers)
    )  # fmt: skip
    text = (
        f'<?xml version="1.0"?><EnumerationResults><Containers>{items}</Containers><NextMarker /></EnumerationResults>'
    )
    return Answer(200, {"Content-Type": "application/xml"}, text.encode())


def _container(store: Store, method: str, container: str, query: dict[str, str]) -> Answer:
    there = container in store.containers
    if method == "PUT":
        store.containers.setdefault(container, {})
        return _refused(409, "ContainerAlreadyExists") if there else Answer(201)
    if not there:
        return _refused(404, "ContainerNotFound")
    if query.get("comp") == "list":
        return Answer(200, {"Content-Type": "application/xml"}, store.page(container, query))
    if method == "DELETE":
        del store.containers[container]
        return Answer(202)
    return Answer(200, {**_ALWAYS, **_CONTAINER, "Last-Modified": formatdate(usegmt=True)})


def _put(store: Store, place: tuple[str, str], query: dict[str, str], headers: dict[str, str], body: bytes) -> Answer:
    if wrong := _wrong_checksum(headers, body):
        return _refused(400, wrong)
    told = {_CRC64: crc64_of(body)} if _CRC64 in headers else {}
    if query.get("comp") == "block":
        store.blocks.setdefault(place, {})[query["blockid"]] = body
        return Answer(201, {**_ALWAYS, **told})
    own = {name: value for name, value in headers.items() if name.startswith("x-ms-meta-")}
    own |= {kept: headers[setter] for setter, kept in _PROPERTIES.items() if setter in headers}
    if "x-ms-access-tier" in own:
        own["x-ms-access-tier-inferred"] = "false"
    if headers.get("if-none-match") == "*" and place[1] in store.containers[place[0]]:
        return _refused(409, "BlobAlreadyExists")
    if query.get("comp") == "blocklist":
        blocks = store.blocks.pop(place, {})
        body = b"".join(blocks[name] for name in re.findall(r"<Latest>([^<]*)</Latest>", body.decode()))
    elif source := headers.get("x-ms-copy-source"):
        return _copy(store, place, source, headers)
    blob = store.write(*place, body, own)
    return Answer(201, {**_ALWAYS, **told, "ETag": blob.etag, "Last-Modified": blob.changed})


def _copy(store: Store, place: tuple[str, str], source: str, headers: dict[str, str]) -> Answer:
    found = _source(store, source)
    if found is None:
        return _refused(404, "BlobNotFound")
    if headers.get("x-ms-source-if-match", found.etag) != found.etag:
        return _refused(412, "SourceConditionNotMet")
    blob = store.write(*place, found.data, found.headers)
    return Answer(202, {"ETag": blob.etag, "x-ms-copy-status": "success", "x-ms-copy-id": "1"})


def _wrong_checksum(headers: dict[str, str], body: bytes) -> str:
    """The code by which the service refuses the checksums of a request; empty when they are right."""
    if _CRC64 in headers and {"content-md5", "x-ms-blob-content-md5"} & set(headers):
        return "BothCrc64AndMd5HeaderPresent"
    told = [(kind, headers[kind.header.lower()]) for kind in (MD5, CRC64) if kind.header.lower() in headers]
    return next((f"{kind.name.capitalize()}Mismatch" for kind, sent in told if kind.of(body) != sent), "")


def _source(store: Store, address: str) -> Blob | None:
    container, _, name = address.partition("//")[2].split("/", 2)[2].partition("?")[0].partition("/")
    return store.containers.get(container, {}).get(unquote(name))


def _get(blob: Blob, method: str, headers: dict[str, str]) -> Answer:
    size = len(blob.data)
    own = {"ETag": blob.etag, "Last-Modified": blob.changed, "Accept-Ranges": "bytes", "x-ms-blob-type": "BlockBlob",
           "Content-Type": "application/octet-stream", "x-ms-creation-time": blob.changed,
           "x-ms-access-tier": "Hot", "x-ms-access-tier-inferred": "true", **_ALWAYS, **blob.headers}  # fmt: skip
    asked = headers.get("x-ms-range") or headers.get("range")
    if method == "HEAD" or not asked:
        return Answer(200, own | {"Content-Length": str(size)}, b"" if method == "HEAD" else blob.data)
    found = _RANGE.match(asked)
    start, last = (int(found[1]), int(found[2] or size)) if found else (0, size)
    if start >= size:
        return Answer(416, {"Content-Range": f"bytes */{size}", "x-ms-error-code": "InvalidRange"})
    end = min(last + 1, size)
    whole = start == 0 and end == size
    part = blob.data if whole else memoryview(blob.data)[start:end]
    own["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    asked_for = [kind for kind in (MD5, CRC64) if headers.get(kind.asks) == "true"]
    if asked_for and last - start >= _MOST_CHECKED:
        return _refused(400, "InvalidHeaderValue")
    own |= {kind.header: kind.of(part) for kind in asked_for}
    return Answer(206, own, part)


def _refused(status: int, code: str, headers: dict[str, str] | None = None, detail: str = "") -> Answer:
    inner = f"<Code>{code}</Code><Message>{code}</Message>"
    inner += f"<AuthenticationErrorDetail>{escape(detail)}</AuthenticationErrorDetail>" if detail else ""
    body = f'<?xml version="1.0"?><Error>{inner}</Error>'.encode()
    return Answer(status, {"x-ms-error-code": code, "Content-Type": "application/xml", **(headers or {})}, body)


class Line(NamedTuple):
    """How slow a connection is: seconds an answer, and bytes a second of answers' and of requests' bodies (0: any)."""

    latency: float = 0.0
    rate: float = 0.0
    intake: float = 0.0


class Connection(asyncio.Protocol):
    """One connection: reads requests, answers them in their order."""

    def __init__(self, store: Store, line: Line) -> None:
        self._store = store
        self._latency, self._rate, self._intake = line
        self._head = bytearray()
        self._body: list[bytes] = []
        self._missing = -1  # bytes of the body that have not come; -1: the head is not complete
        self._request: tuple[str, str, dict[str, str]] = ("", "", {})
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collects a request; answers it once it is whole. Clients here do not send two at once."""
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            self._parse(bytes(self._head[:end]))
            data = bytes(self._head[end + 4 :])
            self._head.clear()
        if data:
            self._body.append(data)
            self._missing -= len(data)
            if self._intake:
                self._transport.pause_reading()
                self._loop.call_later(len(data) / self._intake, self._transport.resume_reading)
        if self._missing <= 0:
            self._answer()

    def _parse(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self._request = method, target, headers
        self._missing = int(headers.get("content-length") or 0)
        if "expect" in headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _answer(self) -> None:
        method, target, headers = self._request
        body = b"".join(self._body) if len(self._body) != 1 else self._body[0]
        self._missing, self._body = -1, []
        store, agent = self._store, headers.get("user-agent", "").partition("/")[0]
        for kind in () if target.startswith("/-/") else (_kind(method, target), f"from {agent}"):
            store.counts[kind] = store.counts.get(kind, 0) + 1
        rule = next((rule for rule in store.rules if rule.applies(method, target)), None)
        if rule is not None and rule.damage and body:
            body = _damaged(body)
        if rule is not None and rule.status:
            found = _refused(rule.status, rule.code, rule.headers, rule.detail)
        else:
            found = answer(store, method, target, headers, body)
        wait = self._latency + (rule.stall if rule else 0.0)
        if wait:
            self._loop.call_later(wait, self._send, method, target, found, rule)
        else:
            self._send(method, target, found, rule)

    def _send(self, method: str, target: str, found: Answer, rule: Rule | None) -> None:
        if self._transport.is_closing():  # who asked has left
            return
        body = memoryview(found.body)
        if rule is not None and rule.short:
            body = body[: max(len(body) - rule.short, 0)]
        head = _head(found, method, len(body), rule.skew if rule else 0.0)
        if rule is not None and rule.change:
            self._change(target)
        if rule is not None and rule.damage and body:
            body = memoryview(_damaged(body))
        if rule is not None and rule.hang >= 0:
            self._transport.write(head + bytes(body[: rule.hang]) if rule.hang else b"")
        elif rule is not None and rule.cut >= 0:
            self._transport.write(head + bytes(body[: rule.cut]))
            self._transport.close()
        elif method == "HEAD":
            self._transport.write(head)
        elif self._rate and len(body) > _SLICE:
            self._transport.write(head)
            self._drip(body, 0, self._loop.time())
        else:
            self._transport.writelines([head, body])
            if rule is not None and rule.leave:
                self._transport.close()

    def _change(self, target: str) -> None:
        _, _, container, name = target.partition("?")[0].split("/", 3)
        old = self._store.containers[container][unquote(name)]
        self._store.write(container, unquote(name), bytes(reversed(old.data)))

    def _drip(self, body: memoryview, sent: int, began: float) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(body[sent : sent + _SLICE])
        sent += _SLICE
        if sent < len(body):
            self._loop.call_at(began + sent / self._rate, self._drip, body, sent, began)


def _damaged(body: bytes | memoryview) -> bytes:
    return bytes([body[0] ^ 1]) + bytes(body[1:])


def _head(found: Answer, method: str, size: int, skew: float) -> bytes:
    headers = {"Date": formatdate(time.time() + skew, usegmt=True), "x-ms-request-id": "1", **found.headers}
    if method != "HEAD" or "Content-Length" not in headers:
        headers["Content-Length"] = str(size)
    lines = [f"HTTP/1.1 {found.status} {_REASONS.get(found.status, 'Error')}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def _kind(method: str, target: str) -> str:
    query = target.partition("?")[2]
    for word in ("list", "blocklist", "block"):
        if f"comp={word}" in query:
            return f"{method} {word}"
    return method


async def serve(line: Line, certificate: str) -> None:
    """Serves on a free port of 127.0.0.1, which it prints, until stdin ends."""
    loop = asyncio.get_running_loop()
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    store = Store()
    server = await loop.create_server(lambda: Connection(store, line), "127.0.0.1", 0, ssl=context, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - it is how the starter learns it
    ended = loop.run_in_executor(None, sys.stdin.read)
    await ended
    server.close()


def main(arguments: list[str]) -> None:
    """`blob_service LATENCY RATE INTAKE CERTIFICATE`: those of `Line`, and a PEM file."""
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    run(serve(Line(*map(float, arguments[:3])), arguments[3]))


if __name__ == "__main__":
    main(sys.argv[1:])
