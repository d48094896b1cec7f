"""`Account`: a storage account and the way in, as a plain value."""

from __future__ import annotations

import base64
import binascii
import logging
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from azray_lab.errors import CredentialError
from azray_lab.spec.uri import account_name
from azray_lab.storage.credentials import modes, signatures
from azray_lab.storage.credentials.tokens import SCOPE, Tokens, tokens_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.credentials.identity import Identity
    from azray_lab.storage.credentials.modes import Mode

_log = logging.getLogger("azray_lab")
_PROBE_SECONDS = 5.0
# Azurite's account, the same on every machine; what UseDevelopmentStorage=true stands for (Azurite's README).
_DEVELOPMENT = {
    "AccountName": "devstoreaccount1",
    "AccountKey": "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    "BlobEndpoint": "http://127.0.0.1:10000/devstoreaccount1",
}
_KNOWN = (
    *("AccountName", "AccountKey", "BlobEndpoint", "EndpointSuffix", "DefaultEndpointsProtocol"),
    *("SharedAccessSignature", "UseDevelopmentStorage"),
)


@dataclass(frozen=True)
class Account:
    """A storage account and the way in, which `mode` names.

    `key` is set in the modes connection_string and account_key, `sas` in sas (and in connection_string, when the string
    has a signature), `identity` in those that ask for tokens; none of them for anonymous. `source` says in words where
    it comes from; `chosen` is false when nobody named a mode and `default` is only what was left. Equal accounts may
    share their clients. The secrets are in no repr.
    """

    endpoint: str
    source: str
    connection_string: str = field(default="", repr=False)
    sas: str = field(default="", repr=False)
    mode: Mode = "default"
    key: str = field(default="", repr=False)
    identity: Identity | None = None
    container: str = ""
    chosen: bool = True

    @classmethod
    def of(cls, uri: BlobUri, environ: Mapping[str, str] | None = None) -> Account:
        """The account that `uri` means: its own when it names one, else the environment's; see `choosing`."""
        from azray_lab.storage.credentials.choosing import account_of

        return account_of(uri, environ)

    @classmethod
    def from_connection_string(cls, text: str, source: str = modes.CONNECTION_STRING) -> Self:
        """The account of an Azure connection string; CredentialError, that does not quote it, when it is none."""
        try:
            parts = dict(_pairs(text))
            if parts.get("UseDevelopmentStorage", "").lower() == "true":
                parts = _DEVELOPMENT | parts
            endpoint, sas = _endpoint(parts), parts.get("SharedAccessSignature", "").lstrip("?")
            key = parts.get("AccountKey", "")
            _check(endpoint, key, sas)
        except (ValueError, KeyError) as error:
            raise CredentialError(
                f"{source} is no connection string",
                cause=f"{len(text)} characters that lack an account, or a key or signature",
                next_step="az storage account show-connection-string --name ACCOUNT",
            ) from error
        if parts.get("UseDevelopmentStorage"):
            text = key_string(endpoint, key)
        return cls(endpoint, source, connection_string=text, key=key, sas=sas, mode="connection_string")

    @property
    def name(self) -> str:
        """The storage account's name: where an address does not tell it, that of the connection string."""
        return dict(_pairs(self.connection_string)).get("AccountName") or account_name(self.endpoint)

    @property
    def opener(self) -> str:
        """Who or what opens it, in words and without secrets: an identity, or where the key or signature is from."""
        if self.mode == "anonymous":
            return "no credential"
        return self.identity.describe() if self.identity else self.source

    def token_credential(self) -> Tokens | None:
        """What gives tokens for an account that is opened by an identity; None for the others. No request.

        It is what Azure's SDKs call a TokenCredential; `Tokens.provider` is the same for obstore, `Tokens.asynchronous`
        for asyncio. Shared by the whole process, so that all clients use one token.
        """
        if self.identity is None:
            return None
        if not self.endpoint.startswith("https://"):
            raise _plain(self.endpoint, self.source)
        return tokens_of(self.identity)

    def settled(self, uri: BlobUri | None = None) -> Account:
        """This account, or its anonymous twin: when nobody chose how to open it, no identity is found here, and the
        container (or the blob) of `uri` is public. That is said in the log. Costs a look-up of the host, a token, and
        at most two requests; StorageError where there is no such host, before anybody is asked for a token.
        """  # noqa: D205 - one sentence
        if self.identity is None:
            return self
        found = _anonymous.get((self, uri.container if uri is not None else ""))
        if found is not None:
            return found
        from azray_lab.storage.engine.connections import Connections

        Connections(self.endpoint).resolve()
        if self.chosen:
            return self
        try:
            credential = self.token_credential()
            if credential is not None:
                credential.get_token(SCOPE)
        except CredentialError as error:
            if uri is None or not uri.container or not is_public(self.endpoint, uri):
                raise
            _log.warning(
                "%s/%s is public and is read without a credential (none was found: %s)",
                *(self.endpoint, uri.container, error.cause or error.message),
            )
            twin = replace(self, mode="anonymous", identity=None, source="public access", chosen=True)
            return _anonymous.setdefault((self, uri.container), twin)
        return self

    def environment(self) -> dict[str, str]:
        """The variables by which another process opens this account in the same way; holds secrets."""
        out = {modes.AUTH_MODE: self.mode, modes.ACCOUNT_URL: self.endpoint}
        if self.mode == "connection_string":
            text = self.connection_string
            out[modes.CONNECTION_STRING] = text.replace(self.sas, signatures.current(self.sas)) if self.sas else text
        elif self.mode == "account_key":
            out |= {modes.KEY: self.key, modes.ACCOUNT: self.name}
        elif self.mode == "sas":
            out |= {modes.SAS: signatures.current(self.sas), modes.ACCOUNT: self.name}
        if self.identity is not None:
            out |= self.identity.environment()
        return out | ({modes.CONTAINER: self.container} if self.container else {})


# What was found public is asked and said once in a process.
_anonymous: dict[tuple[Account, str], Account] = {}


def is_public(endpoint: str, uri: BlobUri) -> bool:
    """Whether `uri` can be read without a credential: its container listed, or its blob looked at."""
    place = f"{endpoint}/{uri.container}"
    looks = [("GET", f"{place}?restype=container&comp=list&maxresults=1")]
    if uri.path:
        looks.append(("HEAD", f"{place}/{quote(uri.path, safe='/~')}"))
    return any(_answers(method, url) for method, url in looks)


def _answers(method: str, url: str) -> bool:
    from azray_lab.storage.engine.model import API_VERSION

    request = urllib.request.Request(url, method=method, headers={"x-ms-version": API_VERSION})  # noqa: S310 - http(s)
    try:
        with urllib.request.urlopen(request, timeout=_PROBE_SECONDS):  # noqa: S310 - an account's endpoint
            return True
    except OSError:  # refused (HTTPError is one), or nobody there
        return False


def key_string(endpoint: str, key: str) -> str:
    """The connection string of an account whose key is known."""
    protocol, name = endpoint.partition(":")[0], account_name(endpoint)
    return f"DefaultEndpointsProtocol={protocol};AccountName={name};AccountKey={key};BlobEndpoint={endpoint};"


def _plain(endpoint: str, source: str) -> CredentialError:
    return CredentialError(
        f"{source} gives the address {endpoint}, and nothing that opens it",
        cause="a token must not travel over plain http",
        next_step=f"export {modes.CONNECTION_STRING}='...' of that account, or use an https:// address",
    )


def _pairs(text: str) -> list[tuple[str, str]]:
    names = {name.lower(): name for name in _KNOWN}
    pairs = []
    for part in filter(None, text.strip().split(";")):
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError("a part without =")
        pairs.append((names.get(name.strip().lower(), name), value))
    return pairs


def _endpoint(parts: Mapping[str, str]) -> str:
    if given := parts.get("BlobEndpoint", "").partition("?")[0].rstrip("/"):
        return given
    protocol, suffix = parts.get("DefaultEndpointsProtocol", "https"), parts.get("EndpointSuffix", "core.windows.net")
    if not parts["AccountName"]:
        raise ValueError("the account has no name")
    return f"{protocol}://{parts['AccountName']}.blob.{suffix}"


def _check(endpoint: str, key: str, sas: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not (key or sas):
        raise ValueError("no account, or nothing that opens it")
    check_key(key)


def check_key(key: str) -> None:
    """ValueError unless `key` could be an account's key, which is base64."""
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error as error:
        raise ValueError("the key is not base64") from error
