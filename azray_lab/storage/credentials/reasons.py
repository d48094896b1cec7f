"""Why an identity got no token, in one line, and the command that mends it: the one place that reads Entra's words.

Codes: https://learn.microsoft.com/entra/identity-platform/reference-error-codes
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from azray_lab.errors import AzRayError, CredentialError

if TYPE_CHECKING:
    from azray_lab.storage.credentials.identity import Identity

RELAYED = "azray-lab: "
"""What stands before an error of ours, as JSON, that came through another process's library."""

_CODE = re.compile(r"AADSTS\d+")
_LONGEST = 300
_SIGN_IN = "az login{tenant}"
# A code's meaning for people, and what mends it. `{client}`, `{tenant}` are the identity's.
_CODES = {
    "AADSTS50173": ("the sign-in was revoked", _SIGN_IN),
    "AADSTS70043": ("the sign-in has expired", _SIGN_IN),
    "AADSTS50078": ("the sign-in needs the second factor again", _SIGN_IN),
    "AADSTS50079": ("the sign-in needs a second factor", _SIGN_IN),
    "AADSTS700082": ("the sign-in has expired", _SIGN_IN),
    "AADSTS700024": ("the token of the workload identity has expired", "ls -l {token_file} (who renews it?)"),
    "AADSTS700213": (
        "no federated credential matches the token's subject",
        "az identity federated-credential list (compare issuer, subject and audience)",
    ),
    "AADSTS70021": (
        "no federated credential matches the token's subject",
        "az identity federated-credential list (compare issuer, subject and audience)",
    ),
    "AADSTS7002138": (
        "the federated credential's subject differs in upper and lower case",
        "az identity federated-credential update --subject ...",
    ),
    "AADSTS7000215": ("the client secret is wrong", "az ad app credential reset --id {client}"),
    "AADSTS7000222": ("the client secret has expired", "az ad app credential reset --id {client}"),
    "AADSTS700027": ("the certificate is not known", "az ad app credential list --id {client} --cert"),
    "AADSTS700016": ("the tenant does not know the application", "check AZURE_CLIENT_ID and AZURE_TENANT_ID"),
    "AADSTS90002": ("there is no such tenant", "check AZURE_TENANT_ID"),
    "AADSTS65001": ("nobody has consented to the application", "az ad app permission admin-consent --id {client}"),
    "AADSTS500133": ("the user's token has expired", "call azray_lab.credentials(...) with a new user_assertion"),
}
_ABSENT = {
    "managed_identity": "no managed identity answers here",
    "cli": "nobody is signed in to the Azure CLI",
    "azure_developer_cli": "nobody is signed in to azd",
    "powershell": "nobody is signed in to Azure PowerShell",
}
_STEPS = {
    "managed_identity": "az vm identity assign (or the same for your service), or az login and another AUTH_MODE",
    "cli": _SIGN_IN,
    "default": _SIGN_IN + ", or export AZURE_STORAGE_CONNECTION_STRING='...'",
    "service_principal": "check AZURE_TENANT_ID, AZURE_CLIENT_ID and the secret",
    "workload_identity": "check AZURE_TENANT_ID, AZURE_CLIENT_ID and {token_file}",
}


def is_absent(error: BaseException) -> bool:
    """Whether `error` says that this kind of identity is not here, so that the next may be asked."""
    # A chain of one, in which managed identities are asked, says it in words only.
    return type(error).__name__ == "CredentialUnavailableError" or "authentication unavailable" in str(error)


def error(identity: Identity, tried: Sequence[tuple[str, BaseException]]) -> AzRayError:
    """The CredentialError for an identity that got no token: who it is, what was tried, what mends it."""
    if relayed := next((found for _, cause in tried if (found := _relayed(cause))), None):
        return relayed
    name, last = tried[-1]
    refused = not is_absent(last)
    told = [(each, _words(each, cause, identity)) for each, cause in tried]
    cause = told[-1][1] if refused or len(told) == 1 else "; ".join(f"{each}: {words}" for each, words in told)
    code = _code(last)
    facts: dict[str, Any] = {"identity": identity.describe(), "mode": identity.mode, "tried": [n for n, _ in tried]}
    return CredentialError(
        f"{identity.describe()} got no token",
        cause=cause,
        next_step=_step(identity, name if refused else identity.mode, code, str(last)),
        **facts,
        **({"code": code} if code else {}),
    )


def _relayed(error: BaseException) -> CredentialError | None:
    """The error that a worker's relay gave, as it was where it happened."""
    _, found, text = str(error).partition(RELAYED)
    if not found:
        return None
    told, _ = json.JSONDecoder().raw_decode(text)
    return CredentialError(told["message"], cause=told["cause"], next_step=told["next_step"], **told["facts"])


def _code(error: BaseException) -> str:
    found = _CODE.search(str(error))
    return found[0] if found else ""


def _words(name: str, error: BaseException, identity: Identity) -> str:
    code = _code(error)
    if code in _CODES:
        return f"{_CODES[code][0]} ({code})"
    text = " ".join(str(error).split())
    if "Identity not found" in text:
        return "the machine does not have that identity" if identity.client else "the machine has no identity"
    if is_absent(error) and name in _ABSENT:
        if "not found on path" in text:
            return f"{_ABSENT[name]}: it is not installed"
        return _ABSENT[name]
    # Entra ID's answers may repeat what was sent.
    for secret in (identity.secret, identity.certificate_password, identity.assertion):
        text = text.replace(secret, "***") if secret else text
    return text[:_LONGEST] or type(error).__name__


def _step(identity: Identity, name: str, code: str, text: str) -> str:
    if code in _CODES:
        step = _CODES[code][1]
    elif name == "cli" and "not found on path" in text:
        step = "install the Azure CLI (https://aka.ms/azure-cli), then az login{tenant}"
    else:
        step = _STEPS.get(name, _SIGN_IN)
    tenant = f" --tenant {identity.tenant}" if identity.tenant else ""
    return step.format(tenant=tenant, client=identity.client, token_file=identity.token_file)
