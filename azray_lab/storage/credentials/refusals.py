"""What mends a request that the Blob service refused (401, 403), by what it was opened with and the service's code.

Codes: https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from azray_lab.storage.credentials.account import Account

_UNAUTHORIZED = 401
_OF_ACCOUNTS = {
    "AccountIsDisabled": "enable the subscription (bills, spending limit): az account list --query '[].[name,state]'",
    "KeyBasedAuthenticationNotPermitted": (
        "the account takes no keys: unset the key and export AZURE_STORAGE_AUTH_MODE=default (az login)"
    ),
}
# What a signature lacks, by the code with which it is refused: a role given to somebody does not mend it.
_OF_SIGNATURES = {
    "AuthorizationPermissionMismatch": "with the permissions that are needed",
    "AuthorizationResourceTypeMismatch": "for containers and blobs (--resource-types sco)",
    "AuthorizationServiceMismatch": "for the Blob service (--services b)",
    "AuthorizationProtocolMismatch": "for https, and use https",
    "AuthorizationSourceIPMismatch": "for this machine's address",
}


def mending(account: Account, status: int, code: str) -> str:
    """The command, or the change, that mends it."""
    name = account.name or "ACCOUNT"
    if code in _OF_ACCOUNTS:
        return _OF_ACCOUNTS[code]
    if code == "PublicAccessNotPermitted" or account.mode == "anonymous":
        return "export AZURE_STORAGE_CONNECTION_STRING='...', or az login and AUTH_MODE=cli: it is private"
    if account.identity is not None or (code == "AuthorizationPermissionMismatch" and not account.sas):
        return _identity(account, status, name)
    if account.sas and (code != "AuthorizationFailure" or _ended(account.sas)):
        lacks = _OF_SIGNATURES.get(code, "in place of this one, which has expired or is not whole")
        return f"make a new signature {lacks}: {_making(account.sas, name)}"
    if code == "AuthorizationFailure":
        return f"az storage account show --name {name} --query networkRuleSet (does a firewall keep this machine out?)"
    return f"check {account.source} against: az storage account keys list --account-name {name}"


def _ended(sas: str) -> bool:
    """Whether a signature says by itself that its time is over; to the minute, in UTC."""
    until = parse_qs(sas).get("se", [""])[0][:16]
    return bool(until) and until < time.strftime("%Y-%m-%dT%H:%M", time.gmtime())


def _making(sas: str, name: str) -> str:
    """The command that makes a signature like `sas`, with the permissions that reading and writing need."""
    given = parse_qs(sas)
    has = f" (this one has sp={given['sp'][0]})" if "sp" in given else ""
    if "ss" in given:
        return f"az storage account generate-sas --account-name {name} --services b --permissions racwdl ...{has}"
    return f"az storage container generate-sas --account-name {name} --permissions racwdl ...{has}"


def _identity(account: Account, status: int, name: str) -> str:
    identity = account.identity
    if status == _UNAUTHORIZED:
        tenant = f" --tenant {identity.tenant}" if identity and identity.tenant else ""
        return f"az login{tenant}: the account belongs to another tenant, or the sign-in has expired"
    who = identity.client if identity and identity.client else '"$(az ad signed-in-user show --query id -o tsv)"'
    scope = f'"$(az storage account show --name {name} --query id -o tsv)"'
    return f"az role assignment create --role 'Storage Blob Data Contributor' --assignee {who} --scope {scope}"
