"""Bulk reads and writes by obstore (Rust): a fifth of the CPU, and no wait for Python's lock.

`Fast` does the good case only and raises `Unable` for everything else; the caller then asks by `engine.wire`, which
knows why. So obstore never retries here, and none of its errors is ever shown.
"""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Any

from azray_lab.storage.engine.connections import CONNECT_SECONDS, own_certificates
from azray_lab.storage.engine.model import API_VERSION, Begun, Block, Entry, KiB

if TYPE_CHECKING:
    from azray_lab.storage.engine.signing import Signer

# obstore cannot say the others, or reads another blob for them: `/x` as `x`, `x/` as `x`, `a\b`, `a//b`, controls.
_SAYS = re.compile(r"(?!/)(?!.*//)[^\x00-\x1f\x7f\\]+(?<!/)", re.DOTALL)
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
# Nothing ends a request of obstore's before its deadline, so a host that says nothing for so long (seconds) is asked
# again by the wire, which is more patient and can be ended.
SILENT_SECONDS = 10.0
# While a body is sent nothing comes back, which counts as silence. 64 bodies of so many bytes each pass a line of
# 5 Mbit/s in this time; larger ones go by the wire.
SENDING_SECONDS = 30.0
PUT_MOST = 256 * KiB
# One whole request; a part of 8 MiB on a slow line takes minutes.
_REQUEST_SECONDS = 600


class Unable(Exception):  # noqa: N818 - it is an answer, not an error
    """obstore did not do it; `throttled` when the service said 429 or 5xx."""

    def __init__(self, *, throttled: bool = False) -> None:
        super().__init__("obstore did not do it")
        self.throttled = throttled


class Fast:
    """Reads and writes of one account, by an obstore store for the one and one for the other of each container."""

    def __init__(self, endpoint: str, signer: Signer) -> None:
        self._endpoint = endpoint
        self._signer = signer
        self._stores: dict[tuple[str, float], Any] = {}
        self._tokens: dict[str, str] = {}  # that which each store had last
        self._lock = threading.Lock()

    def can(self, name: str) -> bool:
        """Whether obstore can say this blob's name, in this process: after a fork it hangs."""
        return not _forked and _SAYS.fullmatch(name) is not None

    def begin(self, container: str, name: str, start: int, end: int, etag: str = "") -> Begun:
        """As `Wire.read`, once the answer's head is there; `body` waits for the bytes, a buffer that is not copied."""
        import obstore

        store = self._store(container, SILENT_SECONDS)
        try:
            found = obstore.get(store, name, options=_options(start, end, etag))
            meta = found.meta
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._unable(container, store, error) from error
        size, version = meta["size"], meta["e_tag"] or ""

        def body() -> Block:
            try:
                return Block(found.bytes(), size, version)
            except (obstore.exceptions.BaseError, FileNotFoundError) as error:
                raise self._unable(container, store, error) from error

        return Begun(size, version, body)

    def read(self, container: str, name: str, start: int, end: int, etag: str = "") -> Block:
        """As `Wire.read`. For thousands of small blobs on many threads, so with as little Python as will do."""
        import obstore

        store = self._store(container, SILENT_SECONDS)
        try:
            found = obstore.get(store, name, options=_options(start, end, etag))
            meta = found.meta
            return Block(found.bytes(), meta["size"], meta["e_tag"] or "")
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._unable(container, store, error) from error

    def put(self, container: str, name: str, data: Any, content_type: str) -> Entry:
        """As `Wire.put`."""
        import obstore

        store = self._store(container, SENDING_SECONDS)
        attributes: Any = {"Content-Type": content_type}
        try:
            done = obstore.put(store, name, data, attributes=attributes, use_multipart=False)
        except (obstore.exceptions.BaseError, FileNotFoundError) as error:
            raise self._unable(container, store, error) from error
        return Entry("blob", name, len(data), done["e_tag"] or "")

    def _unable(self, container: str, store: Any, error: Exception) -> Unable:
        self._forget(container, store, error)
        found = _STATUS.search(str(error))
        return Unable(throttled=found is not None and (found[1] == "429" or found[1].startswith("5")))

    def _store(self, container: str, silence: float) -> Any:
        key = (container, silence)
        if (store := self._stores.get(key)) is not None:
            return store
        with self._lock:
            if key not in self._stores:
                self._stores[key] = self._open(container, silence)
            return self._stores[key]

    def _forget(self, container: str, store: Any, error: Exception) -> None:
        """Drops a store whose token was refused, for it would send that one until its end; the next has another."""
        import obstore

        if not isinstance(error, obstore.exceptions.UnauthenticatedError):
            return
        with self._lock:
            keys = [key for key, one in self._stores.items() if one is store]
            for key in keys:
                del self._stores[key]
                if token := self._tokens.get(container, ""):
                    self._signer.renew({"Authorization": f"Bearer {token}"})

    def _open(self, container: str, silence: float) -> Any:
        from obstore.store import AzureStore

        options = self._signer.store_options()
        # obstore reads AZURE_* by itself; what is given counts more, so all that could mislead it is given.
        config = {"skip_signature": False, "use_emulator": False, "endpoint": self._endpoint, **options["config"]}
        client: Any = {
            "allow_http": self._endpoint.startswith("http://"),
            "connect_timeout": f"{CONNECT_SECONDS * 1000:.0f}ms",
            "read_timeout": f"{silence * 1000:.0f}ms",
            "timeout": f"{_REQUEST_SECONDS}s",
            "default_headers": {"x-ms-version": API_VERSION},
            "http1_only": True,
        }
        if (certificates := own_certificates()) is not None:
            client["root_certificate"] = certificates
        return AzureStore(
            container,
            config=config,  # type: ignore[arg-type]  # a plain dict of its keys
            client_options=client,
            retry_config={"max_retries": 0},
            credential_provider=self._provider(container, options.get("credential_provider")),
        )

    def _provider(self, container: str, ask: Any) -> Any:
        def provide() -> Any:
            found = ask()
            self._tokens[container] = found.get("token", "")
            return found

        return ask and provide


def _options(start: int, end: int, etag: str) -> Any:
    return {"range": (start, end), "if_match": etag} if etag else {"range": (start, end)}


_forked = False


def _after_fork() -> None:
    global _forked  # noqa: PLW0603 - once for the process
    _forked = True


os.register_at_fork(after_in_child=_after_fork)
