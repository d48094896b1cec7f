"""The one grammar of Blob URIs: all the ways in which the field writes a place, one value, one canonical form.

| form | example |
|---|---|
| short: the account comes from the environment | `az://container/path`, `abfs[s]://container/path` |
| Ray's runtime environments | `azure://container/path` |
| Hadoop's | `abfs[s]://container@account.dfs.core.windows.net/path` |
| Hadoop's older one | `wasb[s]://container@account.blob.core.windows.net/path` |
| Ray LLM's | `azure://container@account.blob.core.windows.net/path` |
| without a credential | `azure://anonymous@account.blob.core.windows.net/container/path`, `az://anonymous@data/path` |
| the blob's address | `https://account.blob.core.windows.net/container/path`, perhaps with `?` and a signature |
| an emulator's address | `http://127.0.0.1:10000/devstoreaccount1/container/path` |
| an emulator by the other forms | `abfs://container@127.0.0.1:10000/devstoreaccount1/path` |

The canonical form is the short one, or else the address. Clouds of their own (`blob.core.chinacloudapi.cn`, ...) and
zones are in the host's name. `dfs` hosts become `blob`: the same account answers under both.

A path after anything but `http` is the blob's name as it is: `%20` there is three characters and `?` is one of the
name. The addresses are URLs: names are percent-encoded, and what follows `?` is a shared access signature. A signature
is also taken from the forms that name an account, and refused where none is named, for it belongs to one.
Names: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote, urlsplit

from azray_lab.errors import UsageError, nearest

_NAMES = ("az", "abfs", "abfss", "azure", "wasb", "wasbs")
_ADDRESSES = ("https", "http")
_SECURE = ("abfss", "wasbs")  # the others are plain on emulators, as emulators are
_CONTAINER = re.compile(r"(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$(?:root|web|logs))", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
_SIGNED = re.compile(r"\?(?:.*&)?sig=", re.IGNORECASE | re.DOTALL)
_ANONYMOUS = "anonymous"
_MAX_CONTAINER = 63
_MAX_NAME = 1024
_EXAMPLE = "write it as az://container/path"
_ADDRESS_EXAMPLE = "write it as https://account.blob.core.windows.net/container/path"


@dataclass(frozen=True)
class BlobUri:
    """A storage account, a container of it, or a blob or folder in one. `str()` is its canonical form.

    `endpoint` is the account's address without a slash at the end, or empty: the account of the environment. Two hints
    say how to open it and take no part in comparisons: `sas`, a shared access signature, which is never shown, and
    `anonymous`, which asks for no credential at all.
    """

    container: str = ""
    path: str = ""
    endpoint: str = ""
    sas: str = field(default="", repr=False, compare=False)
    anonymous: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        _check_names(self.container, self.path)
        if self.sas and not self.endpoint:
            raise _belongs_nowhere()

    @classmethod
    def parse(cls, text: str | BlobUri) -> BlobUri:
        """The value of any of the forms; UsageError, that never quotes a signature, when it is none of them."""
        if isinstance(text, BlobUri):
            return text
        scheme, found, rest = text.partition("://")
        if not found:
            raise UsageError(f"{_shown(text)!r} is no Blob URI", next_step=_EXAMPLE)
        scheme = scheme.lower()
        if scheme not in _NAMES + _ADDRESSES:
            raise UsageError(
                f"{_shown(scheme)}:// is no Blob URI.{nearest(scheme, _NAMES + _ADDRESSES)}",
                cause="known: " + ", ".join(_NAMES + _ADDRESSES),
                next_step=_EXAMPLE,
            )
        # The query of an address may stand right behind its host.
        place = rest.partition("/")[0].partition("?")[0]
        user, _, host = place.rpartition("@")
        path = rest[len(place) :]
        if scheme in _ADDRESSES:
            return _of_address(scheme, user, host, path)
        if user and (user != _ANONYMOUS or "." in host or ":" in host):
            return _of_name(scheme, user, host, path)
        # A blob may be called like a signature, but who writes one here has it from an address.
        if _SIGNED.search(path):
            raise _belongs_nowhere()
        if path.startswith("?"):
            raise _no_signature()
        return cls(host, path.removeprefix("/"), anonymous=user == _ANONYMOUS)

    @property
    def account(self) -> str:
        """The storage account's name; empty when it comes from the environment."""
        return account_name(self.endpoint)

    @property
    def name(self) -> str:
        """The last part of the path, as a file would be called."""
        return self.path.rstrip("/").rpartition("/")[2]

    def __truediv__(self, name: str) -> BlobUri:
        """The blob `name` inside this folder or container."""
        base = self.path.rstrip("/")
        return replace(self, path=f"{base}/{name}" if base else name)

    def __str__(self) -> str:
        hint = f"{_ANONYMOUS}@" if self.anonymous else ""
        if self.endpoint:
            scheme, _, host = self.endpoint.partition("://")
            place = f"{scheme}://{hint}{host}/{self.container}/{quote(self.path, safe='/~')}"
        else:
            place = f"az://{hint}{self.container}/{self.path}"
        return place if self.path else place[:-1] if self.container else place.removesuffix("/")


def unsigned(text: str) -> str:
    """`text`, perhaps a URI, as it can be shown: with the word SIGNATURE in place of one that stands behind `?`."""
    found = _SIGNED.search(text)
    return f"{text[: found.start()]}?SIGNATURE" if found else text


def account_name(endpoint: str) -> str:
    """The account whose address `endpoint` is: its path, as emulators have it, or else the host's first word."""
    parts = urlsplit(endpoint)
    return parts.path.strip("/") or (parts.hostname or "").partition(".")[0]


def is_uri(text: str) -> bool:
    """Whether `text` is written as a URI, and so is no local path."""
    return "://" in text


def _of_name(scheme: str, user: str, host: str, path: str) -> BlobUri:
    """`container@host/path`, or `anonymous@host/container/path`; for an emulator the account comes first."""
    path, sas = _split_signature(path)
    if path.startswith("?"):
        raise _no_signature()
    path = path.removeprefix("/")
    host = _checked(host).lower()
    local = has_account_in_path(host)
    if local and _ACCOUNT.fullmatch(host) and host != "localhost":  # container@account
        host, local = f"{host}.blob.core.windows.net", False
    endpoint = _endpoint("http" if local and scheme not in _SECURE else "https", host)
    if local:
        account, _, path = path.partition("/")
        endpoint = _with_account(endpoint, account)
    if user != _ANONYMOUS:
        return BlobUri(user, path, endpoint, sas)
    container, _, path = path.partition("/")
    return BlobUri(container, path, endpoint, sas, anonymous=True)


def _of_address(scheme: str, user: str, host: str, rest: str) -> BlobUri:
    if user not in {"", _ANONYMOUS}:
        raise UsageError("an address has no user and no password", next_step=_ADDRESS_EXAMPLE)
    endpoint = _endpoint(scheme, _checked(host))
    address, _, query = rest.partition("?")
    path = address.removeprefix("/")
    if query and not _SIGNED.search(f"?{query}"):
        raise _no_signature()
    if has_account_in_path(host):
        account, _, path = path.partition("/")
        endpoint = _with_account(endpoint, account)
    container, _, name = path.partition("/")
    try:
        names = unquote(container, errors="strict"), unquote(name, errors="strict")
    except UnicodeDecodeError as error:
        raise UsageError(f"{address!r} is not percent-encoded UTF-8", next_step=_EXAMPLE) from error
    return BlobUri(*names, endpoint, query, anonymous=user == _ANONYMOUS)


def _no_signature() -> UsageError:
    return UsageError("what follows ? is no signature", cause="it has no sig=", next_step=_ADDRESS_EXAMPLE)


def _split_signature(path: str) -> tuple[str, str]:
    if not _SIGNED.search(path):
        return path, ""
    name, _, sas = path.partition("?")
    return name, sas


def _checked(host: str) -> str:
    if not _HOST.fullmatch(host):
        raise UsageError(f"{_shown(host)!r} is no host name", next_step=_ADDRESS_EXAMPLE)
    return host


def _endpoint(scheme: str, host: str) -> str:
    """The account's address: lower case, without the port that the scheme has anyway, `blob` in place of `dfs`."""
    host = host.lower().removesuffix(":443" if scheme == "https" else ":80")
    return f"{scheme}://{host.replace('.dfs.', '.blob.', 1)}"


def _with_account(endpoint: str, account: str) -> str:
    if not account:
        raise UsageError(f"{endpoint} names no account", next_step=f"write it as {endpoint}/account/container/path")
    return f"{endpoint}/{account}"


def has_account_in_path(host: str) -> bool:
    """Whether the account is the first part of the path and not of the host: so for an IP address and a bare name."""
    if host.startswith("["):
        return True
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
            f"{_shown(container)!r} is no name of a container",
            cause="that is 3 to 63 characters: a-z, 0-9 and single hyphens between them",
            next_step=_EXAMPLE,
        )
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{_shown(path)!r} is not Unicode", cause="blob names are UTF-8", next_step="rename the file"
        ) from error
    if len(path) > _MAX_NAME:
        raise UsageError("the blob's name is too long", cause=f"{len(path)} characters, Azure allows {_MAX_NAME}")
    # HTTP clients resolve such parts before they ask, so that another blob would be read or written.
    if any(part in {".", ".."} for part in path.split("/")):
        raise UsageError(
            f"{_shown(path)!r} has a part `.` or `..`",
            cause="HTTP takes such parts out",
            next_step="write the path without them",
        )


def _belongs_nowhere() -> UsageError:
    return UsageError(
        "a signature stands behind a URI that names no account",
        cause="it belongs to the address that it was made for",
        next_step=f"{_ADDRESS_EXAMPLE}?SIGNATURE",
    )


def _shown(text: str) -> str:
    """What of a wrong URI can be repeated: nothing behind `?`, where a signature may be, or before `@`."""
    return text.partition("?")[0].rpartition("@")[2]
