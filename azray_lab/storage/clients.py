"""Clients of Azure's SDK for one account, with retries that end soon, and the one place where its errors become ours."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, BlobNotFoundError, CredentialError, StorageError
from azray_lab.storage.credentials import CONNECTION_STRING, Account

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob import BlobServiceClient
    from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

    from azray_lab.storage.uri import BlobUri

# The SDK's own first retry waits 15 s, and a host that refuses takes it 80 s. Here: a refusal 3 s, silence about 12 s;
# throttling (503) is retried after 0.5, 2.5 and 4.5 s.
_TRANSPORT = {"connection_timeout": 4, "read_timeout": 60}
_RETRIES = {
    "initial_backoff": 0.5,
    "increment_base": 2,
    "retry_total": 3,
    "retry_connect": 2,
    "random_jitter_range": 0.2,
}
_SIGNATURE = re.compile(r"\b(sig|se|skoid|sktid)=[^&\s'\")]+", re.IGNORECASE)


def service(account: Account) -> BlobServiceClient:
    """A synchronous client of `account`; no request is made."""
    from azure.storage.blob import BlobServiceClient, ExponentialRetry

    return _make(BlobServiceClient, account, account.token_credential(), ExponentialRetry(**_RETRIES))


def async_service(account: Account, credential: Any = None) -> AsyncBlobServiceClient:
    """The same for asyncio; `credential` is an asynchronous token credential for an account that needs one."""
    from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

    return _make(BlobServiceClient, account, credential, ExponentialRetry(**_RETRIES))


def _make(kind: Any, account: Account, credential: Any, retries: Any) -> Any:
    settings = {**_TRANSPORT, "retry_policy": retries, "user_agent": "azray-lab"}
    with translated():
        if account.connection_string:
            return kind.from_connection_string(account.connection_string, **settings)
        url = f"{account.endpoint}?{account.sas}" if account.sas else account.endpoint
        return kind(url, credential=credential, **settings)


@contextlib.contextmanager
def translated(uri: BlobUri | None = None, account: Account | None = None) -> Iterator[None]:
    """Turns what the SDK raises into our errors; `uri` and `account` say what was being asked for."""
    from azure.core.exceptions import AzureError

    try:
        yield
    except AzureError as error:
        raise _ours(error, uri, account) from error


def _ours(error: Any, uri: BlobUri | None, account: Account | None) -> AzRayError:
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    place = str(uri) if uri is not None else "the storage account"
    if isinstance(error, HttpResponseError) and error.status_code:
        return _answered(error, place, uri, account)
    if isinstance(error, ClientAuthenticationError):  # azure-identity found no way to a token
        return CredentialError(
            f"{place} cannot be opened: there is no Azure identity here",
            cause=_first_line(error),
            next_step=f"az login, or export {CONNECTION_STRING}='...'",
        )
    endpoint = account.endpoint if account is not None else ""
    return StorageError(
        f"{endpoint or place} does not answer",
        cause=_first_line(error),
        next_step=f"check the address in {account.source}" if account is not None else "check the address",
        endpoint=endpoint,
    )


def _answered(error: HttpResponseError, place: str, uri: BlobUri | None, account: Account | None) -> AzRayError:
    headers = error.response.headers if error.response is not None else {}
    code = (
        getattr(getattr(error, "error_code", None), "value", None)
        or headers.get("x-ms-error-code")
        or str(error.reason)
    )
    facts = {"status": error.status_code, "code": code, "request_id": headers.get("x-ms-request-id"), "uri": place}
    if error.status_code == 404:  # noqa: PLR2004 - HTTP
        return not_found(uri, code, facts)
    if error.status_code in {401, 403}:
        source = account.source if account is not None else "the credential"
        return CredentialError(
            f"{place} may not be accessed with {source}",
            cause=f"the service answered {error.status_code} {code}",
            next_step=f"check {source}; with an identity it needs the role Storage Blob Data Contributor",
            **facts,
        )
    return StorageError(f"{place} cannot be used", cause=f"the service answered {error.status_code} {code}", **facts)


def not_found(uri: BlobUri | None, code: str, facts: dict[str, Any] | None = None) -> BlobNotFoundError:
    """The error for a container or blob that is not there, with the command that lists what is."""
    known = {"uri": str(uri), **(facts or {})}
    if uri is None or not uri.container:
        return BlobNotFoundError("the storage account does not know that address", cause=code, **known)
    above = str(uri).partition(f"/{uri.container}")[0] + "/"
    container = type(uri)(uri.container, "", uri.endpoint)
    if code == "ContainerNotFound" or not uri.path:
        return BlobNotFoundError(f"there is no container {container}", next_step=f"azray blob ls {above}", **known)
    return BlobNotFoundError(f"there is no blob {uri}", next_step=f"azray blob ls {container}", **known)


def _first_line(error: BaseException) -> str:
    """The foreign error in one line, without signatures: connection errors quote the URL with its query."""
    return _SIGNATURE.sub(r"\1=***", str(error).strip().partition("\n")[0])
