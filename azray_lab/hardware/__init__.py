"""GPUs of this machine and of clusters, as reports: who has them, how busy they are, and who holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from azray_lab.hardware.report import GpuReport, GpuRow, Holder

if TYPE_CHECKING:
    from azray_lab.accelerators import Host
    from azray_lab.cluster import Cluster

__all__ = ["GpuReport", "GpuRow", "Holder", "gpus"]


def gpus(cluster: str | Cluster | None = None, *, host: Host | None = None) -> GpuReport:
    """The GPUs of a cluster (its name or the cluster itself), or of this machine when none is given.

    A value that was read once; read it again for newer numbers. This machine costs some milliseconds, a cluster five
    requests whatever its size. UnknownClusterError and ClusterLostError for clusters; `host` is another machine to look
    at, such as a captured one.
    """
    from azray_lab.hardware import reading

    if cluster is None:
        return reading.machine(host)
    from azray_lab.cluster import Cluster, attach

    if not isinstance(cluster, Cluster):
        cluster = attach(cluster)
    return reading.cluster(cluster.name, cluster.endpoint, host)
