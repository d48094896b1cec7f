"""How a request is authorised: by the account's key, a shared access signature, a token, or not at all.

`signer_for` makes one of an `Account`; everything else in the engine sees the signer only. No signer shows its secret.
Plain classes: `dataclasses` would be a sixth of what importing the engine costs.
"""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from azray_lab.storage.credentials import Account

SCOPE = "https://storage.azure.com/.default"
# "Authorize with Shared Key", the headers of the string to sign in their order:
# https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
_SIGNED = (
    "Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type", "Date",
    "If-Modified-Since", "If-Match", "If-None-Match", "If-Unmodified-Since", "Range",
)  # fmt: skip


class Signer(Protocol):
    """Authorises requests."""

    def sign(self, method: str, path: str, query: MutableMapping[str, str], headers: MutableMapping[str, str]) -> None:
        """Adds what the request needs to `query` and `headers`; `path` is percent-encoded."""
        ...

    def renew(self, headers: Mapping[str, str]) -> bool:
        """Told that the service knows nobody by `headers` (401); whether signing again may give it something else."""
        ...

    def store_options(self) -> dict[str, Any]:
        """The same authority as arguments of obstore's `AzureStore`."""
        ...


class _Lasting:
    """What a refusal does not change."""

    def renew(self, headers: Mapping[str, str]) -> bool:
        """No."""
        del headers
        return False


class SharedKey(_Lasting):
    """The account's key."""

    def __init__(self, account: str, key: str) -> None:
        self.account, self.key = account, key

    def sign(self, method: str, path: str, query: MutableMapping[str, str], headers: MutableMapping[str, str]) -> None:
        """Signs by HMAC-SHA256."""
        values = [headers.get(name, "") for name in _SIGNED]
        values[2] = "" if values[2] == "0" else values[2]
        own = sorted((name.lower(), value) for name, value in headers.items() if name.lower().startswith("x-ms-"))
        resource = f"/{self.account}{path}" + "".join(f"\n{name}:{query[name]}" for name in sorted(query))
        text = "\n".join([method, *values, *(f"{name}:{value}" for name, value in own), resource])
        import hashlib
        import hmac

        digest = hmac.digest(base64.b64decode(self.key), text.encode(), hashlib.sha256)
        headers["Authorization"] = f"SharedKey {self.account}:{base64.b64encode(digest).decode()}"

    def read_signature(self, container: str, name: str) -> str:
        """A shared access signature that reads one blob for a day."""
        from datetime import timedelta

        from azure.storage.blob import generate_blob_sas  # heavy, and for copies between accounts only

        expiry = datetime.now(timezone.utc) + timedelta(days=1)
        place = self.account, container, name
        return str(generate_blob_sas(*place, account_key=self.key, permission="r", expiry=expiry))

    def store_options(self) -> dict[str, Any]:
        """The key."""
        return {"config": {"account_name": self.account, "account_key": self.key, "credential_type": "access_key"}}


class Signature(_Lasting):
    """A shared access signature; where it is renewed in this process, the current one."""

    def __init__(self, account: str, given: str) -> None:
        self.account, self.given = account, given

    @property
    def query(self) -> str:
        """What is added to a URL's query, without `?`."""
        from azray_lab.storage.credentials import signatures  # loads more than the engine

        return signatures.current(self.given).lstrip("?")

    def sign(self, method: str, path: str, query: MutableMapping[str, str], headers: MutableMapping[str, str]) -> None:
        """Adds the signature to the query."""
        del method, path, headers
        query.update(parse_qsl(self.query, keep_blank_values=True))

    def store_options(self) -> dict[str, Any]:
        """The signature; a callable that obstore asks, when it is renewed."""
        from azray_lab.storage.credentials import signatures

        if signatures.end_of(self.given) is not None:
            return {"config": {"account_name": self.account}, "credential_provider": self._provide}
        return {"config": {"account_name": self.account, "sas_key": self.query, "credential_type": "sas_token"}}

    def _provide(self) -> dict[str, Any]:
        from azray_lab.storage.credentials import signatures

        sas, ends = self.query, signatures.end_of(self.given) or 0.0
        return {"sas_token": sas, "expires_at": datetime.fromtimestamp(ends, tz=timezone.utc)}


class Bearer:
    """Tokens of an identity. `credential` is any of Azure's token credentials; it keeps and renews them itself."""

    def __init__(self, account: str, credential: Any) -> None:
        self.account = account
        self._credential = credential

    def sign(self, method: str, path: str, query: MutableMapping[str, str], headers: MutableMapping[str, str]) -> None:
        """Adds the token."""
        del method, path, query
        headers["Authorization"] = f"Bearer {self._credential.get_token(SCOPE).token}"

    def renew(self, headers: Mapping[str, str]) -> bool:
        """Has another token asked for, where the credential can; ours does so once for all who were refused."""
        refused = getattr(self._credential, "refused", None)
        return refused is not None and bool(refused(headers["Authorization"].removeprefix("Bearer ")))

    def store_options(self) -> dict[str, Any]:
        """A callable that obstore asks whenever the last token has less than 5 minutes left."""
        return {"config": {"account_name": self.account}, "credential_provider": self._provide}

    def _provide(self) -> dict[str, Any]:
        found = self._credential.get_token(SCOPE)
        return {"token": found.token, "expires_at": datetime.fromtimestamp(found.expires_on, tz=timezone.utc)}


class Anonymous(_Lasting):
    """Nothing: for public containers."""

    def __init__(self, account: str) -> None:
        self.account = account

    def sign(self, method: str, path: str, query: MutableMapping[str, str], headers: MutableMapping[str, str]) -> None:
        """Adds nothing."""

    def store_options(self) -> dict[str, Any]:
        """No signature."""
        return {"config": {"account_name": self.account, "skip_signature": True}}


def signer_for(account: Account) -> Signer:
    """The signer of an account; CredentialError when a token would have to travel over plain http."""
    if account.key:
        return SharedKey(account.name, account.key)
    if account.sas:
        return Signature(account.name, account.sas)
    credential = account.token_credential()
    return Anonymous(account.name) if credential is None else Bearer(account.name, credential)
