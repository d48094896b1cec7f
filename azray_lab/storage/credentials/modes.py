"""The ways to open a storage account, and the names of the variables that give what they need."""

from __future__ import annotations

from typing import Literal, get_args

from azray_lab.errors import CredentialError, nearest

Mode = Literal[
    "connection_string",
    "account_key",
    "sas",
    "workload_identity",
    "managed_identity",
    "service_principal",
    "cli",
    "default",
    "anonymous",
]
MODES: tuple[Mode, ...] = get_args(Mode)
IDENTITIES = frozenset({"workload_identity", "managed_identity", "service_principal", "cli", "default"})
"""The modes that ask Entra ID for tokens."""

AUTH_MODE = "AZURE_STORAGE_AUTH_MODE"
CONNECTION_STRING = "AZURE_STORAGE_CONNECTION_STRING"
ACCOUNT_URL = "AZURE_STORAGE_ACCOUNT_URL"
ACCOUNT = "AZURE_STORAGE_ACCOUNT"
KEY = "AZURE_STORAGE_KEY"
SAS = "AZURE_STORAGE_SAS_TOKEN"
CONTAINER = "AZURE_STORAGE_CONTAINER"
TENANT = "AZURE_TENANT_ID"
CLIENT = "AZURE_CLIENT_ID"
SECRET = "AZURE_CLIENT_SECRET"  # noqa: S105 - the name of a variable
CERTIFICATE = "AZURE_CLIENT_CERTIFICATE_PATH"
CERTIFICATE_PASSWORD = "AZURE_CLIENT_CERTIFICATE_PASSWORD"  # noqa: S105 - the name of a variable
TOKEN_FILE = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 - the name of a variable
ASSERTION = "AZURE_USER_ASSERTION"
AUTHORITY = "AZURE_AUTHORITY_HOST"

VARIABLES = (
    *(AUTH_MODE, CONNECTION_STRING, ACCOUNT_URL, ACCOUNT, KEY, SAS, CONTAINER),
    *(TENANT, CLIENT, SECRET, CERTIFICATE, CERTIFICATE_PASSWORD, TOKEN_FILE, ASSERTION, AUTHORITY),
)
"""Every variable that this package reads for credentials."""


# What Azure's CLI calls them, which reads the same variable: `az storage ... --auth-mode`.
_OF_THE_CLI = {"login": "cli", "key": "account_key"}


def parse_mode(text: str, source: str = AUTH_MODE) -> Mode:
    """The mode that `text` names in any case; CredentialError that lists the modes when it names none."""
    wanted = text.strip().lower().replace("-", "_")
    wanted = _OF_THE_CLI.get(wanted, wanted)
    for mode in MODES:
        if mode == wanted:
            return mode
    raise CredentialError(
        f"{source} names no way to open a storage account: {text!r}.{nearest(wanted, MODES)}",
        cause="the modes are " + ", ".join(MODES),
        next_step=f"export {AUTH_MODE}=default",
        modes=list(MODES),
    )
