"""The exact commands and environments with which nodes start: pure functions of the spec and the share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from azray_lab.targets.local import gpus, mounts
from azray_lab.targets.local.processes import ID_VARIABLE, NODE_VARIABLE, STATE_VARIABLE

if TYPE_CHECKING:
    from azray_lab.spec.models import ClusterSpec, NodeSpec
    from azray_lab.targets.local.machine import Share

# Loopback networks are chosen in 127.64.0.0/10, so that 127.0.0.1 and other people's fixed addresses stay free.
_NETWORKS = 64 * 256
MAX_NODES = 250
# Variables that would join a node to another cluster, or that belong to the process that runs `up` inside one.
_FOREIGN = (
    "RAY_ADDRESS",
    "RAY_JOB_ID",
    "RAY_API_SERVER_ADDRESS",
    "RAY_NAMESPACE",
    "RAY_AUTH_TOKEN",
    "RAY_RUNTIME_ENV_HOOK",
)


def node_ip(cluster_id: str, index: int) -> str:
    """The loopback address of node number `index` (0 is the head).

    Each node has its own, so that Ray sees different hosts, and none is an address of a network interface: a laptop
    that changes its network keeps its cluster. Ray rewrites 127.0.0.1 to the primary interface (`services.py`,
    resolve_ip_for_localhost, 2.60), but no other address of 127.0.0.0/8.
    """
    network = int(cluster_id, 16) % _NETWORKS
    return f"127.{64 + network // 256}.{network % 256}.{index + 1}"


def labels(name: str, group: str, spec: NodeSpec, share: Share) -> dict[str, str]:
    """A node's Ray labels: the spec's, and ours for the node's name, group and GPUs."""
    return {**spec.labels, "azray.io/node": name, "ray.io/node-group": group, **gpus.node_labels(share)}


def resources(spec: NodeSpec, share: Share) -> dict[str, float]:
    """What Ray may schedule on the node, by Ray's names; memory in bytes."""
    out: dict[str, float] = {"CPU": share.cpus, "memory": share.memory, "object_store_memory": share.object_store}
    if share.gpus:
        out["GPU"] = share.gpus
    return out | spec.resources | gpus.custom_resources(share)


def start_command(
    name: str,
    group: str,
    spec: ClusterSpec,
    share: Share,
    *,
    ip: str,
    temp_dir: Path,
    address: str = "",
    dashboard_port: int = 0,
    client_port: int = 0,
) -> tuple[str, ...]:
    """`ray start` for one node: the head without `address`, a worker with it. Ray picks all other ports itself."""
    node = spec.group(group)
    custom = node.resources | gpus.custom_resources(share)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
    if address:
        command += [f"--address={address}"]
    else:
        command += ["--head", "--port=0", "--include-dashboard=true", "--dashboard-host=127.0.0.1"]
        command += [f"--dashboard-port={dashboard_port}", f"--ray-client-server-port={client_port}"]
    command += [f"--node-ip-address={ip}", f"--node-name={name}", f"--temp-dir={temp_dir}"]
    # Fixed defaults of Ray (agent 52365, workers 10002-19999) would make clusters on one machine collide.
    command += ["--dashboard-agent-listen-port=0", "--min-worker-port=0", "--max-worker-port=0"]
    command += [f"--num-cpus={share.cpus}", f"--num-gpus={share.gpus}", f"--memory={share.memory}"]
    command += [f"--object-store-memory={share.object_store}"]
    if spec.local.object_store_directory:
        command += [f"--plasma-directory={spec.local.object_store_directory}"]
    if custom:
        command += [f"--resources={json.dumps(custom, sort_keys=True)}"]
    pairs = labels(name, group, node, share)
    command += ["--labels=" + ",".join(f"{key}={value}" for key, value in sorted(pairs.items()))]
    return tuple(command)


def node_environment(
    base: Mapping[str, str], spec: ClusterSpec, share: Share, *, cluster_id: str, name: str, token: Path
) -> dict[str, str]:
    """The environment of a node and all below it: the caller's, the spec's, authentication, and our marks."""
    out = {key: value for key, value in base.items() if key not in _FOREIGN}
    out |= spec.env
    out |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Jobs say `python`, and mean the one that Ray runs on.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), out.get("PATH", os.defpath)]),
        "no_proxy": ",".join(filter(None, [out.get("no_proxy", ""), "localhost,127.0.0.0/8"])),
        ID_VARIABLE: cluster_id,
        NODE_VARIABLE: name,
        STATE_VARIABLE: str(token.parent),
        mounts.PLUGINS: mounts.plugins(out.get(mounts.PLUGINS, "")),
    }
    if spec.local.object_store_directory:
        out["RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE"] = "1"
    devices = gpus.environment(share)
    out |= {name: value for name, value in devices.items() if value is not None}
    return {name: value for name, value in out.items() if devices.get(name, value) is not None}
