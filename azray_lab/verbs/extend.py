"""The verb `extend`: lets a cluster live longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from azray_lab.verbs.clusters import find
from azray_lab.verbs.face import Face, cluster_argument, pass_face, verb

if TYPE_CHECKING:
    from azray_lab.cluster import Cluster


@verb("extend", example="azray extend a 2h")
@cluster_argument()
@click.argument("duration", metavar="TIME")
@pass_face
def command(face: Face, name: str, duration: str) -> Cluster:
    """Let a cluster live longer than its lease says.

    TIME is how much longer, for instance 90m, 2h or 1d.
    """
    del face
    cluster = find(name)
    cluster.extend(duration)
    return cluster
