"""The live thing: `up`, `attach`, `clusters`, and the `Cluster` with its verbs. What every face calls."""

from azray_lab.cluster.lifecycle import attach, clusters, overview, plan_for, up, up_operation
from azray_lab.cluster.live import Cluster

__all__ = ["Cluster", "attach", "clusters", "overview", "plan_for", "up", "up_operation"]
