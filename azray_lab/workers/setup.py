"""What runs first in each worker: opens the seal, sets the variables, offers tokens. Ray calls `set_up` by its name."""

from __future__ import annotations

from typing import Any

from azray_lab.spec import settings
from azray_lab.storage.credentials import signatures
from azray_lab.storage.credentials.modes import ACCOUNT, ACCOUNT_URL, AUTH_MODE, CONNECTION_STRING, SAS, VARIABLES
from azray_lab.storage.credentials.sealing import unseal
from azray_lab.workers.environment import HOOK_VARIABLE, VARIABLE, own_token

# Who opens and how is all in the envelope; what the node's processes inherited would mix with it.
_REPLACED = (*VARIABLES, "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "MSI_SECRET")


def set_up() -> None:
    """Makes this process's environment what the envelope says, then calls the user's own hook."""
    text = settings.variable(VARIABLE)
    envelope = unseal(text, own_token())
    variables = dict(envelope["variables"])
    if "signing" in envelope:
        variables |= _signed(text, envelope["signing"])
    if ACCOUNT_URL in variables or ACCOUNT in variables or "identity" in envelope:
        settings.withdraw(_REPLACED)
    settings.export(variables)
    if "identity" in envelope:
        from azray_lab.storage.credentials.tokens import on_refusal
        from azray_lab.workers.relay import Relay

        relay = Relay(text)
        on_refusal.append(relay.refused)
        settings.export(relay.start())
    if hook := settings.variable(HOOK_VARIABLE):
        _named(hook)()


def _signed(text: str, wanted: dict[str, str]) -> dict[str, str]:
    """The variables of a signature that is made here, and again as long as this process lives.

    The key stays in the seal: it is taken out for the moment of signing.
    """

    def make(ends: float) -> str:
        own = unseal(text, own_token())["signing"]
        return signatures.sign(own["endpoint"], own["key"], ends, own["container"], own["account"])

    renewal = signatures.Renewal(make)
    signatures.renew_with(renewal)
    query, endpoint = renewal.first[0], wanted["endpoint"]
    found = {ACCOUNT_URL: endpoint, SAS: query, AUTH_MODE: "sas"}
    if wanted["mode"] == "connection_string":  # what reads that variable finds it
        found[CONNECTION_STRING] = f"BlobEndpoint={endpoint};SharedAccessSignature={query}"
        found[AUTH_MODE] = "connection_string"
    return found


def _named(path: str) -> Any:
    import importlib

    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
