"""AzRay Lab: Ray on Azure, out of a Jupyter notebook. The public names; importing them loads nothing heavy."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from azray_lab.cluster import Cluster, attach, clusters, up
    from azray_lab.cluster import plan_for as plan
    from azray_lab.errors import AzRayError
    from azray_lab.hardware import gpus
    from azray_lab.magics import load_ipython_extension, unload_ipython_extension
    from azray_lab.mounting import mount, mounts, unmount
    from azray_lab.spec import ClusterSpec
    from azray_lab.storage.checkpoints import checkpoints
    from azray_lab.storage.cloud import AzureFileSystem
    from azray_lab.storage.credentials import credentials
    from azray_lab.storage.filesystem import filesystem
    from azray_lab.widgets.dashboard import dashboard
    from azray_lab.widgets.form import ui
    from azray_lab.workers.environment import runtime_env

__all__ = [
    "AzRayError",
    "AzureFileSystem",
    "Cluster",
    "ClusterSpec",
    "attach",
    "checkpoints",
    "clusters",
    "credentials",
    "dashboard",
    "filesystem",
    "gpus",
    "load_ipython_extension",
    "mount",
    "mounts",
    "plan",
    "runtime_env",
    "ui",
    "unload_ipython_extension",
    "unmount",
    "up",
]

# Public name -> (module, name in it); loaded when it is first used, so that `import azray_lab` costs nothing.
_PLACES = {
    "AzRayError": ("azray_lab.errors", "AzRayError"),
    "AzureFileSystem": ("azray_lab.storage.cloud", "AzureFileSystem"),
    "Cluster": ("azray_lab.cluster", "Cluster"),
    "ClusterSpec": ("azray_lab.spec.models", "ClusterSpec"),
    "attach": ("azray_lab.cluster", "attach"),
    "checkpoints": ("azray_lab.storage.checkpoints", "checkpoints"),
    "clusters": ("azray_lab.cluster", "clusters"),
    "credentials": ("azray_lab.storage.credentials", "credentials"),
    "dashboard": ("azray_lab.widgets.dashboard", "dashboard"),
    "filesystem": ("azray_lab.storage.filesystem", "filesystem"),
    "gpus": ("azray_lab.hardware", "gpus"),
    "load_ipython_extension": ("azray_lab.magics", "load_ipython_extension"),
    "mount": ("azray_lab.mounting", "mount"),
    "mounts": ("azray_lab.mounting", "mounts"),
    "plan": ("azray_lab.cluster", "plan_for"),
    "runtime_env": ("azray_lab.workers.environment", "runtime_env"),
    "ui": ("azray_lab.widgets.form", "ui"),
    "unload_ipython_extension": ("azray_lab.magics", "unload_ipython_extension"),
    "unmount": ("azray_lab.mounting", "unmount"),
    "up": ("azray_lab.cluster", "up"),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("azray-lab")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _show_cards()
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(module), attribute)


def _show_cards() -> None:
    """Tells the views of the cards where this is a kernel: they know no Jupyter, and nothing below them does."""
    if "ipykernel" in sys.modules and _card not in (shows := importlib.import_module("azray_lab.views").shows):
        shows.append(_card)
        # The first card would wait some 100 ms for the import of widgets; the cell that comes here need not.
        importlib.import_module("threading").Thread(target=_warm, name="azray-warm").start()


def _warm() -> None:
    if importlib.import_module("azray_lab.widgets.display").interactive():
        importlib.import_module("azray_lab.widgets.card")


def _card(value: Any) -> bool:
    """Shows a cluster or a task as a card where a front end can; costs the import of widgets with the first one."""
    return bool(importlib.import_module("azray_lab.widgets.display").show(value))


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
