"""How blobfuse2 opens an account: every mode, and where its secret is and is not."""

from __future__ import annotations

import pytest

from azray_lab.errors import UnsupportedError
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.blobfuse.access import access
from azray_lab.storage.credentials import Account

KEY = "c2VjcmV0LWtleQ=="
URL = "https://acc.blob.core.windows.net"
PRINCIPAL = {"AZURE_TENANT_ID": "t-1", "AZURE_CLIENT_ID": "c-1"}
STRING = f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.windows.net"

MODES = [
    ({"AZURE_STORAGE_CONNECTION_STRING": STRING}, "account_key", {"mode": "key"}, {"AZURE_STORAGE_ACCESS_KEY": KEY}),
    (
        {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_KEY": KEY},
        "account_key", {"mode": "key"}, {"AZURE_STORAGE_ACCESS_KEY": KEY},
    ),
    (
        {"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=s%3D"},
        "sas", {"mode": "sas"}, {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=s%3D"},
    ),
    (
        {"AZURE_STORAGE_AUTH_MODE": "service_principal", **PRINCIPAL, "AZURE_CLIENT_SECRET": "hush"},
        "service_principal", {"mode": "spn", "tenantid": "t-1", "clientid": "c-1"},
        {"AZURE_STORAGE_SPN_CLIENT_SECRET": "hush"},
    ),
    (
        {"AZURE_STORAGE_AUTH_MODE": "workload_identity", **PRINCIPAL, "AZURE_FEDERATED_TOKEN_FILE": "/run/token"},
        "workload_identity",
        {"mode": "spn", "tenantid": "t-1", "clientid": "c-1", "oauth-token-path": "/run/token"}, {},
    ),
    (
        {"AZURE_STORAGE_AUTH_MODE": "managed_identity", "AZURE_CLIENT_ID": "c-2"},
        "managed_identity", {"mode": "msi", "appid": "c-2"}, {},
    ),
    ({"AZURE_STORAGE_AUTH_MODE": "cli"}, "cli", {"mode": "azcli"}, {}),
    ({"IDENTITY_ENDPOINT": "http://169.254.0.1/"}, "managed_identity", {"mode": "msi"}, {}),
    (
        {**PRINCIPAL, "AZURE_CLIENT_SECRET": "hush", "AZURE_AUTHORITY_HOST": "login.chinacloudapi.cn"},
        "service_principal", {"mode": "spn", "aadendpoint": "https://login.chinacloudapi.cn"},
        {"AZURE_STORAGE_SPN_CLIENT_SECRET": "hush"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("environ", "mode", "settings", "secrets"), MODES)
def test_each_mode_is_blobfuse2_s(environ, mode, settings, secrets):
    """The mode's settings stand in the file, its secret in the variables alone, and in no repr."""
    environ = {"AZURE_STORAGE_ACCOUNT_URL": URL, **environ}
    opened = access(Account.of(BlobUri.parse("az://data"), environ), environ)
    assert opened.mode == mode
    assert settings.items() <= opened.settings.items()
    assert dict(opened.variables) == secrets
    assert opened.settings["account-name"] == "acc"
    assert opened.settings["use-http"] is False
    for secret in secrets.values():
        assert secret not in repr(opened)
        assert secret not in repr(dict(opened.settings))


def test_the_daemon_gets_our_account_and_nobody_else_s():
    """Variables of another account, and those by which the end of a cluster finds its processes, do not reach it."""
    environ = {"AZURE_STORAGE_CONNECTION_STRING": STRING}
    opened = access(Account.of(BlobUri.parse("az://data"), environ), environ)
    others = {"AZURE_STORAGE_SAS_TOKEN": "sig=other", "AZURE_STORAGE_ACCOUNT": "other", "AZRAY_CLUSTER_ID": "1"}
    got = opened.environment({"PATH": "/bin", "HOME": "/root", **others})
    assert got == {"PATH": "/bin", "HOME": "/root", "AZURE_STORAGE_ACCESS_KEY": KEY}


def test_an_emulator_s_account_stands_in_its_path():
    """http, and the account behind the port."""
    uri = BlobUri.parse("http://127.0.0.1:10000/devstoreaccount1/data?sv=1&sig=abc")
    opened = access(Account.of(uri, {}), {})
    assert opened.settings["endpoint"] == "http://127.0.0.1:10000/devstoreaccount1"
    assert (opened.settings["account-name"], opened.settings["use-http"]) == ("devstoreaccount1", True)


def test_without_a_credential_blobfuse2_cannot():
    """It has no anonymous mode; the error names the engine that has."""
    environ = {"AZURE_STORAGE_ACCOUNT_URL": URL, "AZURE_STORAGE_AUTH_MODE": "anonymous"}
    with pytest.raises(UnsupportedError, match="--engine hydrate"):
        access(Account.of(BlobUri.parse("az://data"), environ), environ)
