"""The named actor that holds an identity and asks for its tokens, once for all workers of a cluster.

Whoever needs it first makes it; it ends with the process that made it, and the next who asks makes a new one. So
a job of days always has tokens, and when the last job is over nothing of it is left.
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from azray_lab.errors import AzRayError, CredentialError
from azray_lab.spec import settings
from azray_lab.storage.credentials import Identity, Tokens
from azray_lab.storage.credentials.modes import VARIABLES
from azray_lab.storage.credentials.sealing import unseal

NAMESPACE = "azray"
# Asking `az` on a busy machine takes up to 30 s, and the actor has to start before.
_ANSWER_SECONDS = 90.0
# An actor's name becomes free when Ray has seen that its maker is gone: seconds on a busy machine.
_FREE_SECONDS = 15.0
_PAUSE_SECONDS = 0.2


class Keeper:
    """Holds one identity. It is given as the sealed text, so that Ray's records of the actor hold no secret."""

    def __init__(self, sealed: str) -> None:
        from azray_lab.workers.environment import own_token

        asks = unseal(sealed, own_token())["identity"]
        # This process has the job's runtime environment, too: without this it would ask itself.
        settings.withdraw((*VARIABLES, "IDENTITY_ENDPOINT", "IDENTITY_HEADER"))
        settings.export(asks["surroundings"])
        self._tokens = Tokens(Identity.of(asks["mode"], asks["variables"]))

    def token(self, scope: str, refused: str = "") -> tuple[str, int]:
        """A token for `scope`, another than the `refused` one where there is one, and when it ends (since 1970)."""
        if refused:
            self._tokens.refused(refused)
        found = self._tokens.get_token(scope)
        return str(found.token), int(found.expires_on)


def name_of(sealed: str) -> str:
    """The actor's name: the same for all who have the same identity."""
    return "azray-credentials-" + hashlib.sha256(sealed.encode()).hexdigest()[:12]


def ask(sealed: str, scope: str, refused: str = "") -> tuple[str, int]:
    """A token from the keeper of `sealed`, which is made when there is none; CredentialError when it gets none."""
    import ray
    from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

    problem: Exception | None = None
    deadline = 0.0
    while problem is None or time.monotonic() < deadline:
        try:
            answer: Any = ray.get(_keeper(ray, sealed).token.remote(scope, refused), timeout=_ANSWER_SECONDS)
        except RayTaskError as error:
            if isinstance(error.cause, AzRayError):
                raise error.cause from None
            raise
        except (RayActorError, ValueError) as error:  # its maker has just ended; ValueError: its name is still taken
            deadline = deadline or time.monotonic() + _FREE_SECONDS
            problem = error
            _handles.pop(name_of(sealed), None)
            time.sleep(_PAUSE_SECONDS)
        except GetTimeoutError as error:
            problem = error
            break
        else:
            return str(answer[0]), int(answer[1])
    raise CredentialError(
        "the cluster's keeper of credentials gives no token",
        cause=f"{type(problem).__name__} after {_ANSWER_SECONDS:g} s at most",
        next_step=f"ray list actors --filter name={name_of(sealed)}",
    ) from problem


# Ray ends an actor when the handle of its maker is dropped, whoever else still asks it.
_handles: dict[str, Any] = {}


def _keeper(ray: Any, sealed: str) -> Any:
    name = name_of(sealed)
    if name not in _handles:
        kind = ray.remote(num_cpus=0, max_restarts=2, max_concurrency=4)(Keeper)
        _handles[name] = kind.options(name=name, namespace=NAMESPACE, get_if_exists=True).remote(sealed)
    return _handles[name]
