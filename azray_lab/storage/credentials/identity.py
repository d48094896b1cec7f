"""`Identity`: who asks Entra ID for tokens, as a plain value made of variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azray_lab.errors import CredentialError
from azray_lab.storage.credentials import modes

if TYPE_CHECKING:
    from azray_lab.storage.credentials.modes import Mode


@dataclass(frozen=True)
class Identity:
    """An identity of Entra ID, by mode and by what it needs; equal identities share their tokens.

    The secrets are in no repr; `describe` says in words who it is.
    """

    mode: Mode
    tenant: str = ""
    client: str = ""
    secret: str = field(default="", repr=False)
    certificate: str = ""
    certificate_password: str = field(default="", repr=False)
    token_file: str = ""
    assertion: str = field(default="", repr=False)
    authority: str = ""

    @classmethod
    def of(cls, mode: Mode, variables: Mapping[str, str]) -> Identity:
        """The identity of `mode` from variables; CredentialError that names the variables that are missing."""
        found = cls(mode, **{name: variables.get(variable, "") for name, variable in _FIELDS.items()})
        if missing := [_FIELDS[name] for name in _NEEDED.get(mode, ()) if not getattr(found, name)]:
            raise _incomplete(mode, missing)
        if mode == "service_principal" and not (found.secret or found.certificate):
            raise _incomplete(mode, [modes.SECRET])
        return found

    def environment(self) -> dict[str, str]:
        """The variables that `of` reads; holds secrets."""
        return {variable: value for name, variable in _FIELDS.items() if (value := getattr(self, name))}

    def describe(self) -> str:
        """Who it is, in words, without a secret."""
        tenant = f" of tenant {self.tenant}" if self.tenant else ""
        if self.mode == "service_principal":
            behalf = ", on behalf of a user" if self.assertion else ""
            return f"the service principal {self.client}{tenant}{behalf}"
        if self.mode == "workload_identity":
            return f"the workload identity {self.client}{tenant}"
        if self.mode == "managed_identity":
            return f"the managed identity {self.client}" if self.client else "the machine's managed identity"
        if self.mode == "cli":
            return f"the user of the Azure CLI{tenant}"
        return "the default identity" + tenant


_FIELDS = {
    "tenant": modes.TENANT,
    "client": modes.CLIENT,
    "secret": modes.SECRET,
    "certificate": modes.CERTIFICATE,
    "certificate_password": modes.CERTIFICATE_PASSWORD,
    "token_file": modes.TOKEN_FILE,
    "assertion": modes.ASSERTION,
    "authority": modes.AUTHORITY,
}
_NEEDED = {"service_principal": ("tenant", "client"), "workload_identity": ("tenant", "client", "token_file")}


def _incomplete(mode: str, missing: list[str]) -> CredentialError:
    names = " and ".join(missing)
    return CredentialError(
        f"the mode {mode} lacks {names}",
        cause=f"{'it is' if len(missing) == 1 else 'they are'} not in the environment",
        next_step=f"export {missing[0]}=..., or set {modes.AUTH_MODE} to another mode",
        mode=mode,
        missing=missing,
    )
