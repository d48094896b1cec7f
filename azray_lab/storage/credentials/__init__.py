"""Which storage account is meant, and what opens it: from the environment, from a mapping, or from arguments.

| variable | meaning |
|---|---|
| `AZURE_STORAGE_AUTH_MODE` | one of the modes below; unset: the first that is there, in this order |
| `AZURE_STORAGE_CONNECTION_STRING` | account and key (or signature) in one; Azurite's too |
| `AZURE_STORAGE_ACCOUNT_URL` | the account's address, perhaps with a signature behind `?` |
| `AZURE_STORAGE_ACCOUNT` | the account's name, short for `https://NAME.blob.core.windows.net` |
| `AZURE_STORAGE_KEY`, `AZURE_STORAGE_SAS_TOKEN` | its key; a shared access signature |
| `AZURE_STORAGE_CONTAINER` | the container where none is named |
| `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` | a service principal; the client id of an identity |
| `AZURE_CLIENT_CERTIFICATE_PATH`, `AZURE_CLIENT_CERTIFICATE_PASSWORD` | its certificate, in place of the secret |
| `AZURE_FEDERATED_TOKEN_FILE` | the token of a workload identity (AKS) |
| `AZURE_USER_ASSERTION` | a user's token, on whose behalf the service principal asks; ours, others do not know it |
| `AZURE_AUTHORITY_HOST` | where Entra ID answers; default: the public cloud |

The names are those of Azure's CLI and of azure-identity. Importing this loads neither; `azure.identity` is imported
when a token is asked for.
"""

from azray_lab.storage.credentials.account import Account
from azray_lab.storage.credentials.choosing import account_of
from azray_lab.storage.credentials.given import Credentials, credentials
from azray_lab.storage.credentials.identity import Identity
from azray_lab.storage.credentials.modes import MODES, Mode, parse_mode
from azray_lab.storage.credentials.tokens import SCOPE, Tokens

__all__ = [
    "MODES",
    "SCOPE",
    "Account",
    "Credentials",
    "Identity",
    "Mode",
    "Tokens",
    "account_of",
    "credentials",
    "parse_mode",
]
