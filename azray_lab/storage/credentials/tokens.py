"""The tokens of an identity: kept, and asked for again before they expire."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CredentialError
from azray_lab.spec import settings
from azray_lab.storage.credentials import asking, reasons

if TYPE_CHECKING:
    from typing_extensions import Self

    from azray_lab.storage.credentials.identity import Identity

SCOPE = "https://storage.azure.com/.default"
"""What a token for Blob storage is asked for."""

# As Azure's SDKs do: a token that ends within 5 minutes is renewed, so a request that starts now has time.
_MARGIN_SECONDS = 300.0


class Tokens:
    """The tokens of an identity, as Azure's SDKs ask for them; threads may share it.

    A token is kept until 5 minutes before its end (or half of its life, when that is shorter), then asked for again;
    while the old one still holds, a failure to renew it is not one of the request at hand. A failure is
    CredentialError, at once: the SDK would retry it like a request, for 16 s.
    """

    def __init__(self, identity: Identity, clock: Callable[[], float] = time.time) -> None:
        self.identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[Any, ...], tuple[Any, float]] = {}
        self._working: tuple[str, Any] | None = None

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """An `AccessToken` (token, expires_on in seconds since 1970)."""
        from azure.core.credentials import AccessToken

        found = self._token(scopes or (SCOPE,), options)
        return AccessToken(found.token, int(found.expires_on))

    def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> Any:
        """An `AccessTokenInfo`, the newer form of the same."""
        from azure.core.credentials import AccessTokenInfo

        found = self._token(scopes or (SCOPE,), options or {})
        return AccessTokenInfo(found.token, int(found.expires_on))

    def provider(self) -> dict[str, Any]:
        """The token as obstore's `credential_provider` gives it."""
        found = self._token((SCOPE,), {})
        # obstore asks again 5 minutes before the end that it is told; a shorter life would make it ask each time.
        return {"token": found.token, "expires_at": datetime.fromtimestamp(found.expires_on, timezone.utc)}

    def asynchronous(self) -> AsyncTokens:
        """The same for asyncio."""
        return AsyncTokens(self)

    def close(self) -> None:
        """Nothing: it is shared by the whole process. SDK clients call it."""

    def _token(self, scopes: tuple[str, ...], options: Mapping[str, Any]) -> Any:
        key = (scopes, tuple(sorted((name, str(value)) for name, value in options.items())))
        with self._lock:
            kept, renew = self._kept.get(key, (None, 0.0))
            now = self._clock()
            if kept is not None and now < renew:
                return kept
            try:
                fresh = self._ask(scopes, options)
            except CredentialError:
                if kept is None or now >= kept.expires_on:
                    raise
                return kept
            left = fresh.expires_on - now
            self._kept[key] = (fresh, now + left - min(_MARGIN_SECONDS, left / 2))
            return fresh

    def _ask(self, scopes: tuple[str, ...], options: Mapping[str, Any]) -> Any:
        """A new token from the first part of the chain that gives one; from then on, from that part."""
        tried: list[tuple[str, BaseException]] = []
        for name, make in self._parts():
            try:
                credential = make()
                found = credential.get_token(*scopes, **options)
            except Exception as error:  # noqa: BLE001 - azure-identity lets ValueError, OSError and its own through
                tried.append((name, error))
                if not reasons.is_absent(error):  # there, and refused: the next one would only hide that
                    break
            else:
                self._working = (name, credential)
                return found
        raise reasons.error(self.identity, tried) from tried[-1][1]

    def _parts(self) -> list[tuple[str, Callable[[], Any]]]:
        if self._working is None:
            return asking.parts(self.identity)
        name, credential = self._working
        return [(name, lambda: credential)]


class AsyncTokens:
    """The tokens of an identity for asyncio; asking happens in a thread."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    async def get_token(self, *scopes: str, **options: Any) -> Any:
        """As `Tokens.get_token`."""
        return await asyncio.to_thread(self._tokens.get_token, *scopes, **options)

    async def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> Any:
        """As `Tokens.get_token_info`."""
        return await asyncio.to_thread(self._tokens.get_token_info, *scopes, options=options)

    async def close(self) -> None:
        """Nothing: it is shared."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing: it is shared."""


def tokens_of(identity: Identity) -> Tokens:
    """The tokens of `identity` that the whole process shares.

    What azure-identity reads by itself (an endpoint of managed identities) is part of what tells two apart.
    """
    return _shared(identity, tuple(sorted(settings.identity_environment().items())))


@lru_cache(maxsize=64)
def _shared(identity: Identity, _surroundings: tuple[tuple[str, str], ...]) -> Tokens:
    return Tokens(identity)
