"""`azray_lab.runtime_env`: the runtime environment with which tasks, actors, trials and Train workers open storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from azray_lab.errors import CredentialError, UsageError
from azray_lab.spec import settings
from azray_lab.spec.uri import BlobUri
from azray_lab.storage.credentials import Account, Credentials, Identity, parse_mode
from azray_lab.storage.credentials import credentials as credentials_of
from azray_lab.storage.credentials.modes import (
    ACCOUNT_URL,
    AUTH_MODE,
    CONNECTION_STRING,
    CONTAINER,
    IDENTITIES,
    KEY,
)
from azray_lab.storage.credentials.sealing import cluster_token, seal
from azray_lab.targets.base import read_token

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster

VARIABLE = "AZRAY_SEALED"
"""The environment variable that carries the seal."""

HOOK = "azray_lab.workers.setup.set_up"
"""What Ray calls in each new worker, by name; it opens the seal."""

HOOK_VARIABLE = "AZRAY_SETUP_HOOK"
"""The variable with the user's own hook, which ours calls afterwards."""

# As `azray_lab.jobs.runner` has them, which is too much to import in every worker.
_JOB, _JOB_HOOK = "AZRAY_SEALED_JOB", "AZRAY_JOB_HOOK"
_HOOK_FIELD = "worker_process_setup_hook"


def runtime_env(
    cluster: Cluster | str | None = None,
    *,
    credentials: Credentials | Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
    keys: bool = False,
    limit_to: str = "",
    **yours: Any,
) -> dict[str, Any]:
    """A runtime environment for Ray in which this process's Azure credentials are there; `yours` are fields of Ray's.

        ray.init(..., runtime_env=azray_lab.runtime_env(pip=["lightgbm"]))
        cluster.connect(runtime_env=azray_lab.runtime_env(cluster))

    Give it to `ray.init`, `cluster.connect`, a job, a task or an actor; Tune trials and Train workers have that of the
    driver. In each worker `azray_lab.filesystem`, fsspec, azure-identity and others then find the variables that they
    know. An identity's secrets stay out of the workers' environments: they ask for tokens at an address of their own
    (as machines of Azure do), which get them from a named actor, which renews them. In place of an account's key they
    have a signature for its blobs that ends after 12 hours and is renewed by what is ours; `limit_to` names the
    one container that it opens. `keys=True` gives them the key itself. Signatures of yours and `secrets` (more
    variables, for other services) are set as variables in the workers.

    What Ray records and shows is encrypted with the cluster's token. Equal arguments give equal environments. No
    request. `cluster` is needed where this process is not connected; `credentials` default to the environment's, and
    `storage.auth_mode` of the cluster's spec says which where they do not. Raises CredentialError, and UsageError for
    a hook that is no name, or a limit where there is no key to sign with.
    """
    own = _own_hook(yours.pop(_HOOK_FIELD, None))
    found = _cluster(cluster)
    envelope = _envelope(_given(credentials, found), local=found is None or found.target == "local")
    envelope = envelope if keys and not limit_to else _signing(envelope, limit_to)
    envelope["variables"] |= {name: str(value) for name, value in (secrets or {}).items()}
    variables = {**yours.pop("env_vars", {}), VARIABLE: seal(envelope, _token(found)), **own}
    if settings.variable(_JOB):
        # A job whose own variables are sealed has a hook already, and Ray allows no second; it calls ours.
        return {**yours, "env_vars": {**variables, _JOB_HOOK: HOOK}}
    return {**yours, "env_vars": variables, _HOOK_FIELD: HOOK}


def _own_hook(hook: Any) -> dict[str, str]:
    if hook is None:
        return {}
    if isinstance(hook, str):
        return {HOOK_VARIABLE: hook}
    raise UsageError(
        f"{_HOOK_FIELD} is no name of a function",
        cause=f"it is {type(hook).__name__}, and Ray allows one hook: that which opens the credentials calls yours",
        next_step=f'{_HOOK_FIELD}="my_module.my_function"',
    )


def _cluster(cluster: Cluster | str | None) -> Cluster | None:
    """The cluster that is meant; None where this process is connected to one, or runs on one, and so has its token."""
    from azray_lab.cluster import attach, clusters

    if isinstance(cluster, str):
        return attach(cluster)
    if cluster is not None or settings.variable("RAY_AUTH_TOKEN_PATH") or settings.variable("RAY_AUTH_TOKEN"):
        return cluster
    if name := settings.default_cluster():
        return attach(name)
    running = [each for each in clusters() if each.state in {"running", "degraded"}]
    if len(running) == 1:
        return running[0]
    raise UsageError(
        "say which cluster the credentials are for",
        cause=f"this process is connected to none of ours, and {len(running)} run",
        next_step="azray_lab.runtime_env(cluster), with the cluster or its name",
    )


def _token(cluster: Cluster | None) -> str:
    return read_token(cluster.endpoint.token_path) if cluster is not None else own_token()


def own_token() -> str:
    """The token of the cluster that this process is connected to or runs on; CredentialError when there is none."""
    if token := cluster_token():
        return token
    raise CredentialError(
        "this process has no token of a cluster",
        cause="neither RAY_AUTH_TOKEN_PATH nor RAY_AUTH_TOKEN is set",
        next_step="azray up, then cluster.connect()",
    )


def _given(credentials: Credentials | Mapping[str, str] | None, cluster: Cluster | None) -> dict[str, str]:
    if isinstance(credentials, Credentials):
        return credentials.export()
    if credentials is not None:
        return dict(credentials)
    here = credentials_of().export()
    chosen = cluster.spec.storage.auth_mode if cluster is not None else None
    return {AUTH_MODE: chosen, **here} if chosen else here


def _envelope(given: Mapping[str, str], *, local: bool) -> dict[str, Any]:
    """What a worker gets: variables to set, and for an identity what asks for its tokens."""
    account = _account(given)
    identity = account.identity if account else Identity.of(parse_mode(given.get(AUTH_MODE, "default")), given)
    if identity is None:
        return {"variables": account.environment() if account else {}}
    # A worker asks as a machine with a managed identity does; with no mode set, public containers stay readable.
    variables = {AUTH_MODE: "managed_identity"} if account is None or account.chosen else {}
    if account is not None:
        variables |= {ACCOUNT_URL: account.endpoint}
        variables |= {CONTAINER: account.container} if account.container else {}
    asks = {"mode": identity.mode, "variables": identity.environment()}
    # Where a sign-in or an endpoint of this machine is what it takes, the nodes have it only when they are here.
    surroundings = settings.identity_environment() if local else {}
    return {"variables": variables, "identity": {**asks, "surroundings": surroundings}}


def _signing(envelope: dict[str, Any], limit_to: str) -> dict[str, Any]:
    """The envelope with what a worker needs to sign with, in place of variables that show the key."""
    variables = dict(envelope["variables"])
    account = Account.of(BlobUri.parse("az://"), variables) if variables.keys() & {KEY, CONNECTION_STRING} else None
    if account is None or not account.key:
        if limit_to:
            raise UsageError(
                f"access cannot be limited to {limit_to}",
                cause="only what a key opens can be limited here",
                next_step="give the identity a role on that container alone, or make a signature for it",
            )
        return envelope
    own = {name: variables[name] for name in (CONTAINER,) if name in variables}
    wanted = {"account": account.name, "endpoint": account.endpoint, "key": account.key}
    return {"variables": own, "signing": {**wanted, "container": limit_to, "mode": account.mode}}


def _account(given: Mapping[str, str]) -> Account | None:
    """The account that is set; None when there is none, and each URI names its own."""
    try:
        return Account.of(BlobUri.parse("az://"), given)
    except CredentialError:
        if parse_mode(given.get(AUTH_MODE, "default")) in IDENTITIES and not set(given) & {ACCOUNT_URL}:
            return None
        raise
