"""From an identity to azure-identity's credentials, which do the asking; it is imported when it is their turn.

https://learn.microsoft.com/python/api/azure-identity, version 1.19 and later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from azray_lab.storage.credentials.identity import Identity

# What fails is raised as an error; without a handler Python would print azure-identity's warnings, too.
logging.getLogger("azure").addHandler(logging.NullHandler())
# The Azure CLI takes 1 to 4 s on an idle machine; its own limit of 10 s is short on a busy one.
_CLI_SECONDS = 30
# Entra ID hosts that azure-identity knows; any other is a private one, which is not asked whom it trusts.
_KNOWN_HOSTS = ("login.microsoftonline.com", "login.microsoftonline.us", "login.chinacloudapi.cn")

Credential = Any


def parts(who: Identity) -> list[tuple[str, Callable[[], Credential]]]:
    """What is asked for tokens, in order, each with its name and what makes it.

    The default chain is that of DefaultAzureCredential, but for what opens a window, and it takes its variables from
    the identity, so that a mapping given by a program works as the environment does.
    """
    if who.mode != "default":
        return [(who.mode, _MAKERS[who.mode](who))]
    chain = ["managed_identity", "cli", "azure_developer_cli", "powershell"]
    if who.token_file and who.client and who.tenant:
        chain.insert(0, "workload_identity")
    if who.client and who.tenant and (who.secret or who.certificate):
        chain.insert(0, "service_principal")
    return [(name, _MAKERS[name](who)) for name in chain]


def _authority(who: Identity) -> dict[str, Any]:
    if not who.authority:
        return {}
    url = who.authority if "://" in who.authority else f"https://{who.authority}"
    known = (urlsplit(url).hostname or "").lower() in _KNOWN_HOSTS
    # Else azure-identity asks the public cloud whether it knows this authority.
    return {"authority": url} if known else {"authority": url, "disable_instance_discovery": True}


def _service_principal(who: Identity) -> Callable[[], Credential]:
    def make() -> Credential:
        from azure.identity import CertificateCredential, ClientSecretCredential, OnBehalfOfCredential

        if who.assertion:
            proof: dict[str, Any] = {"client_secret": who.secret} if who.secret else _certificate(who)
            return OnBehalfOfCredential(
                who.tenant, who.client, user_assertion=who.assertion, **proof, **_authority(who)
            )
        if who.secret:
            return ClientSecretCredential(who.tenant, who.client, who.secret, **_authority(who))
        password = who.certificate_password or None
        return CertificateCredential(who.tenant, who.client, who.certificate, password=password, **_authority(who))

    return make


def _certificate(who: Identity) -> dict[str, Any]:
    return {"client_certificate": Path(who.certificate).read_bytes(), "password": who.certificate_password or None}


def _workload_identity(who: Identity) -> Callable[[], Credential]:
    def make() -> Credential:
        from azure.identity import WorkloadIdentityCredential

        return WorkloadIdentityCredential(
            tenant_id=who.tenant, client_id=who.client, token_file_path=who.token_file, **_authority(who)
        )

    return make


def _managed_identity(who: Identity) -> Callable[[], Credential]:
    def make() -> Credential:
        from azure.identity import ChainedTokenCredential, ManagedIdentityCredential

        # Inside a chain it looks for a second whether there is an endpoint; alone it would ask for minutes.
        return ChainedTokenCredential(ManagedIdentityCredential(client_id=who.client or None))

    return make


def _cli(who: Identity) -> Callable[[], Credential]:
    def make() -> Credential:
        from azure.identity import AzureCliCredential

        return AzureCliCredential(tenant_id=who.tenant, process_timeout=_CLI_SECONDS)

    return make


def _developer_cli(who: Identity) -> Callable[[], Credential]:
    def make() -> Credential:
        from azure.identity import AzureDeveloperCliCredential

        return AzureDeveloperCliCredential(tenant_id=who.tenant)

    return make


def _powershell(who: Identity) -> Callable[[], Credential]:
    def make() -> Credential:
        from azure.identity import AzurePowerShellCredential

        return AzurePowerShellCredential(tenant_id=who.tenant)

    return make


_MAKERS: dict[str, Callable[[Identity], Callable[[], Credential]]] = {
    "service_principal": _service_principal,
    "workload_identity": _workload_identity,
    "managed_identity": _managed_identity,
    "cli": _cli,
    "azure_developer_cli": _developer_cli,
    "powershell": _powershell,
}
