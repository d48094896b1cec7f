"""This process's connection to a cluster: tokens, the check of versions, and letting go when the head is lost."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from azray_lab.errors import ClusterLostError, RayMissingError, UsageError, VersionMismatchError
from azray_lab.spec import settings
from azray_lab.targets.base import Endpoint, Handle, read_token

_log = logging.getLogger("azray_lab")
_AUTH = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED")
# Ray keeps with each actor and task where it was made, so that `azray gpus` can name the cell. With
# 2,000 calls of an actor no difference was seen above the noise (2,400 to 4,000 calls a second with and without).
_SITES = "RAY_record_task_actor_creation_sites"
_POLL_SECONDS = 1.0
_lock = threading.RLock()
_current: _Connection | None = None


class _Connection:
    """The cluster that this process is connected to, and the thread that watches its head."""

    def __init__(self, handle: Handle, options: Mapping[str, Any], alive: Callable[[], bool]) -> None:
        self.handle = handle
        self.options = options
        self._alive = alive
        self._left = threading.Event()
        threading.Thread(target=self._watch, name="azray-connection", daemon=True).start()

    def leave(self) -> None:
        """Stops watching."""
        self._left.set()

    def _watch(self) -> None:
        # A driver whose GCS is gone ends its whole process after a minute (gcs_rpc_server_reconnect_timeout_s),
        # and the notebook's variables with it; so the connection is given up long before.
        while not self._left.wait(_POLL_SECONDS):
            if not self._alive():
                _log.warning(
                    "the head of cluster %s is gone, so this process was disconnected; azray up --name %s repairs it",
                    self.handle.name,
                    self.handle.name,
                )
                disconnect(self.handle.id)
                return


def connect(handle: Handle, endpoint: Endpoint, state: Callable[[], str], options: Mapping[str, Any]) -> None:
    """Connects this process to the cluster; leaves another one of ours first. See `Cluster.connect`."""
    global _current  # noqa: PLW0603 - Ray allows one connection a process, and this is it
    check_versions(handle)
    read_token(endpoint.token_path)
    with _lock:
        if _current and _current.handle.id == handle.id and _ray().is_initialized():
            _check_options(_current, options)
            return
        if _current:
            disconnect(_current.handle.id)
        ray = _authenticated(endpoint)
        if ray.is_initialized():
            raise UsageError("this process is already connected to another Ray", next_step="ray.shutdown()")
        ip = endpoint.address.rpartition(":")[0]
        given = {"logging_level": logging.WARNING, "log_to_driver": True, "_node_ip_address": ip, **options}
        _init(ray, handle, endpoint, given)
        _current = _Connection(handle, given, lambda: state() in {"running", "degraded", "starting"})


def _check_options(current: _Connection, wanted: Mapping[str, Any]) -> None:
    # Connecting anew would end the actors of this process and lose its objects, so nobody does it unasked.
    other = {name: value for name, value in wanted.items() if current.options.get(name) != value}
    if other:
        name = current.handle.name
        raise UsageError(
            f"this process is connected to cluster {name} already, with other options",
            cause=", ".join(f"{key} was {current.options.get(key)}" for key in other),
            next_step=f'azray_lab.attach("{name}").disconnect(), which ends its actors, then connect again',
        )


def _init(ray: Any, handle: Handle, endpoint: Endpoint, given: Mapping[str, Any]) -> None:
    try:
        ray.init(address=endpoint.address, **given)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterLostError(
            f"cluster {handle.name} does not answer at {endpoint.address}",
            cause=str(error).strip().partition("\n")[0],
            next_step=f"azray status {handle.name}",
        ) from error


def disconnect(cluster_id: str) -> None:
    """Leaves the cluster of that id, when this process is connected to it."""
    global _current  # noqa: PLW0603 - Ray allows one connection a process, and this is it
    with _lock:
        if _current is None or _current.handle.id != cluster_id:
            return
        _current.leave()
        _current = None
        _ray().shutdown()
        settings.withdraw((*_AUTH, _SITES))


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise RayMissingError(
            "Ray is not installed in this environment",
            cause=f"{sys.executable} has no module ray",
            next_step=f'{sys.executable} -m pip install "ray[default]"',
        ) from error


def _authenticated(endpoint: Endpoint) -> Any:
    """Ray, ready to use the cluster's token.

    Ray reads the variables when it is imported. Where that has happened, its configuration and its token have to be
    read afresh, for which 2.60 has private functions only; a test holds them to it.
    """
    loaded = "ray" in sys.modules
    settings.export({name: endpoint.environment()[name] for name in _AUTH} | {_SITES: "1"})
    ray = _ray()
    if loaded:
        raylet = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    return ray


def check_versions(handle: Handle) -> None:
    """VersionMismatchError, with the command that mends it, unless Ray and Python are the cluster's."""
    try:
        here = {"ray": metadata.version("ray"), "python": ".".join(map(str, sys.version_info[:3]))}
    except metadata.PackageNotFoundError:
        _ray()
        raise
    there = {"ray": handle.ray_version, "python": handle.python_version}
    steps = []
    if here["ray"] != there["ray"]:
        steps.append(f'{sys.executable} -m pip install "ray=={there["ray"]}"')
    if here["python"].split(".")[:2] != there["python"].split(".")[:2]:
        steps.append(f"use a kernel of Python {'.'.join(there['python'].split('.')[:2])}")
    if steps:
        raise VersionMismatchError(
            f"cluster {handle.name} has other versions than this process",
            cause=", ".join(f"{name} {here[name]} here, {there[name]} there" for name in here),
            next_step=f"{' and '.join(steps)}; or azray down {handle.name} and up from here",
            here=here,
            there=there,
        )
