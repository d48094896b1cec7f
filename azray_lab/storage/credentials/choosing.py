"""From variables to an `Account`: which account a URI means, and which of the credentials at hand opens it.

With `AZURE_STORAGE_AUTH_MODE` that mode and no other. Without: the connection string, the key, the signature, then an
identity (the default chain); `Account.settled` adds the last, a public container. A key, signature or connection string
is used for the account it belongs to, never for another that a URI names: a signature is sent to the account that the
variables name and nowhere else, and over plain http to an emulator only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from azray_lab.errors import CredentialError, UsageError
from azray_lab.spec import settings
from azray_lab.spec.uri import BlobUri, has_account_in_path
from azray_lab.storage.credentials import modes
from azray_lab.storage.credentials.account import Account, check_key, key_string
from azray_lab.storage.credentials.identity import Identity
from azray_lab.storage.credentials.modes import Mode, parse_mode

_ACCOUNT_NAME = re.compile(r"[a-z0-9]{3,24}", re.ASCII)
# Where accounts of a national cloud answer, by the host of its Entra ID (azure-identity's AzureAuthorityHosts).
_SUFFIXES = {"login.chinacloudapi.cn": "core.chinacloudapi.cn", "login.microsoftonline.us": "core.usgovcloudapi.net"}


def account_of(uri: BlobUri, environ: Mapping[str, str] | None = None) -> Account:
    """The account that `uri` means, from `environ` (None: this process's environment). No request.

    CredentialError, which names the variables to set, when nothing says which account or what was chosen lacks a part.
    """
    return _Choice(uri, settings.azure_environment(environ)).account()


class _Choice:
    def __init__(self, uri: BlobUri, variables: Mapping[str, str]) -> None:
        self._uri = uri
        self._variables = variables
        self._mode: Mode | None = parse_mode(text) if (text := variables.get(modes.AUTH_MODE, "")) else None
        self._string: Account | None = None
        if self._mode in {None, "connection_string"} and (text := variables.get(modes.CONNECTION_STRING, "")):
            self._string = Account.from_connection_string(text)

    def account(self) -> Account:
        uri, container = self._uri, self._variables.get(modes.CONTAINER, "")
        if uri.sas:
            return Account(uri.endpoint, "the URI's signature", sas=uri.sas, mode="sas", container=container)
        if getattr(uri, "anonymous", False):
            return Account(self._endpoint()[0], "the URI", mode="anonymous")
        mode = self._mode or self._first()
        if mode == "connection_string":
            return self._with_string(container)
        if mode == "account_key":
            return self._with_key(container)
        return self._with_sas(container) if mode == "sas" else self._with_identity(mode, container)

    def _with_identity(self, mode: Mode, container: str) -> Account:
        endpoint, source, _ = self._endpoint()
        if mode == "anonymous":
            return Account(endpoint, source, mode=mode, container=container)
        identity = Identity.of(mode, self._variables)
        if self._mode and not endpoint.startswith("https://"):
            raise CredentialError(
                f"{source} gives the address {endpoint}, which the mode {mode} does not open",
                cause="a token must not travel over plain http",
                next_step=f"export {modes.CONNECTION_STRING}='...' of that account, or use an https:// address",
            )
        chosen = self._mode is not None
        return Account(endpoint, source, mode=mode, identity=identity, container=container, chosen=chosen)

    def _first(self) -> Mode:
        """The first mode whose credential is there and belongs to the account."""
        if self._string is not None and self._belongs(self._string.endpoint):
            return "connection_string"
        if self._variables.get(modes.KEY) and self._belongs(self._own()):
            return "account_key"
        url = self._variables.get(modes.ACCOUNT_URL, "")
        if (self._variables.get(modes.SAS) or "?" in url) and self._belongs(self._own()):
            return "sas"
        return "default"

    def _belongs(self, endpoint: str) -> bool:
        """Whether a credential of the account `endpoint` (empty: it does not say which) opens what `uri` means."""
        named = self._uri.endpoint
        return not named or not endpoint or urlsplit(named)[1:3] == urlsplit(endpoint)[1:3]

    def _with_string(self, container: str) -> Account:
        if self._string is None:
            raise _missing("connection_string", modes.CONNECTION_STRING)
        if not self._belongs(self._string.endpoint):
            raise CredentialError(
                f"{modes.CONNECTION_STRING} does not open {self._uri}",
                cause=f"it is that of {self._string.endpoint}",
                next_step=f"unset {modes.AUTH_MODE}, or give the connection string of {self._uri.endpoint}",
            )
        return Account(**{**vars(self._string), "container": container})

    def _with_key(self, container: str) -> Account:
        endpoint = self._endpoint()[0]
        key = self._variables.get(modes.KEY, "")
        try:
            check_key(key)
        except ValueError as error:
            raise CredentialError(
                f"{modes.KEY} is no account's key",
                cause=f"{len(key)} characters that are not base64",
                next_step=f"az storage account keys list --account-name {self._uri.account or 'ACCOUNT'}",
            ) from error
        if not key or not self._belongs(self._own()):
            raise _missing("account_key", modes.KEY)
        return Account(endpoint, modes.KEY, key_string(endpoint, key), key=key, mode="account_key", container=container)

    def _with_sas(self, container: str) -> Account:
        endpoint, source, of_url = self._endpoint()
        sas = self._variables.get(modes.SAS, "").lstrip("?") or of_url
        if not sas or not self._belongs(self._own()):
            raise _missing("sas", modes.SAS)
        source = source if of_url == sas else modes.SAS
        if self._uri.endpoint and not self._own():
            raise _whose(endpoint, self._uri.account)
        if endpoint.startswith("http://") and not _is_emulator(endpoint):
            raise CredentialError(
                f"{source} does not open {endpoint}",
                cause="a signature must not travel over plain http",
                next_step="use an https:// address",
            )
        return Account(endpoint, source, sas=sas, mode="sas", container=container)

    def _own(self) -> str:
        """The account that the variables name; empty when they name none."""
        url = self._address()[0]
        if url or not (name := self._variables.get(modes.ACCOUNT, "")):
            return url
        if not _ACCOUNT_NAME.fullmatch(name):
            raise CredentialError(
                f"{modes.ACCOUNT} is no account's name", cause=f"{name!r}", next_step=f"export {modes.ACCOUNT}=name"
            )
        authority = self._variables.get(modes.AUTHORITY, "")
        host = (urlsplit(authority if "://" in authority else f"https://{authority}").hostname or "").lower()
        return f"https://{name}.blob.{_SUFFIXES.get(host, 'core.windows.net')}"

    def _address(self) -> tuple[str, str]:
        """The address in AZURE_STORAGE_ACCOUNT_URL, and the signature behind it; both empty when it is not set."""
        place, _, sas = self._variables.get(modes.ACCOUNT_URL, "").partition("?")
        return _account_of(place) if place else "", sas

    def _endpoint(self) -> tuple[str, str, str]:
        """The account's address, where it comes from, and the signature that stood behind it."""
        if self._uri.endpoint:
            return self._uri.endpoint, "the URI", ""
        url, sas = self._address()
        if url:
            return url, modes.ACCOUNT_URL, sas
        if own := self._own():
            return own, modes.ACCOUNT, ""
        if text := self._variables.get(modes.CONNECTION_STRING):
            return Account.from_connection_string(text).endpoint, modes.CONNECTION_STRING, ""
        raise CredentialError(
            "no storage account is set",
            cause=f"none of {modes.CONNECTION_STRING}, {modes.ACCOUNT_URL} and {modes.ACCOUNT} is in the environment",
            next_step=f"export {modes.CONNECTION_STRING}='...' or {modes.ACCOUNT_URL}=https://ACCOUNT.blob.core.windows.net",
        )


def _account_of(place: str) -> str:
    """The account's address that `place` is; CredentialError when it is none, or that of something in an account."""
    example = "https://ACCOUNT.blob.core.windows.net"
    if not place.lower().startswith(("https://", "http://")):
        cause, example = f"{place!r} does not begin with https://", f"https://{place.rpartition('://')[2]}"
        raise _no_address(cause, example)
    try:
        uri = BlobUri.parse(place)
    except UsageError as error:
        raise _no_address(str(error.cause or error.message), example) from error
    if uri.container:
        raise _no_address(f"{place!r} also names a container", uri.endpoint)
    return uri.endpoint


def _no_address(cause: str, example: str) -> CredentialError:
    step = f"export {modes.ACCOUNT_URL}={example}"
    return CredentialError(f"{modes.ACCOUNT_URL} is no account's address", cause=cause, next_step=step)


def _is_emulator(endpoint: str) -> bool:
    """Whether nothing public is called so: an IP address, a bare name or one below `localhost`."""
    parts = urlsplit(endpoint)
    return has_account_in_path(parts.netloc) or (parts.hostname or "").endswith(".localhost")


def _whose(endpoint: str, name: str) -> CredentialError:
    public = endpoint == f"https://{name}.blob.core.windows.net"
    step = f"{modes.ACCOUNT}={name}" if public else f"{modes.ACCOUNT_URL}={endpoint}"
    return CredentialError(
        f"{modes.SAS} is not sent to {endpoint}",
        cause="nothing says which account it opens",
        next_step=f"export {step}, if it is that one; or write the signature behind the URI",
    )


def _missing(mode: str, variable: str) -> CredentialError:
    return CredentialError(
        f"the mode {mode} needs {variable} of that account",
        cause=f"{modes.AUTH_MODE} asks for {mode}",
        next_step=f"export {variable}='...', or unset {modes.AUTH_MODE}",
        mode=mode,
    )
