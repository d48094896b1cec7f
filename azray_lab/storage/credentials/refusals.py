"""What mends a request that the Blob service refused (401, 403), by what it was opened with and the service's code.

Codes: https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azray_lab.storage.credentials.account import Account

_UNAUTHORIZED = 401


def mending(account: Account, status: int, code: str) -> str:
    """The command, or the change, that mends it."""
    name = account.name or "ACCOUNT"
    if code == "KeyBasedAuthenticationNotPermitted":
        return "the account takes no keys: unset the key and export AZURE_STORAGE_AUTH_MODE=default (az login)"
    if code == "PublicAccessNotPermitted" or account.mode == "anonymous":
        return "export AZURE_STORAGE_CONNECTION_STRING='...', or az login and AUTH_MODE=cli: it is private"
    if account.identity is not None or code == "AuthorizationPermissionMismatch":
        return _identity(account, status, name)
    if code == "AuthorizationFailure":
        return f"az storage account show --name {name} --query networkRuleSet (does a firewall keep this machine out?)"
    if account.sas:
        return f"az storage container generate-sas --account-name {name} ...: it has expired or lacks a right"
    return f"check {account.source} against: az storage account keys list --account-name {name}"


def _identity(account: Account, status: int, name: str) -> str:
    identity = account.identity
    if status == _UNAUTHORIZED:
        tenant = f" --tenant {identity.tenant}" if identity and identity.tenant else ""
        return f"az login{tenant}: the account belongs to another tenant, or the sign-in has expired"
    who = identity.client if identity and identity.client else '"$(az ad signed-in-user show --query id -o tsv)"'
    scope = f'"$(az storage account show --name {name} --query id -o tsv)"'
    return f"az role assignment create --role 'Storage Blob Data Contributor' --assignee {who} --scope {scope}"
