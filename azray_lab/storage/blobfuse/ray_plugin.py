"""Lets one task, actor or job ask for a mount.

    @ray.remote(runtime_env={"azray_mounts": [{"uri": "az://data", "path": "/mnt/data"}]})

A plugin of Ray's runtime environments (ray/_private/runtime_env/plugin.py, 2.60); nodes load it through the variable
RAY_RUNTIME_ENV_PLUGINS. It mounts on the node where the worker starts, once for all workers there, with the credentials
of the node; `down` takes it away. A mount that fails fails the task with its reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from ray._private.runtime_env.plugin import RuntimeEnvPlugin

if TYPE_CHECKING:
    from azray_lab.storage.blobfuse.request import Request

NAME = "azray_mounts"


class MountPlugin(RuntimeEnvPlugin):
    """Mounts what `azray_mounts` lists; each entry takes what an entry of the spec's `mounts:` takes."""

    name = NAME

    @staticmethod
    def validate(runtime_env_dict: dict[str, Any]) -> None:
        """ValueError with the place of what is wrong."""
        wanted(runtime_env_dict[NAME])

    def get_uris(self, runtime_env: dict[str, Any]) -> list[str]:
        """One URI for each mount; Ray makes each once on a node, and keeps it while somebody uses it."""
        return [f"{NAME}://{json.dumps(mount, sort_keys=True)}" for mount in runtime_env.get(NAME) or []]

    async def create(
        self, uri: str | None, runtime_env: dict[str, Any], context: Any, logger: logging.Logger | None = None
    ) -> float:
        """Mounts one of them; no disk is counted, for a cache is bounded by itself."""
        del runtime_env, context
        mount = json.loads((uri or "").removeprefix(f"{NAME}://"))
        said = await asyncio.get_running_loop().run_in_executor(None, _mount, wanted([mount])[0])
        if logger is not None:
            logger.info(said)
        return 0


def wanted(mounts: Any) -> list[Request]:
    """What is asked for; ValueError, which is what Ray expects, in one line that names what is wrong."""
    from pydantic import TypeAdapter, ValidationError

    from azray_lab.errors import UsageError
    from azray_lab.spec import settings
    from azray_lab.spec.models import MountSpec
    from azray_lab.storage.blobfuse.request import from_spec

    try:
        specs = TypeAdapter(list[MountSpec]).validate_python(mounts)
    except ValidationError as error:
        raise ValueError(f"{NAME}: {'; '.join(map(_told, error.errors(include_url=False)))}") from None
    owner = settings.variable("AZRAY_CLUSTER_ID") or "user"
    try:
        return [from_spec(spec, owner) for spec in specs]
    except UsageError as error:
        raise ValueError(f"{NAME}: {error}") from None


def _told(problem: Any) -> str:
    """One of pydantic's errors: where it is, what is wrong, and for an unknown key the nearest one."""
    from azray_lab.errors import nearest
    from azray_lab.spec.models import MountSpec

    *above, key = [str(part) for part in problem["loc"]] or [""]
    where = ".".join([*above, key]) or "its value"
    if problem["type"] == "extra_forbidden":
        return f"{where} is no setting of a mount.{nearest(key, MountSpec.model_fields)}"
    return f"{where}: {problem['msg']}"


def _mount(request: Request) -> str:
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.mounts import Mounts

    operation: Operation[Any] = Operation(f"mount {request.uri}")
    record = operation.run(lambda work: Mounts().mount(request, work))
    return f"{record.uri} is at {record.path} ({record.engine}: {record.why})"
