"""The storage accounts that one piece of work talks to: one client each, made when first needed, closed at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from azray_lab.storage.clients import service, translated
from azray_lab.storage.credentials import Account

if TYPE_CHECKING:
    from types import TracebackType

    from azure.storage.blob import BlobClient, BlobServiceClient, ContainerClient
    from typing_extensions import Self

    from azray_lab.storage.uri import BlobUri


class Services:
    """Clients by account; a context manager. `environ` is where credentials come from, None: this process's."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._clients: dict[Account, BlobServiceClient] = {}
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def account(self, uri: BlobUri) -> Account:
        """The account that `uri` means; CredentialError when there is none."""
        return Account.of(uri, self._environ)

    def service(self, uri: BlobUri) -> BlobServiceClient:
        """The client of the account that `uri` means."""
        account = self.account(uri)
        if account not in self._clients:
            self._clients[account] = self._open.enter_context(service(account))
        return self._clients[account]

    def container(self, uri: BlobUri) -> ContainerClient:
        """The client of the container of `uri`."""
        return self.service(uri).get_container_client(uri.container)

    def blob(self, uri: BlobUri) -> BlobClient:
        """The client of the blob `uri`."""
        return self.service(uri).get_blob_client(uri.container, uri.path)

    @contextlib.contextmanager
    def asking(self, uri: BlobUri) -> Iterator[None]:
        """Requests about `uri` inside the block raise our errors."""
        with translated(uri, self.account(uri)):
            yield
