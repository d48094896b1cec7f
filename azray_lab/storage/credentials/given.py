"""Credentials given in a program: for another tenant or subscription, for a user's behalf, for subprocesses."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CredentialError, UsageError
from azray_lab.spec import settings
from azray_lab.storage.credentials import modes
from azray_lab.storage.credentials.choosing import account_of
from azray_lab.storage.credentials.identity import Identity
from azray_lab.storage.credentials.modes import parse_mode
from azray_lab.storage.credentials.sealing import cluster_token, seal, unseal
from azray_lab.storage.credentials.tokens import SCOPE, Tokens, tokens_of

if TYPE_CHECKING:
    from azray_lab.spec.uri import BlobUri
    from azray_lab.storage.credentials.account import Account
_log = logging.getLogger("azray_lab")
# Of this process only, so that a repr that is kept somewhere is of no use for guessing.
_PROCESS = secrets.token_bytes(16)


@dataclass(frozen=True)
class Credentials:
    """What opens a storage account. Its repr says which mode, and no secret.

    Every function here that takes `environ` takes `export()`; `azray_lab.runtime_env(credentials=...)` brings it to the
    workers of a cluster.
    """

    _variables: Mapping[str, str] = field(repr=False)

    def export(self) -> dict[str, str]:
        """The environment variables for a subprocess: `subprocess.run(..., env={**os.environ, **c.export()})`.

        The names are those of Azure's CLI and azure-identity, so other programs understand them as well. Holds secrets.
        """
        return dict(self._variables)

    def account(self, uri: str | BlobUri = "az://") -> Account:
        """The account that `uri` means, opened by this; CredentialError when a part is missing. No request."""
        from azray_lab.spec.uri import BlobUri

        return account_of(BlobUri.parse(uri), self._variables)

    def token_credential(self) -> Tokens:
        """The identity, as Azure's SDKs take a credential; UsageError for keys and signatures. No request."""
        mode = parse_mode(self._variables.get(modes.AUTH_MODE, "default"))
        if mode not in modes.IDENTITIES:
            raise UsageError(f"the mode {mode} has no identity", next_step="azray_lab.credentials(mode='default')")
        return tokens_of(Identity.of(mode, self._variables))

    def check(self) -> str:
        """Asks for a token and says who got it; for keys and signatures just what they are."""
        mode = self._variables.get(modes.AUTH_MODE, "default")
        if mode not in modes.IDENTITIES:
            return mode
        tokens = self.token_credential()
        tokens.get_token(SCOPE)
        return tokens.identity.describe()

    def __reduce__(self) -> Any:
        # Ray and Tune keep pickles in files; the cluster's processes can open the seal. Elsewhere it is a plain pickle.
        if token := cluster_token():
            return _opened, (seal({"variables": dict(self._variables)}, token),)
        return Credentials, (dict(self._variables),)

    def __repr__(self) -> str:
        shown = {modes.ACCOUNT, modes.AUTH_MODE, modes.TENANT, modes.CLIENT, modes.CONTAINER, modes.AUTHORITY}
        parts = [f"{name}={value}" for name, value in sorted(self._variables.items()) if name in shown]
        # fsspec tells instances apart by the text of their arguments, so different secrets must look different.
        digest = hashlib.blake2b(repr(sorted(self._variables.items())).encode(), key=_PROCESS, digest_size=4)
        return f"Credentials({', '.join([*parts, digest.hexdigest()])})"


def _opened(text: str) -> Credentials:
    """The credentials of a sealed pickle; those of the environment where it was sealed for another cluster."""
    token = cluster_token()
    try:
        return Credentials(unseal(text, token)["variables"])
    except CredentialError:
        _log.info("a pickle's credentials were sealed for another cluster; this process's own are used")
        return credentials()


def credentials(
    mode: str | None = None,
    *,
    account: str | None = None,
    container: str | None = None,
    connection_string: str | None = None,
    account_key: str | None = None,
    sas: str | None = None,
    tenant: str | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    certificate: str | Path | None = None,
    certificate_password: str | None = None,
    user_assertion: str | None = None,
    federated_token_file: str | Path | None = None,
    authority: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Credentials:
    """Credentials from arguments; without any, those of the environment. No request.

    `account` is a name or an https:// address. `mode` need not be given where the arguments say it: a client secret or
    a `certificate` (a PEM or PKCS12 file) is a service principal, which may be of another `tenant`; with
    `user_assertion` (the user's token for that application) it acts on the user's behalf. A `client_id` alone with
    `mode="managed_identity"` names a user-assigned identity. CredentialError for an unknown mode or a missing part.
    """
    given: dict[str, Any] = {
        modes.CONTAINER: container,
        modes.CONNECTION_STRING: connection_string,
        modes.KEY: account_key,
        modes.SAS: sas,
        modes.TENANT: tenant,
        modes.CLIENT: client_id,
        modes.SECRET: client_secret,
        modes.CERTIFICATE: certificate,
        modes.CERTIFICATE_PASSWORD: certificate_password,
        modes.ASSERTION: user_assertion,
        modes.TOKEN_FILE: federated_token_file,
        modes.AUTHORITY: authority,
    }
    if account:
        given[modes.ACCOUNT_URL if "://" in account else modes.ACCOUNT] = account.rstrip("/")
    said = {name: str(value) for name, value in given.items() if value}
    variables = _surroundings(environ, said) | said
    chosen = parse_mode(mode, "mode") if mode else _mode(said, variables)
    if chosen:
        variables[modes.AUTH_MODE] = chosen
    if chosen in modes.IDENTITIES:
        _check_identity(chosen, variables, said)
    return Credentials(variables)


# Of what a service principal or a workload identity needs, by the variables.
_ARGUMENTS = {
    modes.TENANT: "tenant",
    modes.CLIENT: "client_id",
    modes.SECRET: "client_secret",
    modes.TOKEN_FILE: "federated_token_file",
}


def _check_identity(mode: modes.Mode, variables: Mapping[str, str], said: Mapping[str, str]) -> None:
    """CredentialError when a part is missing; in the words of the arguments, where any says who it is."""
    try:
        Identity.of(mode, variables)
    except CredentialError as error:
        if not said.keys() & {*_ARGUMENTS, modes.ASSERTION, modes.CERTIFICATE}:
            raise
        missing = [_ARGUMENTS[name] for name in error.facts["missing"]]
        raise CredentialError(
            f"the mode {mode} lacks {' and '.join(missing)}",
            cause=f"credentials(...) was called without {'it' if len(missing) == 1 else 'them'}",
            next_step=f"azray_lab.credentials({', '.join(f'{name}=...' for name in missing)}, ...)",
            mode=mode,
            missing=missing,
        ) from error


def _surroundings(environ: Mapping[str, str] | None, said: Mapping[str, str]) -> dict[str, str]:
    """What stays of the environment: all of it when nothing is said, else what names places and not who opens them."""
    found = {name: value for name, value in settings.azure_environment(environ).items() if name in modes.VARIABLES}
    places = {modes.ACCOUNT, modes.ACCOUNT_URL, modes.CONTAINER, modes.AUTHORITY, modes.TENANT}
    opens = set(said) - {modes.CONTAINER, modes.AUTHORITY}
    return {name: value for name, value in found.items() if not opens or name in places}


def _mode(said: Mapping[str, str], variables: Mapping[str, str]) -> modes.Mode | None:
    if modes.CONNECTION_STRING in said:
        return "connection_string"
    if modes.KEY in said:
        return "account_key"
    if modes.SAS in said:
        return "sas"
    if said.keys() & {modes.SECRET, modes.CERTIFICATE, modes.ASSERTION}:
        return "service_principal"
    if modes.TOKEN_FILE in said:
        return "workload_identity"
    return parse_mode(text) if (text := variables.get(modes.AUTH_MODE, "")) else None
