"""How blobfuse2 opens a storage account: from our account and the environment to its settings and its variables.

| what opens the account | blobfuse2's mode | where the secret is |
|---|---|---|
| account key | `key` | variable `AZURE_STORAGE_ACCESS_KEY` of its process |
| shared access signature | `sas` | variable `AZURE_STORAGE_SAS_TOKEN` |
| managed identity | `msi` | nowhere |
| service principal | `spn` | variable `AZURE_STORAGE_SPN_CLIENT_SECRET` |
| workload identity | `spn` with a token file | the file that Kubernetes renews |
| `az login` | `azcli` | nowhere |

Source: component/azstorage/config.go of Azure/azure-storage-fuse 2.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CredentialError, UnsupportedError
from azray_lab.spec import settings
from azray_lab.storage.blobfuse.profiles import Value

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Account

# The variables that blobfuse2 reads; another account's must not reach it.
_READ_BY_IT = ("AZURE_STORAGE_", "AZURE_OAUTH_TOKEN_FILE", "WORKLOAD_IDENTITY_TOKEN", "BLOBFUSE2_")
# A mount may outlive the cluster in which it was made, whose end takes every process that has these.
_CLUSTER = ("AZRAY_CLUSTER_", "AZRAY_NODE")
# The asset tag that every Azure VM has, and nothing else (Azure's documentation of the instance metadata service).
_ASSET_TAG = Path("/sys/class/dmi/id/chassis_asset_tag")
_AZURE_TAG = "7783-7084-3265-9085-8269-3286-77"


@dataclass(frozen=True)
class Access:
    """Settings for the file, variables for the process (they hold the secret), and the mode for people."""

    mode: str
    settings: Mapping[str, Value]
    variables: Mapping[str, str] = field(repr=False)

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` without what blobfuse2 would read of another account, and with ours."""
        kept = {name: value for name, value in base.items() if not name.startswith((*_READ_BY_IT, *_CLUSTER))}
        return {**kept, **self.variables}


def access(account: Account, environ: Mapping[str, str] | None = None) -> Access:
    """How `account` is opened; CredentialError when blobfuse2 can use none."""
    where: dict[str, Value] = {
        "type": "block",
        "account-name": account.name,
        "endpoint": account.endpoint,
        "use-http": account.endpoint.startswith("http:"),
    }
    known = settings.process_environment() if environ is None else environ
    word, own, secrets = _credential(account, known)
    return Access(word, {**where, **own}, secrets)


_Credential = tuple[str, dict[str, Value], dict[str, str]]


def _credential(account: Account, environ: Mapping[str, str]) -> _Credential:
    if account.key:
        return "account_key", {"mode": "key"}, {"AZURE_STORAGE_ACCESS_KEY": account.key}
    if account.sas:
        return "sas", {"mode": "sas"}, {"AZURE_STORAGE_SAS_TOKEN": account.sas}
    if account.mode == "anonymous":
        raise UnsupportedError(
            "blobfuse2 cannot open a container without a credential",
            cause="it has no anonymous mode",
            next_step="add --engine hydrate, which reads through our own engine",
        )
    return _identity(account.mode, {**environ, **(account.identity.environment() if account.identity else {})})


def _identity(mode: str, known: Mapping[str, str]) -> _Credential:
    """The identity of that mode; for `default` the first that is here, in DefaultAzureCredential's order."""
    tenant, client = known.get("AZURE_TENANT_ID", ""), known.get("AZURE_CLIENT_ID", "")
    secret, token = known.get("AZURE_CLIENT_SECRET", ""), known.get("AZURE_FEDERATED_TOKEN_FILE", "")
    principal: dict[str, Value] = {"mode": "spn", "tenantid": tenant, "clientid": client}
    if authority := known.get("AZURE_AUTHORITY_HOST", ""):
        principal["aadendpoint"] = authority if "://" in authority else f"https://{authority}"
    named = bool(tenant and client)
    if mode in {"default", "service_principal"} and named and secret:
        return "service_principal", principal, {"AZURE_STORAGE_SPN_CLIENT_SECRET": secret}
    if mode in {"default", "workload_identity"} and named and token:
        return "workload_identity", {**principal, "oauth-token-path": token}, {}
    if mode == "managed_identity" or (mode == "default" and _has_managed_identity(known)):
        own: dict[str, Value] = {"mode": "msi"}
        return "managed_identity", own | ({"appid": client} if client else {}), {}
    if mode in {"default", "cli"}:
        return "cli", {"mode": "azcli"}, {}
    raise CredentialError(
        f"blobfuse2 cannot open the account in the mode {mode}",
        cause="it takes a client secret or a token file with AZURE_TENANT_ID and AZURE_CLIENT_ID",
        next_step="export AZURE_STORAGE_AUTH_MODE=default, or add --engine hydrate",
    )


def reopened(settings: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, str]:
    """The variables by which our engine opens the account as a process of blobfuse2 does; the reverse of `access`.

    `settings` are those of its section `azstorage`, `variables` the process's environment.
    """
    out = {name: value for name, value in variables.items() if not name.startswith(_READ_BY_IT)}
    out["AZURE_STORAGE_ACCOUNT_URL"], out["AZURE_STORAGE_ACCOUNT"] = settings["endpoint"], settings["account-name"]
    mode = settings["mode"]
    if mode == "key":
        own = {"AUTH_MODE": "account_key", "KEY": variables["AZURE_STORAGE_ACCESS_KEY"]}
    elif mode == "sas":
        own = {"AUTH_MODE": "sas", "SAS_TOKEN": variables["AZURE_STORAGE_SAS_TOKEN"]}
    else:
        words = {"msi": "managed_identity", "azcli": "cli"}
        principal = "workload_identity" if "oauth-token-path" in settings else "service_principal"
        own = {"AUTH_MODE": words.get(mode, principal)}
    known = {
        "AZURE_TENANT_ID": settings.get("tenantid"), "AZURE_CLIENT_ID": settings.get("clientid", settings.get("appid")),
        "AZURE_CLIENT_SECRET": variables.get("AZURE_STORAGE_SPN_CLIENT_SECRET"),
        "AZURE_FEDERATED_TOKEN_FILE": settings.get("oauth-token-path"),
    }  # fmt: skip
    out |= {name: str(value) for name, value in known.items() if value}
    return out | {f"AZURE_STORAGE_{name}": value for name, value in own.items()}


def _has_managed_identity(known: Mapping[str, str]) -> bool:
    if known.get("IDENTITY_ENDPOINT") or known.get("MSI_ENDPOINT"):
        return True
    try:
        return _ASSET_TAG.read_text(encoding="ascii").strip() == _AZURE_TAG
    except OSError:
        return False
