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
    """What is asked for; ValueError that names what is wrong."""
    from pydantic import TypeAdapter

    from azray_lab.spec import settings
    from azray_lab.spec.models import MountSpec
    from azray_lab.storage.blobfuse.request import from_spec

    # pydantic's error is a ValueError, which is what Ray expects.
    specs = TypeAdapter(list[MountSpec]).validate_python(mounts)
    owner = settings.variable("AZRAY_CLUSTER_ID") or "user"
    return [from_spec(spec, owner) for spec in specs]


def _mount(request: Request) -> str:
    from azray_lab.operation import Operation
    from azray_lab.storage.blobfuse.mounts import Mounts

    operation: Operation[Any] = Operation(f"mount {request.uri}")
    record = operation.run(lambda work: Mounts().mount(request, work))
    return f"{record.uri} is at {record.path} ({record.engine}: {record.why})"
