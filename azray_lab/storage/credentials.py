"""Which storage account is meant, and what opens it: from the environment's `AZURE_STORAGE_*` variables.

| variable | meaning |
|---|---|
| `AZURE_STORAGE_CONNECTION_STRING` | account and key (or signature) in one; Azurite's too |
| `AZURE_STORAGE_ACCOUNT_URL` | the account's address; opened by DefaultAzureCredential (`az login`, ...) |
| `AZURE_STORAGE_ACCOUNT` | the account's name, short for `https://NAME.blob.core.windows.net` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azray_lab.errors import CredentialError
from azray_lab.spec import settings

if TYPE_CHECKING:
    from azray_lab.storage.uri import BlobUri

CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
ACCOUNT_URL = "AZURE_STORAGE_ACCOUNT_URL"
ACCOUNT = "AZURE_STORAGE_ACCOUNT"
_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}", re.ASCII)


@dataclass(frozen=True)
class Account:
    """A storage account and the way in. One of `connection_string` and `sas` is set, or neither: then a token.

    `source` says in words where it comes from. The secrets are in no repr.
    """

    endpoint: str
    source: str
    connection_string: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)

    @classmethod
    def of(cls, uri: BlobUri, environ: Mapping[str, str] | None = None) -> Account:
        """The account that `uri` means: its own when it names one, else the environment's.

        CredentialError, which names the variables to set, when nothing says which account or nothing opens it.
        """
        known = cls.from_environ(environ, required=not uri.endpoint)
        if known is not None and (not uri.endpoint or _same(uri.endpoint, known.endpoint)) and not uri.sas:
            return known
        if uri.sas:
            return cls(uri.endpoint, "the URI's signature", sas=uri.sas)
        return cls(_secure(uri.endpoint, "the URI"), "the URI, opened with DefaultAzureCredential")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None, *, required: bool = True) -> Account | None:
        """The account that the environment names; when it names none, None or, if `required`, CredentialError."""
        variables = settings.blob_environment(environ)
        if text := variables.get(CONNECTION_STRING):
            return cls.from_connection_string(text)
        if url := variables.get(ACCOUNT_URL):
            place, _, sas = url.partition("?")
            return cls(_secure(place.rstrip("/"), ACCOUNT_URL), ACCOUNT_URL, sas=sas)
        if name := variables.get(ACCOUNT):
            if not _ACCOUNT_NAME.fullmatch(name):
                raise CredentialError(
                    f"{ACCOUNT} is no account's name", cause=f"{name!r}", next_step=f"export {ACCOUNT}=name"
                )
            return cls(f"https://{name}.blob.core.windows.net", ACCOUNT)
        if not required:
            return None
        raise CredentialError(
            "no storage account is set",
            cause=f"neither {CONNECTION_STRING} nor {ACCOUNT_URL} is in the environment",
            next_step=f"export {CONNECTION_STRING}='...' or {ACCOUNT_URL}=https://ACCOUNT.blob.core.windows.net",
        )

    @classmethod
    def from_connection_string(cls, text: str, source: str = CONNECTION_STRING) -> Account:
        """The account of an Azure connection string; CredentialError, that does not quote it, when it is none."""
        from azure.storage.blob import BlobServiceClient

        try:
            with BlobServiceClient.from_connection_string(text) as client:
                endpoint = str(client.primary_endpoint).partition("?")[0].rstrip("/")
            if (urlsplit(endpoint).hostname or ".").startswith("."):
                raise ValueError("the account has no name")  # noqa: TRY301 - as the SDK does for the rest
        except (ValueError, KeyError, AttributeError) as error:
            # The SDK's own words may repeat the string, so they stay in the chain and out of the message.
            raise CredentialError(
                f"{source} is no connection string",
                cause=f"{len(text)} characters that Azure's SDK cannot read",
                next_step="az storage account show-connection-string --name ACCOUNT",
            ) from error
        return cls(endpoint, source, connection_string=text)

    def token_credential(self) -> Any:
        """What gives tokens for an account that is opened by an identity; None for the others."""
        return None if self.connection_string or self.sas else _Identity(self.endpoint)


class _Identity:
    """DefaultAzureCredential, whose failure is ours, at once: the SDK would retry it like a request, for 16 s."""

    def __init__(self, endpoint: str) -> None:
        from azure.identity import DefaultAzureCredential

        self._credential = DefaultAzureCredential()
        self._endpoint = endpoint

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """The token, as Azure's SDKs ask for it."""
        from azure.core.exceptions import ClientAuthenticationError

        try:
            return self._credential.get_token(*scopes, **options)
        except ClientAuthenticationError as error:
            raise CredentialError(
                f"{self._endpoint} cannot be opened",
                cause="no Azure identity was found here: " + str(error).partition("\n")[0],
                next_step=f"az login, or export {CONNECTION_STRING}='...'",
            ) from error

    def close(self) -> None:
        """Closes its connections."""
        self._credential.close()


def _same(one: str, other: str) -> bool:
    return urlsplit(one)[1:3] == urlsplit(other)[1:3]


def _secure(endpoint: str, source: str) -> str:
    if endpoint.startswith("https://"):
        return endpoint
    raise CredentialError(
        f"{source} gives the address {endpoint}, and nothing that opens it",
        cause="a token must not travel over plain http",
        next_step=f"export {CONNECTION_STRING}='...' of that account, or use an https:// address",
    )
