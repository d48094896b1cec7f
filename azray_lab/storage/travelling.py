"""How a file system goes to another process: in a pickle with its keys, as JSON with what was said in plain only."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from azray_lab.storage.credentials import Credentials
from azray_lab.storage.credentials.modes import AUTH_MODE, IDENTITIES

if TYPE_CHECKING:
    from azray_lab.storage.credentials import Account

# adlfs's names for credentials, and ours.
ADLFS = {
    "account_name": "account",
    "account_key": "account_key",
    "connection_string": "connection_string",
    "sas_token": "sas",
    "tenant_id": "tenant",
    "client_id": "client_id",
    "client_secret": "client_secret",
}
_SECRETS = frozenset({"account_key", "connection_string", "sas_token", "client_secret"})


class Travelling:
    """The part of the file system that describes it."""

    account: Account
    storage_args: tuple[Any, ...]
    storage_options: dict[str, Any]

    def __reduce__(self) -> Any:
        # An identity does not travel: the other process has its own. Keys and signatures do.
        options = {**self.storage_options, "credentials": Credentials(variables(self.account))}
        if self.account.mode in IDENTITIES:
            options.pop("credentials")
        for name in ADLFS:
            options.pop(name, None)
        return functools.partial(type(self), **options), (self.account.endpoint,)

    def to_dict(self, *, include_password: bool = True) -> dict[str, Any]:
        """The arguments as plain JSON, for `from_dict`; `to_json` and `from_json` are the same as text.

        Secrets are in it that were given by adlfs's names as storage options, unless `include_password` is false;
        never those of a `credentials` object or of the environment: who reads it has its own.
        """
        from fsspec.json import FilesystemJSONEncoder

        plain = FilesystemJSONEncoder().make_serializable
        left_out = {"credentials", *(() if include_password else _SECRETS)}
        options = {name: one for name, one in self.storage_options.items() if one is not None and name not in left_out}
        if self.account.mode == "anonymous" and self.account.chosen:
            options["anon"] = True
        args = list(self.storage_args) if _SECRETS & set(options) else [self.account.endpoint]
        kind = type(self)
        return {"cls": f"{kind.__module__}:{kind.__name__}", "protocol": "azray", "args": args, **plain(options)}


def variables(account: Account) -> dict[str, str]:
    """The environment of an account, less its mode when nobody chose it: a public container is then still tried."""
    found = account.environment()
    if not account.chosen:
        del found[AUTH_MODE]
    return found
