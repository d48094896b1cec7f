"""The fsspec file system for Blob storage: adlfs, with our URIs, our credentials and retries that end soon.

Importing this module loads adlfs (0.3 s); everything else in `storage` stays light.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adlfs import AzureBlobFileSystem

from azray_lab.errors import UsageError
from azray_lab.storage.clients import async_service
from azray_lab.storage.credentials import Account
from azray_lab.storage.uri import BlobUri

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


def filesystem(
    uri: str | BlobUri | None = None, *, environ: Mapping[str, str] | None = None, **options: Any
) -> AbstractFileSystem:
    """An fsspec file system for the storage account that `uri` means, or that of the environment.

    Its paths are `container/path` or `az://container/path`. It raises what fsspec and Azure's SDK raise
    (FileNotFoundError, ...). `options` are adlfs's. Listings are not cached unless `use_listings_cache=True`, for
    workers write what the driver then looks for.

    It can be pickled, and so goes to Ray's workers; **a connection string or signature travels inside the pickle**, a
    token does not (each process asks for its own). Makes no request. Raises CredentialError when no account is set.
    """
    account = Account.of(BlobUri.parse(uri or "az://"), environ)
    secrets = {"connection_string": account.connection_string, "sas": account.sas}
    return BlobFileSystem(
        endpoint=account.endpoint,
        source=account.source,
        **{name: value for name, value in secrets.items() if value},
        **{"use_listings_cache": False, **options},
    )


class BlobFileSystem(AzureBlobFileSystem):  # type: ignore[misc]  # adlfs has no types
    """adlfs for one account, given by plain strings so that fsspec can tell instances apart and pickle them."""

    protocol = ("az", "abfs", "abfss")

    def __init__(
        self, *, endpoint: str, source: str = "", connection_string: str = "", sas: str = "", **options: Any
    ) -> None:
        # do_connect, which adlfs's __init__ calls, needs it.
        self.account = Account(endpoint, source, connection_string=connection_string, sas=sas)
        # `anon` keeps adlfs from looking for credentials of its own.
        super().__init__(anon=True, account_name=BlobUri(endpoint=endpoint).account, **options)
        # adlfs fills what it was not given from the environment, which may name another account.
        self.connection_string, self.sas_token = connection_string or None, sas or None

    def do_connect(self) -> None:
        """Makes the client; adlfs calls it once. No request."""
        if not self.account.connection_string and not self.account.sas:
            from azure.identity.aio import DefaultAzureCredential

            self.credential = DefaultAzureCredential()
        self.service_client = async_service(self.account, self.credential)

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        """`container/path` of a path or short URI, as it is; adlfs's own reads `?` and `#` in names as URLs do."""
        if isinstance(path, list):
            return [cls._strip_protocol(one) for one in path]
        text = str(path)
        if "://" not in text:
            return text.lstrip("/")
        uri = BlobUri.parse(text)
        if uri.endpoint:
            raise UsageError(
                "a file system knows its own account only",
                cause=f"{uri} names an account",
                next_step="open it with azray_lab.filesystem(uri), then use paths like container/path",
            )
        return f"{uri.container}/{uri.path}" if uri.path else uri.container
