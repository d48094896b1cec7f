"""The one grammar of Blob URIs: four ways to write the same place, one value.

| form | example |
|---|---|
| short: the account comes from the environment | `az://container/path` (also `abfs://container/path`) |
| Hadoop's | `abfss://container@account.dfs.core.windows.net/path` |
| the blob's address | `https://account.blob.core.windows.net/container/path` |
| an emulator's address | `http://127.0.0.1:10000/devstoreaccount1/container/path` |

The path of the first two is the blob's name as it is: `%20` there is three characters and `?` is one of the name. The
addresses are URLs: names are percent-encoded, and what follows `?` is a shared access signature.
Names: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit

from azray_lab.errors import UsageError, nearest

_SHORT = ("az", "abfs", "abfss")
_SCHEMES = (*_SHORT, "https", "http")
_CONTAINER = re.compile(r"(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$(?:root|web|logs))", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?", re.ASCII)
_MAX_CONTAINER = 63
_MAX_NAME = 1024
_EXAMPLE = "write it as az://container/path"


@dataclass(frozen=True)
class BlobUri:
    """A storage account, a container of it, or a blob or folder in one. `str()` is its canonical form.

    `endpoint` is the account's address without a slash at the end, or empty: the account of the environment. `sas` is
    the shared access signature of an address; it is never shown and takes no part in comparisons.
    """

    container: str = ""
    path: str = ""
    endpoint: str = ""
    sas: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self.container, self.path)

    @classmethod
    def parse(cls, text: str | BlobUri) -> BlobUri:
        """The value of any of the four forms; UsageError, that never quotes a signature, when it is none of them."""
        if isinstance(text, BlobUri):
            return text
        scheme, found, rest = text.partition("://")
        if not found:
            raise UsageError(f"{_without_query(text)!r} is no Blob URI", next_step=_EXAMPLE)
        if (scheme := scheme.lower()) in _SHORT:
            return _parse_short(rest)
        if scheme in {"https", "http"}:
            return _parse_address(scheme, rest)
        raise UsageError(
            f"{scheme}:// is no Blob URI.{nearest(scheme, _SCHEMES)}",
            cause="known: " + ", ".join(_SCHEMES),
            next_step=_EXAMPLE,
        )

    @property
    def account(self) -> str:
        """The storage account's name; empty when it comes from the environment."""
        if not self.endpoint:
            return ""
        parts = urlsplit(self.endpoint)
        return parts.path.lstrip("/") or (parts.hostname or "").partition(".")[0]

    @property
    def name(self) -> str:
        """The last part of the path, as a file would be called."""
        return self.path.rstrip("/").rpartition("/")[2]

    def __truediv__(self, name: str) -> BlobUri:
        """The blob `name` inside this folder or container."""
        base = self.path.rstrip("/")
        return replace(self, path=f"{base}/{name}" if base else name)

    def __str__(self) -> str:
        if self.endpoint:
            place = f"{self.endpoint}/{self.container}/{quote(self.path, safe='/~')}"
        else:
            place = f"az://{self.container}/{self.path}"
        return place if self.path else place.rstrip("/") + ("" if self.container else "/")


def is_uri(text: str) -> bool:
    """Whether `text` is written as a URI, and so is no local path."""
    return "://" in text


def _parse_short(rest: str) -> BlobUri:
    place, _, path = rest.partition("/")
    container, at, host = place.rpartition("@")
    if not at:
        return BlobUri(place, path)
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"{host!r} is no host name", next_step="write it as abfss://container@account.dfs.core.windows.net/path"
        )
    # The same account answers Blob requests under `blob` and file system requests under `dfs`.
    return BlobUri(container, path, f"https://{host.lower().replace('.dfs.', '.blob.', 1)}")


def _parse_address(scheme: str, rest: str) -> BlobUri:
    address, _, query = rest.partition("?")
    host, _, path = address.partition("/")
    if not _HOST.fullmatch(host):
        raise UsageError(
            f"{host!r} is no host name", next_step="write it as https://account.blob.core.windows.net/container"
        )
    endpoint = f"{scheme}://{host.lower()}"
    if has_account_in_path(host):
        account, _, path = path.partition("/")
        if not account:
            raise UsageError(f"{endpoint} names no account", next_step=f"write it as {endpoint}/account/container/path")
        endpoint += f"/{account}"
    container, _, name = path.partition("/")
    try:
        return BlobUri(unquote(container, errors="strict"), unquote(name, errors="strict"), endpoint, sas=query)
    except UnicodeDecodeError as error:
        raise UsageError(f"{_without_query(rest)!r} is not percent-encoded UTF-8", next_step=_EXAMPLE) from error


def has_account_in_path(host: str) -> bool:
    """Whether the account is the first part of the path and not of the host: so for an IP address and a bare name."""
    bare = host.partition(":")[0]
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        return "." not in bare
    return True


def _check_names(container: str, path: str) -> None:
    if not container and path:
        raise UsageError("the URI names no container", next_step=_EXAMPLE)
    if container and (len(container) > _MAX_CONTAINER or not _CONTAINER.fullmatch(container)):
        raise UsageError(
            f"{_without_query(container)!r} is no name of a container",
            cause="that is 3 to 63 characters: a-z, 0-9 and single hyphens between them",
            next_step=_EXAMPLE,
        )
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{path!r} is not Unicode", cause="blob names are UTF-8", next_step="rename the file"
        ) from error
    if len(path) > _MAX_NAME:
        raise UsageError("the blob's name is too long", cause=f"{len(path)} characters, Azure allows {_MAX_NAME}")
    # HTTP clients resolve such parts before they ask, so that another blob would be read or written.
    if any(part in {".", ".."} for part in path.split("/")):
        raise UsageError(f"{_without_query(path)!r} has a part . or ..", next_step="write the path without them")


def _without_query(text: str) -> str:
    return text.partition("?")[0]
