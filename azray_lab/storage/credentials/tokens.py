"""The tokens of an identity: kept, and asked for again before they expire."""

from __future__ import annotations

import asyncio
import copy
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

on_refusal: list[Callable[[str], None]] = []
"""Who else keeps tokens in this process, and is told of one that the service refused."""

# As Azure's SDKs do: a token that ends within 5 minutes is renewed, so a request that starts now has time.
_MARGIN_SECONDS = 300.0
# After a failure nobody asks for so long, doubled with each further one: many requests fail together, and Entra ID
# throttles who asks for each. Where nothing works, somebody will mend it (az login) and try; else there is time.
_PAUSE_SECONDS = 1.0
_LONGEST_SECONDS = 4.0
_LONGEST_WHILE_HELD_SECONDS = 30.0
# The service may refuse a token before its end (revoked, or its signer's key replaced). Who is refused for the next
# one, too, has no access, and need not ask at every request.
_REFUSAL_SECONDS = 60.0


@dataclass
class _Kept:
    """A token, when the next one is asked for, and how that went; seconds since 1970."""

    token: Any = None
    renew: float = 0.0
    failure: CredentialError | None = None
    failures: int = 0
    again: float = 0.0
    refused: float = 0.0

    def held(self, now: float) -> tuple[Any, bool]:
        """The token that holds at `now`, or None; and whether it need not be renewed yet."""
        if self.token is None or now >= self.token.expires_on:
            return None, False
        return self.token, now < self.renew

    def succeed(self, token: Any, now: float) -> None:
        """Keeps a new token."""
        left = token.expires_on - now
        self.token, self.renew = token, now + left - min(_MARGIN_SECONDS, left / 2)
        self.failure, self.failures = None, 0

    def fail(self, error: CredentialError, now: float) -> None:
        """Keeps the reason for all who ask in the next seconds."""
        held, _ = self.held(now)
        # A copy, for an exception holds on to all that its frames knew.
        self.failure = copy.copy(error)
        longest = _LONGEST_WHILE_HELD_SECONDS if held else _LONGEST_SECONDS
        self.again = now + min(_PAUSE_SECONDS * 2 ** min(self.failures, 10), longest)
        self.failures += 1


class Tokens:
    """The tokens of an identity, as Azure's SDKs ask for them; threads may share it, also with forked children.

    A token is kept until 5 minutes before its end (or half of its life, when that is shorter), then asked for again;
    while the old one still holds, one thread asks and the others use it, and a failure is not one of the request at
    hand. A failure is CredentialError, at once: the SDK would retry it like a request, for 16 s. It is the answer to
    all who ask within the next 1 to 4 s (30 s while the old one holds), so that 64 requests which fail together cost
    one attempt.
    """

    def __init__(self, identity: Identity, clock: Callable[[], float] = time.time) -> None:
        self.identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        # Held by who asks, which may take half a minute; a token that holds is given meanwhile.
        self._asking = threading.Lock()
        self._kept: dict[tuple[Any, ...], _Kept] = {}
        # The part of the chain that gives tokens, and what asks for them; None: to be made again.
        self._working: tuple[str, Any] | None = None
        _all.add(self)

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

    def refused(self, token: str) -> bool:
        """Told that the service refused `token` before its end; whether there is, or may be, another one. No request.

        For this reason a token is asked for anew at most once a minute.
        """
        for tell in on_refusal:
            tell(token)
        with self._lock:
            kept = next((one for one in self._kept.values() if one.token and one.token.token == token), None)
            if kept is None:  # another thread was faster
                return True
            now = self._clock()
            if now < kept.refused + _REFUSAL_SECONDS:
                return False
            kept.token, kept.refused = None, now
            # What asks has a cache of its own and would give the same one.
            self._working = self._working and (self._working[0], None)
            return True

    def _token(self, scopes: tuple[str, ...], options: Mapping[str, Any]) -> Any:
        key = (scopes, tuple(sorted((name, str(value)) for name, value in options.items())))
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            held, renewed = kept.held(self._clock())
        if renewed or not self._asking.acquire(blocking=held is None):
            return held
        try:
            with self._lock:
                held, renewed = kept.held(self._clock())
            return held if renewed else self._renewed(kept, scopes, options)
        except CredentialError:
            with self._lock:
                held, _ = kept.held(self._clock())
            if held is None:
                raise
            return held
        finally:
            self._asking.release()

    def _renewed(self, kept: _Kept, scopes: tuple[str, ...], options: Mapping[str, Any]) -> Any:
        """A new token; the reason why there is none, when it was told a moment ago."""
        if kept.failure is not None and self._clock() < kept.again:
            raise copy.copy(kept.failure)
        try:
            found = self._ask(scopes, options)
        except CredentialError as error:
            with self._lock:
                kept.fail(error, self._clock())
            raise
        with self._lock:
            kept.succeed(found, self._clock())
        return found

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
        working, credential = self._working
        if credential is not None:
            return [(working, lambda: credential)]
        return [(name, make) for name, make in asking.parts(self.identity) if name == working]

    def after_fork(self) -> None:
        """Makes a forked child able to ask: a thread of the parent may have held the lock, or been asking."""
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._working = self._working and (self._working[0], None)


_all: weakref.WeakSet[Tokens] = weakref.WeakSet()


def _after_fork() -> None:
    # The parent's, whose locks a thread may have held that is not here.
    on_refusal.clear()
    for tokens in list(_all):
        tokens.after_fork()


os.register_at_fork(after_in_child=_after_fork)


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
