"""Clients of Azure's SDK for one account, with retries that end soon; the one place where its errors become ours."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, BlobNotFoundError, CredentialError, StorageError

if TYPE_CHECKING:
    from azure.core.exceptions import HttpResponseError
    from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.credentials import Account

# The SDK's own first retry waits 15 s, and a host that refuses takes it 80 s. Here a refusal takes 3 s, silence 11 s;
# throttling (503) is retried after 2.5, 4.5 and 8.5 s.
_TRANSPORT = {"connection_timeout": 4, "read_timeout": 60}
# Fractions of a second, which the SDK's annotations do not foresee.
_RETRIES: dict[str, Any] = {
    "initial_backoff": 0.5,
    "increment_base": 2,
    "retry_total": 3,
    "retry_connect": 1,
    "random_jitter_range": 0.2,
}
# What goes wrong is raised as an error; without a handler Python would print the SDK's many warnings, too.
logging.getLogger("azure").addHandler(logging.NullHandler())
_SIGNATURE = re.compile(r"\b(sig|se|skoid|sktid)=[^&\s'\")]+", re.IGNORECASE)


def async_service(account: Account, credential: Any = None) -> AsyncBlobServiceClient:
    """The same for asyncio; `credential` is an asynchronous token credential for an account that needs one."""
    from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

    client: AsyncBlobServiceClient = _make(BlobServiceClient, account, credential, ExponentialRetry(**_RETRIES))
    return client


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
    from azure.core.exceptions import HttpResponseError

    place = str(uri) if uri is not None else "the storage account"
    if isinstance(error, HttpResponseError) and error.status_code:
        return _answered(error, place, uri, account)
    endpoint = account.endpoint if account is not None else place
    return StorageError(
        f"{endpoint} does not answer",
        cause=_first_line(error),
        next_step=_check_address(account),
        endpoint=endpoint,
    )


def _check_address(account: Account | None) -> str:
    if account is None or account.source.startswith("the URI"):
        return "check the address"
    return f"check the address in {account.source}"


def _answered(error: HttpResponseError, place: str, uri: BlobUri | None, account: Account | None) -> AzRayError:
    headers: dict[str, Any] = getattr(error.response, "headers", {})
    code = getattr(getattr(error, "error_code", None), "value", None) or headers.get("x-ms-error-code")
    code = str(code or error.reason)
    facts: dict[str, Any] = {
        "status": error.status_code,
        "code": code,
        "request_id": headers.get("x-ms-request-id"),
        "uri": place,
    }
    if "x-ms-request-id" not in headers:  # every answer of a Blob service has one; proxies and web servers have none
        reason = f"{error.status_code} {code} came from something else"
        return StorageError(f"{place} is on no Blob service", cause=reason, next_step=_check_address(account), **facts)
    if error.status_code == 404:  # noqa: PLR2004 - HTTP
        return not_found(uri, code, facts)
    if error.status_code == 412:  # noqa: PLR2004 - a condition of ours was not met: the version that we read
        return StorageError(f"{place} changed while it was being read", cause=code, next_step="copy it again", **facts)
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
