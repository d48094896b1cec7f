"""Azure's SDK for one account, with retries that end soon; adlfs reads through it what the engine does not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient as AsyncBlobServiceClient

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


def async_service(account: Account, credential: Any = None) -> AsyncBlobServiceClient:
    """An asynchronous client; `credential` is an asynchronous token credential for an account that needs one."""
    from azure.storage.blob.aio import BlobServiceClient, ExponentialRetry

    settings: dict[str, Any] = {**_TRANSPORT, "retry_policy": ExponentialRetry(**_RETRIES), "user_agent": "azray-lab"}
    if account.connection_string:
        return BlobServiceClient.from_connection_string(account.connection_string, **settings)
    url = f"{account.endpoint}?{account.sas}" if account.sas else account.endpoint
    return BlobServiceClient(url, credential=credential, **settings)
