"""Short-lived shared access signatures made of an account's key, so that who needs the storage need not have the key.

A signature opens blobs and nothing else of the account (no keys, no queues, no settings of it), until its end. Making
one is a computation here, not a request.

Forms: https://learn.microsoft.com/rest/api/storageservices/create-account-sas and .../create-service-sas
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from azray_lab.spec.uri import account_name

LIFE_SECONDS = 12 * 3600.0
"""How long a signature opens; a new one is made after half of it."""

_VERSION = "2023-11-03"
# Reading, writing, deleting (versions too), listing, adding to, creating, finding by tags, tagging.
_RIGHTS_OF_ACCOUNT = "rwdxlacft"
_RIGHTS_OF_CONTAINER = "racwdxltf"


def sign(endpoint: str, key: str, ends: float, container: str = "", account: str = "") -> str:
    """The query of a signature for the account at `endpoint`, or for one container of it, until `ends` (since 1970).

    `account`: its name, where the address does not tell it (a custom domain).
    """
    name = account or account_name(endpoint)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    # Emulators alone speak plain http.
    protocol = "https" if endpoint.startswith("https:") else "https,http"
    if container:
        values = {"sp": _RIGHTS_OF_CONTAINER, "se": until, "spr": protocol, "sv": _VERSION, "sr": "c"}
        resource = f"/blob/{name}/{container}"
        # Not set: start, identifier, addresses, snapshot, encryption scope, and the five headers of an answer.
        lines = [_RIGHTS_OF_CONTAINER, "", until, resource, "", "", protocol, _VERSION, "c", *[""] * 7]
        text = "\n".join(lines)
    else:
        values = {"sp": _RIGHTS_OF_ACCOUNT, "se": until, "spr": protocol, "sv": _VERSION, "ss": "b", "srt": "sco"}
        # Not set: start, addresses, encryption scope. Unlike the other, it ends with a line feed.
        lines = [name, _RIGHTS_OF_ACCOUNT, "b", "sco", "", until, "", protocol, _VERSION, "", ""]
        text = "\n".join(lines)
    digest = hmac.digest(base64.b64decode(key), text.encode(), hashlib.sha256)
    return urlencode({**values, "sig": base64.b64encode(digest).decode()})


class Renewal:
    """A signature that never ends: `make` gives one that holds until a time; it is called after half of a life.

    Takes no lock: two threads may make one each, which does no harm, and a forked child has nothing to wait for.
    """

    def __init__(self, make: Callable[[float], str], clock: Callable[[], float] = time.time) -> None:
        self._make = make
        self._clock = clock
        self.first = self._latest = self._new()

    def _new(self) -> tuple[str, float]:
        ends = self._clock() + LIFE_SECONDS
        return self._make(ends), ends

    def current(self) -> tuple[str, float]:
        """The latest signature and its end (seconds since 1970)."""
        if self._clock() > self._latest[1] - LIFE_SECONDS / 2:
            self._latest = self._new()
        return self._latest


_renewals: dict[str, Renewal] = {}


def renew_with(renewal: Renewal) -> None:
    """From now on, who was given the first signature of `renewal` uses its current one, in this process."""
    _renewals[renewal.first[0]] = renewal


def current(query: str) -> str:
    """The signature to use in place of `query`, which is it itself unless it is renewed in this process."""
    renewal = _renewals.get(query)
    return renewal.current()[0] if renewal is not None else query


def for_sdk(query: str) -> Any:
    """The current one as Azure's SDK asks for it with each request."""
    from azure.core.credentials import AzureSasCredential

    class Current(AzureSasCredential):
        """One whose signature may be another at each request."""

        @property
        def signature(self) -> str:
            """The query, without `?`."""
            return current(query)

    return Current(query)


def end_of(query: str) -> float | None:
    """When the current one ends (seconds since 1970); None when it is not renewed."""
    renewal = _renewals.get(query)
    return renewal.current()[1] if renewal is not None else None
