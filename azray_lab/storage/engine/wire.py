"""The Blob service's REST verbs by the standard library: every verb, exact errors, retries; also in forked children.

`Wire` knows how to ask and what an answer means; `engine.fast` does the two verbs that move bulk data, faster.
Reference: https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from azray_lab.errors import StorageError
from azray_lab.storage.engine import faults
from azray_lab.storage.engine.checksums import Check, Checksum, chosen
from azray_lab.storage.engine.connections import Answer, Connections
from azray_lab.storage.engine.model import API_VERSION, Block, Entry, http_now
from azray_lab.storage.engine.pauses import TRIES, TRIES_IN_SILENCE, TRIES_TO_CONNECT, Pauses
from azray_lab.storage.engine.signing import Anonymous, SharedKey, Signature, Signer, signer_for

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Account
    from azray_lab.storage.engine.stopping import Stop

T = TypeVar("T")
_SAFE = "/~-._"


class Wire:
    """The verbs of one account. Every one may raise CredentialError, BlobNotFoundError and StorageError."""

    def __init__(
        self, account: Account, signer: Signer | None = None, connections: Connections | None = None,
        pauses: Pauses | None = None,
    ) -> None:  # fmt: skip
        self.account = account
        self.signer = signer or signer_for(account)
        self.connections = connections or Connections(account.endpoint)
        self.pauses = pauses or Pauses()
        self._base = urlsplit(account.endpoint).path

    def stoppable(self, stop: Stop) -> Wire:
        """The same, sharing connections, whose pauses and whose requests for bytes `stop` ends."""
        return Wire(self.account, self.signer, self.connections, self.pauses.stoppable(stop))

    def place(self, container: str, name: str = "") -> str:
        """How errors name a blob: as a URI without signature."""
        base = self.account.endpoint if "the URI" in self.account.source else "az:/"
        path = quote(name, safe=_SAFE) if base != "az:/" else name
        return f"{base}/{container}/{path}" if name else f"{base}/{container}"

    # Reading.

    def read(self, container: str, name: str, start: int, end: int, etag: str = "", *, check: Check = False) -> Block:
        """The bytes `start` to `end` (not included), fewer at the blob's end. One request.

        With `etag` of that version only: StorageError when there is another one by now. `check` has the service send
        the checksum of the bytes (at most 4 MiB), which is compared; none that comes is an error.
        """
        headers = {"x-ms-range": f"bytes={start}-{end - 1}"}
        if etag:
            headers["If-Match"] = etag
        kind = chosen(check)
        if kind is not None:
            headers[kind.asks] = "true"

        def ask() -> tuple[Answer, str]:
            answer = self.ask("GET", container, name, headers=headers, good=(200, 206, 416))
            own = kind.of(answer.body) if kind is not None and answer.status != 416 else ""  # noqa: PLR2004 - HTTP
            if kind is not None and own:
                self._compare(kind, own, answer, self.place(container, name))
            return answer, own

        answer, found = _again_if_damaged(ask)
        if answer.status == 416:  # noqa: PLR2004 - it begins at or behind the end, as any range of an empty blob does
            return Block(b"", _total(answer.headers.get("content-range", "")), answer.headers.get("etag", ""))
        whole = _total(answer.headers.get("content-range", "")) or len(answer.body)
        return Block(answer.body, whole, answer.headers.get("etag", ""), found)

    @staticmethod
    def _compare(kind: Checksum, own: str, answer: Answer, place: str) -> None:
        told = answer.headers.get(kind.header.lower(), "")
        if not told:
            raise faults.unchecked(place, kind.name)
        if told != own:
            raise faults.damaged(place, f"its {kind.name} is {own}, the service's {told}")

    def stat(self, container: str, name: str) -> Entry | None:
        """The blob, None when there is none of exactly that name. One request."""
        answer = self.ask("HEAD", container, name, good=(200, 404))
        if answer.status == 404:  # noqa: PLR2004 - HTTP
            if faults.code_of(answer) == "ContainerNotFound":
                raise faults.refusal(answer, self.place(container, name), self.account)
            return None
        own = tuple(sorted(answer.headers.items()))
        size = int(answer.headers.get("content-length", 0))
        return Entry("blob", name, size, answer.headers.get("etag", ""), answer.headers.get("last-modified", ""), own)

    def listing(self, container: str, prefix: str = "", delimiter: str = "", page: int = 5000) -> Iterator[list[Entry]]:
        """The blobs whose names begin with `prefix`, in order, a page at a time; one request for each 5,000.

        With a delimiter, what goes on behind it is one folder.
        """
        query = {"restype": "container", "comp": "list", "prefix": prefix, "delimiter": delimiter,
                 "include": "metadata", "maxresults": str(page)}  # fmt: skip
        from azray_lab.storage.engine import pages  # its patterns take 2 ms to compile, and only listings need them

        yield from self._pages(container, query, pages.blobs)

    def containers(self, prefix: str = "") -> Iterator[list[Entry]]:
        """The account's containers, a page at a time."""
        from azray_lab.storage.engine import pages

        yield from self._pages("", {"comp": "list", "prefix": prefix}, pages.containers)

    def _pages(self, container: str, query: dict[str, str], parse: Any) -> Iterator[list[Entry]]:
        query = {name: value for name, value in query.items() if value}
        while True:
            answer = self.ask("GET", container, query=query)
            entries, marker = parse(answer.body, self.place(container))
            yield entries
            if not marker:
                return
            query["marker"] = marker

    # Writing.

    def put(self, container: str, name: str, data: Any, headers: Mapping[str, str], *, check: Check = False) -> Entry:
        """The whole blob in one request ("Put Blob"). `check` has the service compare a checksum."""
        own = {"x-ms-blob-type": "BlockBlob", **headers}
        return _written(name, len(data), self._send(container, name, data, own, {}, chosen(check)))

    def put_block(self, container: str, name: str, block: str, data: Any, *, check: Check = False) -> None:
        """A part of a blob to be ("Put Block"); nobody sees it, and the service forgets it after a week."""
        self._send(container, name, data, {}, {"comp": "block", "blockid": block}, chosen(check))

    def _send(
        self, container: str, name: str, data: Any, headers: dict[str, str], query: dict[str, str],
        kind: Checksum | None,
    ) -> Answer:  # fmt: skip
        own = kind.of(data) if kind is not None else ""
        if kind is not None:
            headers[kind.header] = own

        def ask() -> Answer:
            answer = self.ask("PUT", container, name, query=query, headers=headers, body=data, good=(201,))
            if kind is not None and kind.answered:
                self._compare(kind, own, answer, self.place(container, name))
            return answer

        return _again_if_damaged(ask)

    def commit(self, container: str, name: str, blocks: Sequence[str], size: int, headers: Mapping[str, str]) -> Entry:
        """Makes the blob of its blocks, at once ("Put Block List")."""
        body = '<?xml version="1.0" encoding="utf-8"?><BlockList>'
        body += "".join(f"<Latest>{block}</Latest>" for block in blocks) + "</BlockList>"
        query = {"comp": "blocklist"}
        answer = self.ask("PUT", container, name, query=query, headers=headers, body=body.encode(), good=(201,))
        return _written(name, size, answer)

    def delete(self, container: str, name: str, etag: str = "") -> bool:
        """Removes a blob and its snapshots; False when there was none."""
        headers = {"x-ms-delete-snapshots": "include"} | ({"If-Match": etag} if etag else {})
        return self._unless_missing("DELETE", container, name, headers=headers)

    def copy(self, container: str, name: str, source: str, etag: str = "") -> Answer:
        """Has the service copy the blob at the address `source` ("Copy Blob"); it may go on after the answer.

        Where a signature opens the account, an address of its own needs it as well: the request's is for the target.
        `etag`: only of that version of the source.
        """
        if isinstance(self.signer, Signature) and "?" not in source:
            source = f"{source}?{self.signer.query.lstrip('?')}"
        headers = {"x-ms-copy-source": source} | ({"x-ms-source-if-match": etag} if etag else {})
        return self.ask("PUT", container, name, headers=headers, good=(201, 202))

    @property
    def can_sign(self) -> bool:
        """Whether `signature` can open a blob to another account; tokens cannot be handed on."""
        return isinstance(self.signer, (Signature, SharedKey, Anonymous))

    def signature(self, container: str, name: str) -> str:
        """What has to stand behind a blob's address so that another account's service may read it for a day."""
        if isinstance(self.signer, Signature):
            return f"?{self.signer.query.lstrip('?')}"
        return f"?{self.signer.read_signature(container, name)}" if isinstance(self.signer, SharedKey) else ""

    def abort_copy(self, container: str, name: str, identity: str) -> bool:
        """Ends a copy that goes on ("Abort Copy Blob"), which leaves an empty blob; False when it is over already."""
        query = {"comp": "copy", "copyid": identity}
        headers = {"x-ms-copy-action": "abort"}
        return self.ask("PUT", container, name, query=query, headers=headers, good=(204, 404, 409)).status == 204  # noqa: PLR2004 - HTTP

    def create_container(self, container: str) -> bool:
        """Makes a container; False when it was there."""
        answer = self.ask("PUT", container, query={"restype": "container"}, good=(201, 409))
        if answer.status == 409 and faults.code_of(answer) != "ContainerAlreadyExists":  # noqa: PLR2004 - HTTP
            raise faults.refusal(answer, self.place(container), self.account)
        return answer.status == 201  # noqa: PLR2004 - HTTP

    def delete_container(self, container: str) -> bool:
        """Removes a container with all that is in it; False when there was none."""
        return self._unless_missing("DELETE", container, query={"restype": "container"})

    def _unless_missing(self, method: str, container: str, name: str = "", **options: Any) -> bool:
        answer = self.ask(method, container, name, good=(202, 404), **options)
        if answer.status == 404 and name and faults.code_of(answer) == "ContainerNotFound":  # noqa: PLR2004 - HTTP
            raise faults.refusal(answer, self.place(container, name), self.account)
        return answer.status == 202  # noqa: PLR2004 - HTTP

    # Asking.

    def address(self, container: str, name: str = "") -> str:
        """The blob's URL, without a signature."""
        return self.account.endpoint.removesuffix(self._base) + self._path(container, name)

    def _path(self, container: str, name: str) -> str:
        path = f"{self._base}/{quote(container, safe='$-')}" if container else f"{self._base}/"
        return f"{path}/{quote(name, safe=_SAFE)}" if name else path

    def ask(
        self, method: str, container: str, name: str = "", *, query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None, body: Any = b"", good: tuple[int, ...] = (200,),
    ) -> Answer:  # fmt: skip
        """One request, tried again while there is hope; an answer whose status is in `good`, else our error."""
        number = 0
        while True:
            self.pauses.before()
            try:
                answer = self._once(method, self._path(container, name), dict(query or {}), dict(headers or {}), body)
            except OSError as error:
                if number + 1 >= _tries(error):
                    raise faults.silent(error, self.account) from error
                self.pauses.after(number)
            else:
                if answer.status in good:
                    return answer
                if not faults.hopeful(answer) or number + 1 >= TRIES:
                    raise faults.refusal(answer, self.place(container, name), self.account)
                self.pauses.after(number, answer.headers.get("retry-after", ""))
            number += 1

    def _once(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> Answer:
        headers |= {"x-ms-version": API_VERSION, "x-ms-date": http_now(), "User-Agent": "azray-lab"}
        if method == "PUT":
            headers["Content-Length"] = str(len(body))
            headers.setdefault("Content-Type", "application/octet-stream")
        answer = self._signed(method, path, query, headers, body)
        if answer.status == 401 and self.signer.renew(headers):  # noqa: PLR2004 - HTTP: a token taken back before its end
            answer = self._signed(method, path, query, headers, body)
        return answer

    def _signed(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Any) -> Answer:
        self.signer.sign(method, path, query, headers)
        text = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in query.items())
        # A block that was sent in vain is forgotten; what else changes something is waited for.
        cut = method in {"GET", "HEAD"} or query.get("comp") == "block"
        stop = self.pauses.stop if cut else None
        return self.connections.request(method, f"{path}?{text}" if text else path, headers, body or None, stop)


def _again_if_damaged(ask: Callable[[], T]) -> T:
    """What `ask` gives, or at a second try, for damage on the way is rare and need not come twice."""
    try:
        return ask()
    except StorageError as error:
        if error.facts.get("code") not in faults.DAMAGED:
            raise
    return ask()


def _tries(error: BaseException) -> int:
    import ssl

    if isinstance(error, ssl.SSLCertVerificationError):
        return 1
    if isinstance(error, TimeoutError):
        return TRIES_IN_SILENCE
    return TRIES_TO_CONNECT if isinstance(error, ConnectionRefusedError) else TRIES


def _total(content_range: str) -> int:
    """The blob's size out of `bytes 0-9/100` or `bytes */100`; 0 when it is not told."""
    total = content_range.rpartition("/")[2]
    return int(total) if total.isdigit() else 0


def _written(name: str, size: int, answer: Answer) -> Entry:
    return Entry("blob", name, size, answer.headers.get("etag", ""), answer.headers.get("last-modified", ""))
